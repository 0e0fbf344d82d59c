# SPDX-License-Identifier: Apache-2.0
"""Bundles as bytes: whom one opens for, and everything in it that must fit."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ipse.errors import InputError, VerificationError, WrongKey
from ipse.ledger import bundle as bundles
from ipse.ledger.bundle import CheckedBundle, Contents, make_bundle, read_bundle
from ipse.ledger.checkpoint import Log
from ipse.ledger.forkhead import head_of
from ipse.ledger.keys import NoteKey, SignatureType
from ipse.ledger.record import RecordKind, record_digest
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.seal import seal
from ipse.wire import bundle_pb2 as pb
from ipse.wire.digest import sha256
from ipse.wire.ids import BaseId, OwnerId
from tests.ledger.bundles import (
    DEVICE,
    FORK,
    LOG,
    ORIGIN,
    OWNER,
    STRANGER,
    Written,
    contents,
    history,
    published,
    signed_head,
    with_device,
)

HISTORY = history()
GOOD = contents(HISTORY)


def bundle_of(made: Contents, exporter: Identity = OWNER, *recipients: PublicIdentity) -> bytes:
    return make_bundle(made, exporter, recipients or [OWNER.public])


def forced(made: Contents, exporter: Identity = OWNER, change: Callable[[pb.Bundle], object] = id) -> bytes:
    """A bundle that the program would refuse to make: sealed and signed by who says to have made it."""
    message = bundles._content(made, exporter.public)
    change(message)
    return bundles._sealed(message.SerializeToString(), exporter, [OWNER.public], secrets.token_bytes)


def test_what_went_in_comes_out_and_it_is_the_same_bytes() -> None:
    data = bundle_of(published(HISTORY, 2, into=GOOD))
    found = read_bundle(data, OWNER)
    assert found.digest == sha256(data)
    assert found.manifest == GOOD.manifest
    assert [record.data for record in found.records] == HISTORY.records
    assert [(record.seq, record.digest) for record in found.records] == [
        (seq, record_digest(record)) for seq, record in enumerate(HISTORY.records, 1)
    ]
    assert found.head == head_of(FORK, [record_digest(record) for record in HISTORY.records])
    assert (found.access, found.exporter, found.log) == (HISTORY.access, OWNER.public, LOG)
    assert [head.size for head in found.published] == [2]


def test_a_bundle_opens_by_its_description_with_nothing_of_ours_but_the_schema() -> None:
    data = bundle_of(GOOD)
    line, rest = data[:14], data[14:]
    assert line == b"ipse bundle 1\n"
    envelope = pb.BundleEnvelope.FromString(rest)
    (recipient,) = envelope.recipients
    mine = OWNER.public.id
    assert recipient.identity == mine
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    private = MLKEM768X25519PrivateKey(OWNER._kem, OWNER._dh)
    info = b"\0\0\0\x0fbundle file key" + b"\0\0\0\x10" + mine
    key = suite.decrypt(recipient.wrapped_key, private, info)

    def derived(label: bytes) -> bytes:
        told = b"ipse/v1/" + label + b"\0" + bytes(12)
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=told).derive(key)

    assert envelope.body[:32] == derived(b"seal commitment")
    before = data[: -len(envelope.body)]
    body = pb.BundleBody.FromString(AESGCM(derived(b"seal")).decrypt(bytes(12), envelope.body[32:], before))
    told = b"ipse/v1/bundle\0" + b"\0\0\0\x20" + hashlib.sha256(body.content).digest() + b"\0\0\0\x10" + mine
    Ed25519PublicKey.from_public_bytes(OWNER.public.ed25519).verify(body.signature[:64], told)
    MLDSA65PublicKey.from_public_bytes(OWNER.public.ml_dsa_65).verify(body.signature[64:], told, b"bundle")
    assert list(pb.Bundle.FromString(body.content).records) == HISTORY.records


def test_nothing_of_the_fork_is_in_the_clear() -> None:
    data = bundle_of(GOOD)
    for told in (FORK.encode(), b"a-base", b"ada", HISTORY.records[0][:40], GOOD.manifest.layout_digest):
        assert told not in data
    assert OWNER.public.id in data, "whom it is for can be seen"


def test_two_bundles_of_one_fork_have_nothing_in_common_but_their_recipient() -> None:
    one, other = bundle_of(GOOD), bundle_of(GOOD)
    assert one[-4000:-2000] != other[-4000:-2000]
    assert read_bundle(one, OWNER).records == read_bundle(other, OWNER).records


def test_a_device_opens_it_and_makes_one_itself() -> None:
    made = contents(with_device(DEVICE), DEVICE)
    data = bundle_of(made, DEVICE, DEVICE.public, OWNER.public)
    assert read_bundle(data, OWNER).records == read_bundle(data, DEVICE).records
    assert read_bundle(data, OWNER).exporter == DEVICE.public


def test_for_another_key_it_says_for_whom_it_is() -> None:
    with pytest.raises(WrongKey) as caught:
        read_bundle(bundle_of(GOOD), STRANGER)
    assert OWNER.public.name in caught.value.message
    assert STRANGER.public.name in caught.value.message
    assert caught.value.hint


def test_none_is_made_for_strangers_for_nobody_or_twice_for_one() -> None:
    for recipients in ([STRANGER.public], [OWNER.public, STRANGER.public], [], [OWNER.public] * 2):
        with pytest.raises(InputError) as caught:
            make_bundle(GOOD, OWNER, recipients)
    with pytest.raises(InputError, match="not a member") as caught:
        make_bundle(GOOD, OWNER, [STRANGER.public])
    assert "ipse key devices add" in caught.value.hint


def test_a_newer_form_is_named_and_not_tried() -> None:
    data = bundle_of(GOOD).replace(b"ipse bundle 1\n", b"ipse bundle 2\n", 1)
    with pytest.raises(VerificationError, match="made by a newer Ipse: form 2, known 1") as caught:
        read_bundle(data, OWNER)
    assert caught.value.hint == "Update Ipse."
    envelope, head = bundles._envelope(bundle_of(GOOD))
    newer = pb.BundleEnvelope(suite=2, recipients=envelope.recipients, body=envelope.body).SerializeToString()
    with pytest.raises(VerificationError, match="suite 2, known 1"):
        read_bundle(b"ipse bundle 1\n" + newer, OWNER)
    assert head.startswith(b"ipse bundle 1\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ipse bundle 1",
        b"ipse bundle 1\n",
        b"ipse bundle 01\n",
        b"hello\n" * 9,
        b"ipse bundle 1\n\x0a\xff\xff\xff",
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_bundle(data, OWNER)


def test_every_cut_and_every_flipped_bit_of_the_outside_is_found() -> None:
    data = bundle_of(GOOD)
    end = data.index(bundles._envelope(data)[0].body)
    for cut in (*range(end + 40), len(data) - 1):
        with pytest.raises(VerificationError):
            read_bundle(data[:cut], OWNER)
    for bit in range((end + 40) * 8):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            read_bundle(bytes(bad), OWNER)


def test_nothing_can_be_added_to_a_bundle() -> None:
    data = bundle_of(GOOD)
    envelope, _ = bundles._envelope(data)
    unknown = b"\xa2\x06\x01x"  # field 100, one byte
    for longer in (
        data + b"\0",
        data + unknown,
        data[:14] + unknown + data[14:],
        data + pb.BundleEnvelope(body=envelope.body).SerializeToString(),
    ):
        with pytest.raises(VerificationError):
            read_bundle(longer, OWNER)


def test_a_recipient_cannot_pass_it_on_as_made_for_another() -> None:
    written = with_device()
    data = bundle_of(contents(written))
    envelope, head = bundles._envelope(data)
    plain = bundles._opened(envelope, head, OWNER)
    resealed = bundles._closed(plain, [DEVICE.public], secrets.token_bytes)
    with pytest.raises(VerificationError, match="signature"):
        read_bundle(resealed, DEVICE)


OTHER = Written(owner="eve").add().add().add()

WRONG: dict[str, Callable[[pb.Bundle], object]] = {
    "a record is missing at the end": lambda b: b.records.pop(),
    "a record is missing in the middle": lambda b: b.records.pop(1),
    "a record is there twice": lambda b: b.records.append(b.records[2]),
    "two records are swapped": lambda b: b.records.extend([b.records.pop(1)]),
    "the records are of another owner": lambda b: b.records.__setitem__(slice(None), OTHER.records),
    "a record was altered": lambda b: b.records.__setitem__(1, b.records[1][:-1] + b"x"),
    "there are no records": lambda b: b.ClearField("records"),
    "the head is of fewer records": lambda b: setattr(b, "head", signed_head(HISTORY.records[:2])),
    "the head is of other records": lambda b: setattr(b, "head", signed_head(OTHER.records)),
    "the head is signed by a stranger": lambda b: setattr(b, "head", signed_head(HISTORY.records, STRANGER)),
    "the head is signed with one key only": lambda b: setattr(
        b, "head", b.head.rpartition(b"\n\xe2\x80\x94")[0] + b"\n"
    ),
    "there is no head": lambda b: b.ClearField("head"),
    "the fork is another": lambda b: setattr(b.manifest, "fork_id", "f_" + "a" * 26),
    "the fork id is none": lambda b: setattr(b.manifest, "fork_id", "../../etc"),
    "the owner is another": lambda b: setattr(b.manifest, "owner", "eve"),
    "the owner is none": lambda b: setattr(b.manifest, "owner", "\x1b[31m"),
    "the base is none": lambda b: setattr(b.manifest, "base_id", "x"),
    "the base has no name": lambda b: setattr(b.manifest, "base_name", ""),
    "the layout is none": lambda b: setattr(b.manifest, "layout_digest", b"x"),
    "the time is none": lambda b: setattr(b.manifest, "created_ms", 2**63),
    "there is no manifest": lambda b: b.ClearField("manifest"),
    "there is no exporter": lambda b: b.ClearField("exporter"),
    "a published head is larger than the fork": lambda b: setattr(b.published[0], "size", 4),
    "a published head is another": lambda b: setattr(b.published[0], "size", 1),
    "a published head is of no records": lambda b: setattr(b.published[0], "size", 0),
    "the blinding value is another": lambda b: setattr(b.published[0], "blinding", bytes(32)),
    "the blinding value is none": lambda b: setattr(b.published[0], "blinding", b""),
    "the proof is none": lambda b: setattr(b.published[0], "proof", b"hello"),
    "the log has no keys": lambda b: b.ClearField("log"),
    "a key of the log is none": lambda b: b.log.keys.append("hello"),
    "the log is another": lambda b: setattr(b.log, "origin", "example.com/log"),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda name: name)
def test_whatever_does_not_fit_is_refused_though_it_is_sealed_and_signed(wrong: str) -> None:
    whole = published(HISTORY, 2, into=GOOD)
    assert read_bundle(forced(whole), OWNER).records
    with pytest.raises(VerificationError) as caught:
        read_bundle(forced(whole, change=WRONG[wrong]), OWNER)
    assert not isinstance(caught.value, WrongKey)


def test_a_log_with_other_keys_does_not_prove() -> None:
    whole = published(HISTORY, 2, into=GOOD)
    other = Log(ORIGIN, (NoteKey(ORIGIN, SignatureType.ED25519, bytes(32)).verifier(),))
    with pytest.raises(VerificationError):
        read_bundle(forced(replace(whole, log=other)), OWNER)


def test_one_operation_is_not_recorded_twice() -> None:
    twice = contents(history(2).add(op_id=(1).to_bytes(16, "big")))
    with pytest.raises(VerificationError, match="one operation twice"):
        read_bundle(forced(twice), OWNER)


def test_a_head_of_no_records_is_none_though_the_log_has_it() -> None:
    with pytest.raises(VerificationError, match="of 0 records"):
        read_bundle(forced(published(HISTORY, 0, into=GOOD)), OWNER)


def test_the_body_is_last_though_its_maker_bound_it_to_what_follows() -> None:
    envelope, _ = bundles._envelope(bundle_of(GOOD))
    plain, key, after = b"x" * 200, bytes(32), b"\xa2\x06\x20" + bytes(32)
    size = len(seal(key, plain, nonce=bytes(12), context=b""))
    start = b"ipse bundle 1\n" + pb.BundleEnvelope(suite=1, recipients=envelope.recipients).SerializeToString()
    start += pb.BundleEnvelope(body=bytes(size)).SerializeToString()[:-size]
    body = seal(key, plain, nonce=bytes(12), context=b"")
    body = seal(key, plain, nonce=bytes(12), context=(start + body + after)[:-size])  # its tag alone is another
    with pytest.raises(VerificationError, match="does not end with its body"):
        read_bundle(start + body + after, OWNER)


def test_what_is_longer_than_is_read_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bundle_of(GOOD)
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", len(data) - 1)
    with pytest.raises(VerificationError, match="longer than"):
        read_bundle(data, OWNER)
    with pytest.raises(InputError, match="longer than"):
        bundle_of(GOOD)


def test_who_is_no_member_or_none_any_more_makes_none() -> None:
    for exporter, written in (
        (STRANGER, HISTORY),
        (DEVICE, with_device().add(kind=RecordKind.REVOKE, member=DEVICE.public.short_id)),
    ):
        made = replace(contents(written, OWNER), head=signed_head(written.records, OWNER))
        with pytest.raises(VerificationError, match="not a member"):
            make_bundle(made, exporter, [OWNER.public])
        with pytest.raises(VerificationError, match="not a member"):
            read_bundle(forced(made, exporter), OWNER)


def test_what_a_reader_would_refuse_is_not_made() -> None:
    for wrong in (
        replace(GOOD, head=signed_head(HISTORY.records[:2])),
        replace(GOOD, records=GOOD.records[:2]),
        replace(GOOD, manifest=replace(GOOD.manifest, owner=OwnerId("eve"))),
        replace(GOOD, manifest=replace(GOOD.manifest, base_id=BaseId("x"))),
    ):
        with pytest.raises(VerificationError):
            make_bundle(wrong, OWNER, [OWNER.public])


def test_a_checked_bundle_names_the_members_of_its_own_records() -> None:
    found: CheckedBundle = read_bundle(bundle_of(contents(with_device(DEVICE))), OWNER)
    assert found.access.members == (OWNER.public, DEVICE.public)
