# SPDX-License-Identifier: Apache-2.0
"""The passphrase wrap: what opens, and everything that must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import InputError, VaultError, VerificationError, WrongKey
from ipse.vault import wraps
from ipse.vault.keys import RootKey, root_check
from ipse.vault.seal import seal
from ipse.vault.wraps import DEFAULT_COST, MAX_COST, Cost, load_wrap, parse_wrap, spell_wrap

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
"""The least that Argon2id takes."""

ROOT = RootKey(bytes(range(32)))
PLACE = Path("root.wrap")
WORDS = "correct horse battery"
TEXT = spell_wrap(ROOT, WORDS, cost=CHEAP)

FROZEN = (
    "ipse-root-wrap-v1\n"
    "# Opens with its passphrase only. Keep a copy; whoever has both can read every fork of this root.\n"
    "argon2id memory_kib=8 passes=1 lanes=1 salt=00000000000000000000000000000000\n"
    "root 22c2622ec3373556b946505ab5cfe7fa\n"
    "sealed 5bf9733a46457dea9ba828714ebcdee8042cbed38007e4893222c0053a9ba87194ee6a3ea64546c3"
    "7dcdc1b471914bf796f440b09fad6f09e6c17078e52c6780af8addc24daf780c75c53074bc64938e\n"
    "check 05d7230ecbb1c28c\n"
)

roots = st.binary(min_size=32, max_size=32).map(RootKey)
passphrases = st.text(
    st.characters(exclude_categories=("Cc", "Cs")), min_size=wraps.MIN_PASSPHRASE_CHARACTERS, max_size=60
)


@given(roots, passphrases)
def test_what_was_wrapped_opens(root: RootKey, passphrase: str) -> None:
    wrap = parse_wrap(spell_wrap(root, passphrase, cost=CHEAP).encode(), PLACE)
    assert wrap.open(passphrase) == root
    assert wrap.check == root_check(root)


@given(roots, passphrases, passphrases)
def test_another_passphrase_opens_nothing(root: RootKey, passphrase: str, other: str) -> None:
    wrap = parse_wrap(spell_wrap(root, passphrase, cost=CHEAP).encode(), PLACE)
    same = wraps._passphrase_bytes(passphrase) == wraps._passphrase_bytes(other)
    if same:
        assert wrap.open(other) == root
    else:
        with pytest.raises(WrongKey, match="does not open"):
            wrap.open(other)


def test_every_flipped_bit_and_every_cut_is_noticed_before_a_passphrase_is_asked_for() -> None:
    data = TEXT.encode()
    for at in range(len(data) * 8):
        bad = bytearray(data)
        bad[at // 8] ^= 1 << at % 8
        with pytest.raises(VaultError) as caught:
            parse_wrap(bytes(bad), PLACE)
        assert caught.value.hint
    for size in range(len(data)):
        with pytest.raises(VaultError):
            parse_wrap(data[:size], PLACE)


@given(st.binary(max_size=600))
def test_no_other_bytes_are_a_wrap(data: bytes) -> None:
    for bad in (data, (data or b"\n") + TEXT.encode(), TEXT.encode() + (data or b"\n")):
        with pytest.raises(VaultError):
            parse_wrap(bad, PLACE)


def test_a_wrap_altered_by_somebody_who_can_compute_its_digest_does_not_open() -> None:
    """Every line above the seal is associated data, and the seal itself is authenticated."""
    lines = TEXT.splitlines(keepends=True)
    body = "".join(lines[:-1])
    start = len("".join(lines[:2]))
    tried = 0
    for at in range(start, len(body)):
        if body[at] not in "0123456789abcdef":
            continue
        altered = body[:at] + ("1" if body[at] != "1" else "2") + body[at + 1 :]
        try:
            wrap = parse_wrap(wraps._checked(altered).encode(), PLACE)
        except VaultError:  # no longer of its form, or no cost that Argon2id takes
            continue
        if wrap.cost.memory_kib > 64:
            continue
        tried += 1
        with pytest.raises(VerificationError):
            wrap.open(WORDS)
    assert tried > 200


def test_a_wrap_that_says_to_hold_another_root_does_not_open() -> None:
    key = wraps._stretched(WORDS, bytes(16), CHEAP)
    header = wraps._header(CHEAP, bytes(16), root_check(RootKey(bytes(32))))
    sealed = seal(key, ROOT.secret, nonce=bytes(12), context=header.encode())
    wrap = parse_wrap(wraps._checked(f"{header}sealed {sealed.hex()}\n").encode(), PLACE)
    with pytest.raises(VerificationError, match="another root"):
        wrap.open(WORDS)


@pytest.mark.parametrize(
    "cost",
    [
        Cost(MAX_COST.memory_kib + 1, 1, 1),
        Cost(2**33, 1, 1),
        Cost(64, MAX_COST.passes + 1, 1),
        Cost(1024, 1, MAX_COST.lanes + 1),
        Cost(15, 1, 2),
    ],
)
def test_a_file_cannot_ask_for_endless_memory_or_time(cost: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    text = wraps._checked(wraps._header(cost, bytes(16), bytes(16)) + "sealed " + "00" * 80 + "\n")
    with pytest.raises(VaultError, match="at most") as caught:
        parse_wrap(text.encode(), PLACE)
    assert caught.value.hint
    with pytest.raises(ValueError, match="cost"):
        spell_wrap(ROOT, WORDS, cost=cost)


def test_the_default_is_at_least_what_rfc_9106_recommends_where_memory_is_short() -> None:
    assert Cost(memory_kib=64 * 1024, passes=3, lanes=4) == DEFAULT_COST
    assert DEFAULT_COST.within(MAX_COST)
    wrap = parse_wrap(spell_wrap(ROOT, WORDS).encode(), PLACE)
    assert wrap.cost == DEFAULT_COST
    assert wrap.open(WORDS) == ROOT


def test_a_wrap_of_a_newer_version_is_told_as_such() -> None:
    with pytest.raises(VaultError, match="does not know") as caught:
        parse_wrap(TEXT.replace("wrap-v1", "wrap-v2").encode(), PLACE)
    assert caught.value.hint == "Update Ipse."


def test_the_file_shows_nothing_of_root_or_passphrase_and_no_two_are_alike() -> None:
    assert ROOT.secret.hex() not in TEXT
    assert WORDS not in TEXT
    other = spell_wrap(ROOT, WORDS, cost=CHEAP)
    salts, seals = (
        {line for text in (TEXT, other) for line in text.splitlines() if mark in line} for mark in ("salt=", "sealed ")
    )
    assert (len(salts), len(seals)) == (2, 2)


def test_the_form_of_a_wrap_never_changes() -> None:
    """Frozen: if this fails, no root wrapped before can be opened with its passphrase."""
    text = spell_wrap(ROOT, WORDS, cost=CHEAP, rng=bytes)
    assert text == FROZEN
    assert parse_wrap(FROZEN.encode(), PLACE).open(WORDS) == ROOT


def test_letters_composed_in_two_ways_are_one_passphrase() -> None:
    wrap = parse_wrap(spell_wrap(ROOT, "caf\u00e9 caf\u00e9", cost=CHEAP).encode(), PLACE)
    assert wrap.open("cafe\u0301 cafe\u0301") == ROOT


@pytest.mark.parametrize(
    ("passphrase", "says"),
    [
        ("", "at least 8"),
        ("seven77", "at least 8"),
        ("line\nline\n", "control"),
        ("nul\0nul\0", "control"),
        ("\udcff" * 8, "UTF-8"),
        ("x" * 1025, "1024"),
    ],
)
def test_a_passphrase_that_cannot_be_used_is_an_input_error(passphrase: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        spell_wrap(ROOT, passphrase, cost=CHEAP)
    assert caught.value.hint
    wrap = parse_wrap(TEXT.encode(), PLACE)
    with pytest.raises((InputError, WrongKey)):
        wrap.open(passphrase)


def test_a_folder_a_pipe_or_nothing_is_no_wrap(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(VaultError):
            load_wrap(tmp_path / name)
