# SPDX-License-Identifier: Apache-2.0
"""Recovery words: the root key as 24 English words, to be written on paper.

BIP 39 (https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki): 256 bits of entropy and the first 8 bits of
their SHA-256, 11 bits a word. The entropy IS the root key: nothing is stored for the words, and no PBKDF2 seed is
derived from them, so the standard's optional passphrase has no place here.

    >>> from ipse.vault.keys import RootKey
    >>> " ".join(words_of(RootKey(bytes(32)))[-3:])
    'abandon abandon art'

What they check: every misspelt word, and 255 of 256 wrong or swapped ones. The last one is for the public check
value of the root (keys.py), where there is something to compare with.

Not protected here: whoever reads the words has every fork.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from functools import cache

from mnemonic import Mnemonic

from ipse.errors import InputError, VerificationError
from ipse.vault.keys import RootKey

WORD_COUNT = 24
MAX_TEXT_CHARACTERS = 4096

_NUMBER = re.compile(r"[0-9]{1,2}[.):]?", re.ASCII)


def words_of(root: RootKey) -> list[str]:
    """The 24 words of a root key."""
    return _bip39().to_mnemonic(root.secret).split(" ")


def root_of(text: str) -> RootKey:
    """The root key of 24 words, in any case, with any white space, with or without their numbers.

    Raises:
        InputError: not 24 words, or one that is not in the list: says which.
        VerificationError: all of them are in the list, and they do not belong together.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InputError(f"Expected {WORD_COUNT} words, got {len(text)} characters.", "Give the words and no more.")
    words = words_in(text)
    for number, word in enumerate(words, 1):
        if not is_word(word):
            raise InputError(f"Word {number}, {word[:20]!r}, is not in the list of recovery words.", _suggested(word))
    if len(words) != WORD_COUNT:
        raise InputError(f"Expected {WORD_COUNT} words, got {len(words)}.", "Give all of them, in their order.")
    try:
        return RootKey(bytes(_bip39().to_entropy(words)))
    except ValueError as error:
        raise VerificationError(
            "These 24 words do not belong together: one is wrong, or two have changed places.",
            "Compare each word and its number with what you wrote down.",
        ) from error


def words_in(text: str) -> list[str]:
    """The words of a text as people write them down: numbers and capitals taken off."""
    normal = unicodedata.normalize("NFKD", text).lower()
    return [word for word in normal.split() if not _NUMBER.fullmatch(word)]


def is_word(word: str) -> bool:
    """Whether it is in the list of BIP 39."""
    return word in _bip39().wordlist


def _suggested(word: str) -> str:
    near = difflib.get_close_matches(word, _bip39().wordlist, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(near)}?" if near else "Compare it with what you wrote down."


@cache
def _bip39() -> Mnemonic:
    return Mnemonic("english")
