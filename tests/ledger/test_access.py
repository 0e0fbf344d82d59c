# SPDX-License-Identifier: Apache-2.0
"""Who may write to a fork and read it: signatures, devices, rotation, data keys; all checked without a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.access import DAY_MS, Access, certify
from ipse.ledger.chain import check_chain
from ipse.ledger.envelope import MAC_FIELD, RECORD_LABEL, SIGNATURE_FIELD, read_envelope
from ipse.ledger.record import Record, RecordKind, record_digest, seal_record
from ipse.vault.datakeys import new_data_key
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.keys import ForkKey, RootKey
from ipse.wire import record_pb2 as pb
from ipse.wire.digest import NO_DIGEST
from tests.ledger.samples import KEY, interaction

FORK = KEY.fork_id
OWNER, PHONE, LAPTOP, STRANGER, NEXT = (Identity(RootKey(bytes([n]) * 32)) for n in range(1, 6))

Change = Callable[[pb.UserTrainingRecord], None]


class History:
    """A fork's records, written as the law wants them, or not."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.access = Access()
        self.key: ForkKey | None = None
        self.now_ms = 1_790_000_000_000

    def add(
        self,
        kind: RecordKind = RecordKind.INTERACTION,
        by: Identity = OWNER,
        *,
        whom: PublicIdentity | None = None,
        member: bytes = b"",
        members: tuple[PublicIdentity, ...] | None = None,
        key: bool | None = None,
    ) -> None:
        seq = len(self.data) + 1
        record = self.record(seq, kind, whom or (by.public if seq == 1 else None), member)
        needed = self.access.needs_key(kind, record.timestamp_ms) if key is None else key
        brought = None
        if needed:
            after = self.access.changed(kind, record.identity, member).members if members is None else members
            self.key, brought = new_data_key(FORK, seq, after, self.key)
        assert self.key is not None
        self.data.append(seal_record(record, self.key, by, brought=brought))
        self.access = check_chain(self.data, FORK)[1]

    def record(self, seq: int, kind: RecordKind, whom: PublicIdentity | None, member: bytes) -> Record:
        previous = record_digest(self.data[-1]) if self.data else NO_DIGEST
        text = "" if kind.changes_members else "Hello!"
        blank = interaction(seq, previous, kind=kind, input_text=text, output_text="", update=b"", prior_update=b"")
        return replace(blank, identity=whom, member=member, timestamp_ms=self.now_ms)


def altered(data: bytes, change: Change, signer: Identity = OWNER) -> bytes:
    """The same record with another field, signed again by somebody who may sign."""
    message = read_envelope(data).message
    change(message)
    if message.certificate:
        message.certificate = certify(message, signer)
    signed = message.SerializeToString(deterministic=True) + MAC_FIELD + bytes(32)
    return signed + SIGNATURE_FIELD + signer.sign_record(RECORD_LABEL, signed)


def with_phone() -> History:
    history = History()
    history.add()
    history.add(RecordKind.DEVICE, whom=PHONE.public)
    return history


def test_a_device_writes_from_the_record_that_lets_it_in_to_the_one_that_puts_it_out() -> None:
    history = with_phone()
    history.add(by=PHONE)
    history.add(RecordKind.REVOKE, member=PHONE.public.short_id)
    assert history.access.members == (OWNER.public,)
    with pytest.raises(VerificationError, match=r"Record 5 .* not a member"):
        history.add(by=PHONE)


def test_a_rotated_owner_lets_in_and_the_one_before_does_not() -> None:
    history = with_phone()
    history.add(RecordKind.ROTATE, whom=NEXT.public)
    history.add(RecordKind.DEVICE, by=NEXT, whom=LAPTOP.public)
    assert history.access.members == (NEXT.public, PHONE.public, LAPTOP.public)
    with pytest.raises(VerificationError, match="not a member"):
        history.add(by=OWNER)


def test_only_the_owner_changes_the_members() -> None:
    history = with_phone()
    for kind, named in (
        (RecordKind.DEVICE, {"whom": LAPTOP.public}),
        (RecordKind.ROTATE, {"whom": LAPTOP.public}),
        (RecordKind.REVOKE, {"member": PHONE.public.short_id}),
    ):
        tried = History()
        tried.data, tried.access, tried.key = list(history.data), history.access, history.key
        with pytest.raises(VerificationError, match="not signed by the owner"):
            tried.add(kind, by=PHONE, **named)


