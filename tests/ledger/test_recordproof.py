# SPDX-License-Identifier: Apache-2.0
"""Proofs of one record: written again as they were, and no damage to one surfaces as anything but a failed check."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.checkpoint import sign_checkpoint
from ipse.ledger.forkhead import blinded, head_of, sign_head
from ipse.ledger.record import record_digest
from ipse.ledger.recordproof import MAGIC, RecordProof
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import inclusion_proof, leaf_hash, list_reader, root_hash
from ipse.ledger.treehead import TreeHead
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey
from ipse.wire import proofs_pb2 as pb
from ipse.wire.digest import sha256
from tests.ledger.logs import KEYS, LOG, ORIGIN
from tests.ledger.test_access import FORK, OWNER, History

_HISTORY = History()
for _ in range(5):
    _HISTORY.add()
DATA = _HISTORY.data
DIGESTS = [record_digest(data) for data in DATA]
VALUE = sha256(b"blinding")


def made(seq: int, *, whole: bool = True) -> RecordProof:
    head = head_of(FORK, DIGESTS)
    leaves = [leaf_hash(sha256(bytes([n]))) for n in range(3)]
    leaves[1] = leaf_hash(blinded(head, VALUE))
    checkpoint = sign_checkpoint(TreeHead(ORIGIN, 3, root_hash(leaves)), KEYS, time_s=1)
    return RecordProof(
        fork_id=FORK,
        seq=seq,
        record=DATA[seq - 1] if whole else b"",
        digest=DIGESTS[seq - 1],
        inclusion=inclusion_proof(seq - 1, len(DIGESTS), list_reader([leaf_hash(each) for each in DIGESTS])),
        head=sign_head(head, OWNER),
        signer=OWNER.public,
        blinding_value=VALUE,
        log_proof=TlogProof(1, inclusion_proof(1, 3, list_reader(leaves)), checkpoint),
    )


WHOLE = made(2)
FILES = (WHOLE.to_bytes(), made(5, whole=False).to_bytes())


@pytest.mark.parametrize("whole", [True, False])
def test_every_record_is_proven_and_the_file_is_read_as_it_was_written(whole: bool) -> None:
    for seq in range(1, len(DATA) + 1):
        proof = made(seq, whole=whole)
        again = RecordProof.from_bytes(proof.to_bytes())
        assert again == proof
        shown = again.verify(LOG)
        assert (shown.head.size, shown.log_head.size, shown.signed) == (5, 3, whole)
        assert shown.checkpoint is not None
        assert (shown.record is not None) == whole
        assert again.verify(None).checkpoint is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seq": 3}, "says that it is record 2"),
        ({"record": b"", "seq": 3}, "Record 3 is not shown to be in the fork"),
        ({"record": b"", "seq": 0}, "not shown to be in the fork"),
        ({"record": DATA[2]}, "says that it is record 3"),
        ({"digest": bytes(32), "record": b""}, "not shown to be in the fork"),
        ({"inclusion": ()}, "not shown to be in the fork"),
        ({"blinding_value": bytes(32)}, "not shown to be in the log"),
        ({"blinding_value": b""}, "Expected a blinding value"),
        ({"signer": Identity(RootKey(bytes(32))).public}, "The head of the fork: No known key"),
        ({"head": sign_head(head_of(FORK, DIGESTS[:4]), OWNER)}, "not shown to be in the fork"),
        ({"head": b""}, "The head of the fork"),
        ({"log_proof": replace(WHOLE.log_proof, index=0)}, "not shown to be in the log"),
        ({"log_proof": replace(WHOLE.log_proof, hashes=())}, "not shown to be in the log"),
        ({"log_proof": replace(WHOLE.log_proof, checkpoint=b"junk")}, "not shown to be in the log"),
    ],
)
def test_each_part_that_is_another_is_named(changed: dict[str, object], said: str) -> None:
    for log in (LOG, None):
        with pytest.raises(VerificationError, match=said) as raised:
            replace(WHOLE, **changed).verify(log)  # type: ignore[arg-type]
        assert raised.value.hint


def test_without_the_keys_of_the_log_a_forged_checkpoint_passes_and_with_them_it_does_not() -> None:
    forged = replace(WHOLE, log_proof=replace(WHOLE.log_proof, checkpoint=_resigned(WHOLE.log_proof.checkpoint)))
    assert forged.verify(None).checkpoint is None
    with pytest.raises(VerificationError, match="not shown to be in the log"):
        forged.verify(LOG)


def _resigned(checkpoint: bytes) -> bytes:
    keys = [replace(key, seed=b"x" * 32) for key in KEYS]
    return sign_checkpoint(TreeHead.from_text(checkpoint.decode().partition("\n\n")[0] + "\n"), keys, time_s=1)


@given(st.sampled_from(FILES), st.data())
def test_no_changed_byte_surfaces_as_anything_but_a_failed_check(file: bytes, data: st.DataObject) -> None:
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "put in"]))
        if change == "flip":
            damaged[at] ^= data.draw(st.integers(1, 255))
        elif change == "cut":
            del damaged[at : at + data.draw(st.integers(1, 400))]
        else:
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=40))
        if not damaged:
            break
    try:
        proof = RecordProof.from_bytes(bytes(damaged))
        proof.verify(LOG)
        proof.verify(None)
    except VerificationError:
        pass
    else:  # what may be there and means nothing: a field that this version does not know
        assert (proof.seq, proof.digest, proof.signer) in {(n, DIGESTS[n - 1], OWNER.public) for n in (2, 5)}


@given(st.binary(max_size=300))
def test_junk_behind_the_first_line_is_a_failed_check(junk: bytes) -> None:
    for data in (junk, MAGIC + junk):
        with pytest.raises(VerificationError):
            RecordProof.from_bytes(data).verify(None)


@pytest.mark.parametrize("kind", ["record and digest", "neither", "short digest", "no fork"])
def test_a_file_of_another_form_is_refused(kind: str) -> None:
    message = pb.RecordProof.FromString(FILES[0][len(MAGIC) :])
    if kind == "record and digest":
        message.digest = DIGESTS[1]
    elif kind == "no fork":
        message.fork_id = "f_"
    else:
        message.ClearField("record")
        message.digest = b"" if kind == "neither" else b"short"
    with pytest.raises(VerificationError):
        RecordProof.from_bytes(MAGIC + message.SerializeToString())


def test_a_released_field_never_changes_its_number() -> None:
    assert {field.name: field.number for field in pb.RecordProof.DESCRIPTOR.fields} == {
        "fork_id": 1,
        "record_number": 2,
        "record": 3,
        "digest": 4,
        "inclusion": 5,
        "head": 6,
        "signer": 7,
        "blinding_value": 8,
        "log_proof": 9,
    }
