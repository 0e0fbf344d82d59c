# SPDX-License-Identifier: Apache-2.0
"""Signed notes: a text, an empty line, and a line for each signature (C2SP signed-note). ::

    This is an example message.

    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=

Nothing in a note is to be believed before ``verify`` returned: it checks every signature of a key that the caller
knows, passes over all others, and wants at least one. Which signatures are *enough* is the caller's policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.ledger.keys import KEY_ID_BYTES, NoteKey, VerifierKey, is_key_name
from ipse.ledger.treehead import is_note_text
from ipse.wire.lines import from_base64, to_base64

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who says to have signed, and the bytes behind the key id. Unchecked."""

    name: str
    key_id: bytes
    data: bytes

    def to_line(self) -> str:
        """The line of a note, ended by a newline."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.data)}\n"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was checked.

    Attributes:
        key: the known key that made it.
        time_s: the time that it claims, seconds since 1970; 0 if it claims none.
    """

    key: VerifierKey
    time_s: int


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures below it, unchecked.

    Attributes:
        text: ends with a newline; no other control character is in it.
        signatures: at most 100.
    """

    text: str
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or not is_note_text(self.text):
            raise InputError("The text of a note ends with a newline and has no other control characters.")

    def sign(self, key: NoteKey, time_s: int = 0) -> Note:
        """The same with one more signature at its end; see ``NoteKey.sign``."""
        signature = Signature(key.name, key.verifier().key_id, key.sign(self.text, time_s))
        return Note(self.text, (*self.signatures, signature))

    def verify(self, known: Iterable[VerifierKey]) -> tuple[Signed, ...]:
        """Check the signatures of known keys.

        Returns:
            The first signature of each known key that signed, at least one, in the order of the note.

        Raises:
            VerificationError: no known key signed, or a signature in the name of a known key is wrong.
            InputError: two different known keys have the same name and key id.
        """
        keys = {key: (key.name, key.key_id) for key in known}
        if len(set(keys.values())) != len(keys):
            raise InputError("Two known keys have the same name and key id.", "Give one of them another name.")
        by_name = {name: key for key, name in keys.items()}
        found: dict[VerifierKey, Signed] = {}
        for signature in self.signatures:
            key = by_name.get((signature.name, signature.key_id))
            if key is not None:
                found.setdefault(key, Signed(key, key.verify(self.text, signature.data)))
        if not found:
            raise VerificationError("No known key has signed this note.", "Check whose log it is, and its keys.")
        return tuple(found.values())

    def to_bytes(self) -> bytes:
        """The note as it is stored and sent.

        Raises:
            InputError: it has no signature, too many, or is too long to be read again.
        """
        lines = "".join(signature.to_line() for signature in self.signatures)
        data = f"{self.text}\n{lines}".encode()
        if not 0 < len(self.signatures) <= MAX_SIGNATURES or len(data) > MAX_NOTE_BYTES:
            raise InputError(f"A note has 1 to {MAX_SIGNATURES} signatures and at most {MAX_NOTE_BYTES} bytes.")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Note:
        """Inverse of ``to_bytes``: the form only, no signature is checked.

        Raises:
            VerificationError: the bytes are no signed note, or more than is read (1 MB, 100 signatures).
        """
        if len(data) > MAX_NOTE_BYTES:
            raise VerificationError(f"The note is longer than {MAX_NOTE_BYTES} bytes.")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise VerificationError("The note is not UTF-8.") from error
        text, gap, below = whole.rpartition("\n\n")
        if not gap or not below.endswith("\n") or not is_note_text(whole):
            raise VerificationError("Expected a text, an empty line and signature lines.")
        lines = below[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise VerificationError(f"The note has more than {MAX_SIGNATURES} signatures.")
        return cls(text + "\n", tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> Signature:
    dash, name, coded = line[: len(_DASH)], *line[len(_DASH) :].partition(" ")[::2]
    raw = from_base64(coded)
    if dash != _DASH or not is_key_name(name) or len(raw) <= KEY_ID_BYTES:
        raise VerificationError("Expected a signature line: a dash, the name of a key, its signature in base64.")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])
