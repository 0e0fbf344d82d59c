# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: their text, all the keys of the log, and the witnesses beside them."""

from __future__ import annotations

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import Log, TreeHead, cosign, open_checkpoint, sign_checkpoint
from ipse.ledger.keys import SignatureType
from ipse.ledger.note import Note
from ipse.ledger.tree import EMPTY_ROOT
from tests.ledger.logs import KEYS, KNOWN_WITNESSES, LOG, ORIGIN, TIME_S, WITNESSES, checkpoint, head, note_key

SPEC_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
"""The example of C2SP tlog-checkpoint."""


def test_the_example_of_the_specification_is_read_and_written_again() -> None:
    read = TreeHead.from_text(SPEC_TEXT)
    assert (read.origin, read.size, read.root[:2].hex()) == ("example.com/behind-the-sofa", 20852163, "0ac5")
    assert read.to_text() == SPEC_TEXT


def test_a_signed_tree_head_opens_under_the_keys_of_its_log() -> None:
    opened = open_checkpoint(checkpoint(5), LOG)
    assert (opened.head, opened.cosignatures) == (head(5), ())


def test_a_checkpoint_with_both_signatures_takes_3_kilobytes_and_a_half() -> None:
    assert len(checkpoint(5)) == 3445


def test_every_key_of_the_log_must_have_signed() -> None:
    for signers, missing in ((KEYS[:1], "ML_DSA_44_COSIGNATURE"), (KEYS[1:], "ED25519")):
        with pytest.raises(VerificationError, match=f"{missing} is missing"):
            open_checkpoint(sign_checkpoint(head(5), signers, time_s=TIME_S), LOG)


def test_a_witness_cannot_stand_in_for_the_log() -> None:
    note = Note(head(5).to_text()).sign(WITNESSES[0], TIME_S).to_bytes()
    with pytest.raises(VerificationError, match="is missing"):
        open_checkpoint(note, LOG, KNOWN_WITNESSES)


def test_a_forged_signature_of_one_key_spoils_the_right_one_of_the_other() -> None:
    right, other = Note.from_bytes(checkpoint(5)), Note.from_bytes(checkpoint(6))
    for forged in ((right.signatures[0], other.signatures[1]), (other.signatures[0], right.signatures[1])):
        with pytest.raises(VerificationError, match="is wrong"):
            open_checkpoint(Note(right.text, forged).to_bytes(), LOG)


def test_cosignatures_of_known_witnesses_come_back_with_their_times_and_others_do_not() -> None:
    data = checkpoint(5)
    for number, witness in enumerate(WITNESSES):
        data = cosign(data, witness, time_s=TIME_S + number)
    data = cosign(data, note_key("stranger.example", SignatureType.ED25519_COSIGNATURE, 50), time_s=1)
    found = open_checkpoint(data, LOG, KNOWN_WITNESSES).cosignatures
    assert [(each.key, each.time_s) for each in found] == list(zip(KNOWN_WITNESSES, (TIME_S, TIME_S + 1), strict=True))
    assert open_checkpoint(data, LOG).cosignatures == ()


def test_a_wrong_cosignature_of_a_known_witness_is_refused() -> None:
    note = Note.from_bytes(checkpoint(5))
    (wrong,) = Note(head(6).to_text()).sign(WITNESSES[1], TIME_S).signatures
    data = Note(note.text, (*note.signatures, wrong)).to_bytes()
    with pytest.raises(VerificationError, match="is wrong"):
        open_checkpoint(data, LOG, KNOWN_WITNESSES)
    assert open_checkpoint(data, LOG).head == head(5)  # nobody here knows that witness


def test_a_checkpoint_of_another_origin_is_refused_even_under_the_same_keys() -> None:
    data = sign_checkpoint(TreeHead("other.example", 5, head(5).root), KEYS, time_s=TIME_S)
    with pytest.raises(VerificationError, match=r"of 'other\.example', not of"):
        open_checkpoint(data, LOG)


def test_an_ordinary_key_does_not_cosign_and_a_log_has_keys() -> None:
    with pytest.raises(InputError, match="does not cosign"):
        cosign(checkpoint(1), KEYS[0], time_s=TIME_S)
    with pytest.raises(InputError, match="without keys"):
        Log(ORIGIN, ())
    with pytest.raises(VerificationError):
        cosign(b"no checkpoint", WITNESSES[0], time_s=TIME_S)


ROOT_LINE = SPEC_TEXT.split("\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        SPEC_TEXT[:-1],
        SPEC_TEXT + "\n",
        SPEC_TEXT + "an extension line\n",
        SPEC_TEXT.replace("20852163", "020852163"),
        SPEC_TEXT.replace("20852163", "+20852163"),
        SPEC_TEXT.replace("20852163", "-1"),
        SPEC_TEXT.replace("20852163", "2085 2163"),
        SPEC_TEXT.replace("20852163", "٢"),
        SPEC_TEXT.replace("20852163", str(2**63)),
        SPEC_TEXT.replace("20852163", "9" * 5000),
        SPEC_TEXT.replace("20852163", ""),
        SPEC_TEXT.replace("20852163", "0"),
        SPEC_TEXT.replace("example.com/behind-the-sofa", ""),
        SPEC_TEXT.replace("example.com/behind-the-sofa", "a" * 256),
        SPEC_TEXT.replace("example.com/behind-the-sofa", "a\rb"),
        SPEC_TEXT.replace(ROOT_LINE, ROOT_LINE[:-1]),
        SPEC_TEXT.replace(ROOT_LINE, "AAAA"),
        SPEC_TEXT.replace(ROOT_LINE, ROOT_LINE.replace("2I=", "2J=")),
        SPEC_TEXT.replace(ROOT_LINE, ROOT_LINE.replace("/", "_")),
    ],
)
def test_what_is_no_tree_head_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        TreeHead.from_text(text)


def test_a_tree_head_that_cannot_be_is_not_made() -> None:
    assert TreeHead.from_text(TreeHead(ORIGIN, 0, EMPTY_ROOT).to_text()).size == 0
    assert TreeHead.from_text(TreeHead(ORIGIN, 2**63 - 1, EMPTY_ROOT).to_text()).size == 2**63 - 1
    for origin, size, root in (
        ("", 1, EMPTY_ROOT),
        ("a\nb", 1, EMPTY_ROOT),
        (ORIGIN, -1, EMPTY_ROOT),
        (ORIGIN, 2**63, EMPTY_ROOT),
        (ORIGIN, 1, b""),
        (ORIGIN, 0, bytes(32)),
    ):
        with pytest.raises(VerificationError):
            TreeHead(origin, size, root)
