# SPDX-License-Identifier: Apache-2.0
"""Recovery words: the vectors of BIP 39, and what is said of words that are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import InputError, VerificationError
from ipse.vault.keys import RootKey
from ipse.vault.words import root_of, words_of

# https://github.com/trezor/python-mnemonic/blob/master/vectors.json, those of 256 bits: entropy, words.
BIP_39 = [
    ("00" * 32, "abandon " * 23 + "art"),
    ("ff" * 32, "zoo " * 23 + "vote"),
    (
        "7f" * 32,
        "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful "
        "legal winner thank year wave sausage worth title",
    ),
    (
        "80" * 32,
        "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic "
        "avoid letter advice cage absurd amount doctor acoustic bless",
    ),
    (
        "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
        "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis "
        "maple dilemma loan word shrug inflict delay length",
    ),
]
WORDS = BIP_39[4][1].split()


@pytest.mark.parametrize(("entropy", "words"), BIP_39, ids=[entropy[:4] for entropy, _ in BIP_39])
def test_the_words_are_those_of_bip_39(entropy: str, words: str) -> None:
    root = RootKey(bytes.fromhex(entropy))
    assert words_of(root) == words.split()
    assert root_of(words) == root


@given(st.binary(min_size=32, max_size=32))
def test_the_words_of_a_root_give_that_root(secret: bytes) -> None:
    words = words_of(RootKey(secret))
    assert len(words) == 24
    assert root_of(" ".join(words)).secret == secret


def test_numbers_lines_and_capitals_do_not_matter() -> None:
    written = "\n".join(f" {number}. {word.upper()}" for number, word in enumerate(WORDS, 1))
    assert root_of(written) == root_of("\t".join(WORDS)) == RootKey(bytes.fromhex(BIP_39[4][0]))
    assert root_of(" ".join(f"{number} {word}" for number, word in enumerate(WORDS, 1))) == root_of(" ".join(WORDS))


@given(st.integers(0, 23), st.sampled_from(["x", "absurdd", "diagra", "ähre", "\ud800", "100", "-", "'", "zoo zoo"]))
def test_a_word_that_is_none_is_named_by_its_number(at: int, wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        root_of(" ".join([*WORDS[:at], wrong, *WORDS[at + 1 :]]))
    if wrong != "zoo zoo":
        assert f"Word {at + 1}, " in caught.value.message
    assert caught.value.hint


def test_a_misspelt_word_comes_with_the_word_that_was_meant() -> None:
    with pytest.raises(InputError, match=r"Word 2, 'diagramm'") as caught:
        root_of(" ".join([WORDS[0], "diagramm", *WORDS[2:]]))
    assert caught.value.hint == "Did you mean diagram?"


@pytest.mark.parametrize("count", [0, 1, 12, 23, 25, 48])
def test_another_number_of_words_is_told(count: int) -> None:
    with pytest.raises(InputError, match=f"Expected 24 words, got {count}"):
        root_of(" ".join((WORDS * 2)[:count]))


def test_endless_words_are_refused() -> None:
    with pytest.raises(InputError, match="characters"):
        root_of("zoo " * 100_000)


def test_almost_every_wrong_or_swapped_word_is_noticed() -> None:
    """One in 256 is not: the checksum has 8 bits. The forks' check values notice that one."""
    wrong = [[*WORDS[:at], "zoo", *WORDS[at + 1 :]] for at in range(24)]
    swapped = [[*WORDS[:at], WORDS[at + 1], WORDS[at], *WORDS[at + 2 :]] for at in range(23)]
    noticed = 0
    for words in wrong + swapped:
        try:
            assert root_of(" ".join(words)) != root_of(" ".join(WORDS))
        except VerificationError:
            noticed += 1
    assert noticed >= 45
