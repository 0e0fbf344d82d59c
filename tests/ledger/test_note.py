# SPDX-License-Identifier: Apache-2.0
"""Signed notes and their keys, against the examples of the specification and Wycheproof's vectors of ML-DSA-44."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from ipse.errors import InputError, VerificationError
from ipse.ledger.keys import NoteKey, SignatureType, VerifierKey
from ipse.ledger.note import MAX_NOTE_BYTES, Note, Signature
from tests.ledger.logs import KEYS, TIME_S, WITNESSES, head, note_key
from tests.ledger.thirdparty import vectors

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
"""The key and the note in C2SP signed-note, "Verifier keys", "Example"."""

TEXT = head(5).to_text()
EVERY_KEY = (*KEYS, *WITNESSES)


def signed(key: NoteKey, text: str = TEXT) -> Note:
    return Note(text).sign(key, 0 if key.kind is SignatureType.ED25519 else TIME_S)


def test_the_example_of_the_specification_verifies_and_is_written_again_as_it_was() -> None:
    key = VerifierKey.from_text(EXAMPLE_KEY)
    note = Note.from_bytes(EXAMPLE_NOTE.encode())
    assert [each.key for each in note.verify([key])] == [key]
    assert (note.text, note.to_bytes(), key.to_text()) == (
        "This is an example message.\n",
        EXAMPLE_NOTE.encode(),
        EXAMPLE_KEY,
    )


@pytest.mark.parametrize("key", EVERY_KEY, ids=lambda key: key.kind.name)
def test_what_a_key_signed_its_verifier_key_accepts_with_its_time(key: NoteKey) -> None:
    verifier = VerifierKey.from_text(key.verifier().to_text())
    note = Note.from_bytes(signed(key).to_bytes())
    (found,) = note.verify([verifier])
    assert (found.key, found.time_s) == (key.verifier(), 0 if key.kind is SignatureType.ED25519 else TIME_S)
    with pytest.raises(VerificationError, match="is wrong"):
        Note(head(6).to_text(), note.signatures).verify([verifier])


@pytest.mark.parametrize("key", EVERY_KEY, ids=lambda key: key.kind.name)
def test_every_altered_or_cut_signature_of_a_known_key_is_an_error(key: NoteKey) -> None:
    (signature,) = signed(key).signatures
    cuts = [b"", signature.data[:7], signature.data[:-1], signature.data + b"\0"]
    flips = [
        bytes([*signature.data[:at], signature.data[at] ^ 1, *signature.data[at + 1 :]]) for at in (0, 7, 8, 40, -1)
    ]
    for data in cuts + [flip[: len(signature.data)] for flip in flips]:
        with pytest.raises(VerificationError):
            Note(TEXT, (replace(signature, data=data),)).verify([key.verifier()])


def test_the_ml_dsa_message_is_the_structure_of_the_specification() -> None:
    key = KEYS[1]
    time_and_signature = key.sign(TEXT, TIME_S)
    message = b"subtree/v1\n\0" + bytes([len(key.name)]) + key.name.encode() + TIME_S.to_bytes(8, "big")
    message += bytes([16]) + b"log.example/ipse" + bytes(8) + (5).to_bytes(8, "big") + head(5).root
    assert time_and_signature[:8] == TIME_S.to_bytes(8, "big")
    MLDSA44PublicKey.from_public_bytes(key.verifier().public).verify(time_and_signature[8:], message)


def test_the_ed25519_cosignature_signs_the_lines_of_the_specification() -> None:
    key = WITNESSES[0]
    message = f"cosignature/v1\ntime {TIME_S}\n{TEXT}".encode()
    Ed25519PublicKey.from_public_bytes(key.verifier().public).verify(key.sign(TEXT, TIME_S)[8:], message)


def test_signatures_of_one_secret_are_not_interchangeable_between_types_and_names() -> None:
    plain = note_key("a.example", SignatureType.ED25519, 9)
    cosigner = note_key("a.example", SignatureType.ED25519_COSIGNATURE, 9)
    assert plain.verifier().public == cosigner.verifier().public
    assert plain.verifier().key_id != cosigner.verifier().key_id
    with pytest.raises(VerificationError):
        cosigner.verifier().verify(TEXT, plain.sign(TEXT))
    one, two = (note_key(name, SignatureType.ML_DSA_44_COSIGNATURE, 9) for name in ("one.example", "two.example"))
    with pytest.raises(VerificationError):
        two.verifier().verify(TEXT, one.sign(TEXT))  # the message names the cosigner


def test_unknown_keys_are_passed_over_and_a_note_without_a_known_one_is_refused() -> None:
    ours, stranger = KEYS[0], note_key(KEYS[0].name, SignatureType.ED25519, 77)
    nonsense = Signature("someone.example", b"abcd", b"no signature at all")
    same_id = Signature("other.example", ours.verifier().key_id, b"same id, other name")
    note = Note(TEXT, (nonsense, same_id, *signed(stranger).signatures, *signed(ours).signatures))
    assert [each.key for each in note.verify([ours.verifier()])] == [ours.verifier()]
    for known in ([], [note_key("x.example", SignatureType.ED25519, 5).verifier()]):
        with pytest.raises(VerificationError, match="No known key"):
            note.verify(known)


def test_a_wrong_signature_of_a_known_key_is_not_made_good_by_a_right_one() -> None:
    ours, witness = KEYS[0], WITNESSES[0]
    (bad,) = signed(ours, head(4).to_text()).signatures
    for signatures in (
        (bad, *signed(ours).signatures),
        (*signed(ours).signatures, bad),
        (*signed(witness).signatures, bad),
    ):
        with pytest.raises(VerificationError, match="is wrong"):
            Note(TEXT, signatures).verify([ours.verifier(), witness.verifier()])


def test_a_key_that_signed_twice_counts_once() -> None:
    key = WITNESSES[1]
    note = Note(TEXT).sign(key, 1).sign(key, 2)
    assert [(each.key, each.time_s) for each in note.verify([key.verifier()])] == [(key.verifier(), 1)]


def test_two_known_keys_of_one_name_and_key_id_are_refused() -> None:
    key = KEYS[0].verifier()

    class Lookalike(VerifierKey):
        @property
        def key_id(self) -> bytes:
            return key.key_id

    with pytest.raises(InputError, match="same name and key id"):
        signed(KEYS[0]).verify([key, Lookalike(key.name, key.kind, bytes(32))])


LINE = EXAMPLE_NOTE.split("\n")[2] + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n" + LINE,
        "text\n\n" + LINE[:-1],
        "text\n\n" + LINE + "\n",
        "text\n\n" + LINE[:-1] + "x",
        "te\txt\n\n" + LINE,
        "te\0xt\n\n" + LINE,
        "text\r\n\n" + LINE,
        "text\n\n" + LINE.replace("—", "-"),
        "text\n\n" + LINE.replace("/foo", "+foo"),
        "text\n\n" + LINE.replace("/foo", "\u00a0foo"),
        "text\n\n" + LINE.replace("example.com/foo", ""),
        "text\n\n" + LINE.replace("=", ""),
        "text\n\n" + LINE.replace("aQM=", "aQN="),
        "text\n\n" + LINE.replace("Uw2Q", "Uw2_"),
        "text\n\n— a.example Uw2QOg==\n",
        "text\n\n— a.example\n",
        "text\n\n— a.example " + "x" * 257 + "\n",
        "text\n\n" + LINE + "more\n",
        "text\n\n" + LINE * 101,
        "x" * MAX_NOTE_BYTES + "\n\n" + LINE,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        Note.from_bytes(text.encode())
    with pytest.raises(VerificationError):
        Note.from_bytes(b"\xff" + text.encode())


def test_a_stranger_may_have_a_name_longer_than_ours_can_be() -> None:
    note = Note.from_bytes((EXAMPLE_NOTE + LINE.replace("example.com", "a" * 300)).encode())
    assert note.verify([VerifierKey.from_text(EXAMPLE_KEY)])


def test_a_note_of_a_hundred_signatures_and_of_empty_lines_is_read() -> None:
    text = "one\n\n\ntwo — with a dash\n\n"
    data = (text + "\n" + LINE * 100).encode()
    note = Note.from_bytes(data)
    assert (note.text, len(note.signatures), note.to_bytes()) == (text, 100, data)


def test_what_could_not_be_read_again_is_not_written() -> None:
    (signature,) = Note.from_bytes(EXAMPLE_NOTE.encode()).signatures
    for text in ("", "no newline", "tab\t\n", "half a pair \ud800\n"):
        with pytest.raises(InputError):
            Note(text)
    for note in (Note("x\n"), Note("x\n", (signature,) * 101), Note("x" * MAX_NOTE_BYTES + "\n", (signature,))):
        with pytest.raises(InputError):
            note.to_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "++",
        "example.com/foo+530d903a+",
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY + "A",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("example", "exam ple"),
        EXAMPLE_KEY.replace("+Aeky", "+Auky"),
        EXAMPLE_KEY.replace("foo", "\udc80"),
        EXAMPLE_KEY.replace("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "AQ=="),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        VerifierKey.from_text(text)


def test_a_public_key_of_another_length_is_refused() -> None:
    for kind in SignatureType:
        for length in (0, 31, 33, 1311, 1313):
            with pytest.raises(VerificationError, match="Expected a public key"):
                VerifierKey("a.example", kind, bytes(length))


def test_a_key_that_cannot_be_or_sign_is_an_input_error_and_shows_no_secret() -> None:
    for name, seed in (
        ("", bytes(32)),
        ("a b", bytes(32)),
        ("a+b", bytes(32)),
        ("a" * 256, bytes(32)),
        ("a", bytes(31)),
    ):
        with pytest.raises(InputError):
            NoteKey(name, SignatureType.ED25519, seed)
    for key, time_s in ((KEYS[0], 1), (KEYS[1], -1), (KEYS[1], 2**63)):
        with pytest.raises(InputError):
            key.sign(TEXT, time_s)
    assert repr(b"\x01" * 32)[2:-1] not in repr(KEYS[0])


@pytest.mark.parametrize("key", [KEYS[1], *WITNESSES], ids=lambda key: key.kind.name)
def test_a_cosignature_signs_checkpoints_only(key: NoteKey) -> None:
    for text in ("anything\n", TEXT + "extension\n"):
        with pytest.raises(VerificationError, match="three lines"):
            key.sign(text)
        with pytest.raises(VerificationError, match="three lines"):
            key.verifier().verify(text, bytes(8 + 2420))


def test_a_time_past_the_range_is_refused() -> None:
    key = WITNESSES[0].verifier()
    with pytest.raises(VerificationError, match="past"):
        key.verify(TEXT, b"\xff" * 8 + bytes(64))


def test_wycheproof_ml_dsa_44_signatures_have_the_outcome_they_say() -> None:
    (suite,) = vectors("wycheproof/mldsa_44_verify_test.json").values()
    count = {"valid": 0, "invalid": 0}
    for group in suite["testGroups"]:
        for case in group["tests"]:
            data = [bytes.fromhex(x) for x in (case["sig"], case["msg"], case.get("ctx", ""))]
            try:
                MLDSA44PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"])).verify(*data)
                outcome = "valid"
            except (InvalidSignature, ValueError):
                outcome = "invalid"
            assert outcome == case["result"], case["tcId"]
            count[outcome] += 1
    assert sum(count.values()) == suite["numberOfTests"] == 180
    assert min(count.values()) > 20


def test_wycheproof_ed25519_signatures_have_the_outcome_they_say() -> None:
    (suite,) = vectors("wycheproof/ed25519_test.json").values()
    count = 0
    for group in suite["testGroups"]:
        for case in group["tests"]:
            try:
                public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
                public.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
                outcome = "valid"
            except (InvalidSignature, ValueError):
                outcome = "invalid"
            assert outcome == case["result"], case["tcId"]
            count += 1
    assert count == suite["numberOfTests"]
