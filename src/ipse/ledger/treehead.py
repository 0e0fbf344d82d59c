# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says: whose log, how large, under which root hash (C2SP tlog-checkpoint, "Note text"). ::

    example.com/behind-the-sofa
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

Extension lines, which the specification allows and advises against, are refused: an ML-DSA-44 cosignature does not
cover them, so whoever reads one may read what nobody signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ipse.errors import VerificationError
from ipse.ledger.tree import EMPTY_ROOT
from ipse.wire.digest import DIGEST_BYTES
from ipse.wire.lines import MAX_NUMBER, from_base64, parse_decimal, to_base64

MAX_NAME_BYTES = 255
"""Of an origin or a key name: an ML-DSA-44 cosignature writes their lengths in one byte."""

_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TreeHead:
    """Size and root hash of a log's tree. Nobody has signed it; a ``Checkpoint`` (checkpoint.py) is signed.

    Attributes:
        origin: the log's name, 1 to 255 bytes of UTF-8 in one line.
        size: number of leaves, at most 2**63 - 1.
        root: root hash, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_line(self.origin):
            raise VerificationError(f"Expected an origin of 1 to {MAX_NAME_BYTES} bytes in one line.")
        if not 0 <= self.size <= MAX_NUMBER:
            raise VerificationError(f"Expected a tree size from 0 to 2**63 - 1, got {self.size}.")
        if len(self.root) != DIGEST_BYTES:
            raise VerificationError(f"Expected a root hash of {DIGEST_BYTES} bytes, got {len(self.root)}.")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise VerificationError("The root hash is not that of the empty tree.")

    def to_text(self) -> str:
        """The three lines, each ended by a newline: the text that is signed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> TreeHead:
        """Inverse of ``to_text``.

        Raises:
            VerificationError: the text is anything else.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise VerificationError("Expected a checkpoint of three lines: origin, tree size and root hash.")
        return cls(lines[0], parse_decimal(lines[1]), from_base64(lines[2]))


def is_line(text: str) -> bool:
    """Whether this can be an origin: 1 to 255 bytes of UTF-8, no ASCII control characters."""
    return is_note_text(text) and "\n" not in text and 0 < len(text.encode()) <= MAX_NAME_BYTES


def is_note_text(text: str) -> bool:
    """Whether these characters may be in a signed note: Unicode, and no ASCII control character but the newline."""
    return _FORBIDDEN.search(text) is None