def test_a_certificate_counts_for_its_record_only() -> None:
    history = with_phone()
    data = history.data[1]

    def of_another(message: pb.UserTrainingRecord) -> None:
        message.certificate = certify(read_envelope(data).message, STRANGER)

    message = read_envelope(data).message
    of_another(message)
    signed = message.SerializeToString(deterministic=True) + MAC_FIELD + bytes(32)
    forged = signed + SIGNATURE_FIELD + OWNER.sign_record(RECORD_LABEL, signed)
    with pytest.raises(VerificationError, match="signature of"):
        check_chain([history.data[0], forged], FORK)


@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        (0, lambda m: m.ClearField("identity"), "not a member"),
        (0, lambda m: m.ClearField("data_key"), "no new data key"),
        (1, lambda m: m.ClearField("data_key"), "no new data key"),
        (1, lambda m: setattr(m.data_key, "previous_record", 0), "does not follow"),
        (1, lambda m: m.data_key.wrapped.pop(), "exactly the members"),
        (1, lambda m: m.data_key.wrapped.add(recipient=STRANGER.public.short_id, sealed=b"x"), "exactly the members"),
        (1, lambda m: setattr(m, "data_key_record", 1), "sealed under another one"),
        (1, lambda m: setattr(m, "signer", STRANGER.public.short_id), "not a member"),
        (1, lambda m: m.ClearField("signer"), "signed by nobody"),
        (2, lambda m: setattr(m, "data_key_record", 1), "another data key"),
        (2, lambda m: setattr(m, "member", b"12345678"), "its kind has none"),
        (2, lambda m: m.identity.CopyFrom(pb.Identity(ed25519=b"short")), "public keys"),
        (2, lambda m: setattr(m.identity, "ed25519", b"short"), "public keys"),
    ],
)
def test_a_record_that_breaks_the_law_is_refused_though_its_signer_may_sign(
    which: int, change: Change, said: str
) -> None:
    history = with_phone()
    history.add()
    wrong = [*history.data[:which], altered(history.data[which], change)]
    with pytest.raises(VerificationError, match=f"Record {which + 1} .*{said}"):
        check_chain(wrong, FORK)


def test_nothing_unsigned_follows_what_is_signed_and_old_histories_go_on_signed() -> None:
    old = seal_record(interaction(1), KEY)
    history = History()
    history.data, history.key = [old], KEY
    history.add(whom=OWNER.public)
    assert history.access.owner == OWNER.public
    unsigned = seal_record(interaction(3, record_digest(history.data[-1])), KEY)
    with pytest.raises(VerificationError, match=r"Record 3 .* not signed"):
        check_chain([*history.data, unsigned], FORK)


def test_the_owner_is_compared_with_whom_one_expects() -> None:
    history = with_phone()
    check_chain(history.data, FORK, expected_owner=OWNER.public)
    with pytest.raises(VerificationError, match="who is another"):
        check_chain(history.data, FORK, expected_owner=STRANGER.public)


def test_a_new_day_brings_a_data_key_and_a_clock_that_was_set_back_none() -> None:
    history = History()
    history.add()
    for days, brings in ((0, False), (1, True), (-400, False), (1, False), (2, True)):
        history.now_ms = 1_790_000_000_000 + days * DAY_MS
        history.add()
        assert (history.access.key_number == len(history.data)) is brings


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_found_without_a_key(data: st.DataObject) -> None:
    history = _HISTORY
    which = data.draw(st.integers(0, len(history.data) - 1))
    flipped = bytearray(history.data[which])
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(VerificationError):
        check_chain([*history.data[:which], bytes(flipped), *history.data[which + 1 :]], FORK)


_HISTORY = with_phone()
_HISTORY.add()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2))
def test_no_bytes_raise_anything_but_a_failed_check(junk: bytes, which: int) -> None:
    with pytest.raises(VerificationError):
        check_chain([*_HISTORY.data[:which], junk], FORK)
    with pytest.raises(VerificationError):
        check_chain([*_HISTORY.data[:which], junk + MAC_FIELD + bytes(32) + SIGNATURE_FIELD + bytes(64)], FORK)


def test_access_comes_back_from_its_bytes() -> None:
    for access in (Access(), _HISTORY.access):
        assert Access.from_bytes(access.to_bytes() + b"rest") == (access, b"rest")
    whole = _HISTORY.access.to_bytes()
    for cut in (0, 5, len(whole) - 1):
        with pytest.raises(VerificationError):
            Access.from_bytes(whole[:cut])
