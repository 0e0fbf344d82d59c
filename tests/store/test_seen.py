# SPDX-License-Identifier: Apache-2.0
"""What was seen of a history: it never goes back, and a store that has less is told."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import InputError, StoreDamaged, StoreError, StoreRolledBack
from ipse.store.rows import Head
from ipse.store.seen import Seen


def digest(number: int) -> bytes:
    return bytes([number]) * 32


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path / "seen")


@pytest.mark.parametrize("sync", [True, False])
def test_what_was_noted_is_there_again_and_for_its_owner_alone(seen: Seen, sync: bool) -> None:
    assert seen.last("log") is None
    seen.note("log", 0, digest(0), sync=sync)
    seen.note("log", 7, digest(7), sync=sync)
    assert seen.last("log") == Seen(seen.folder).last("log") == Head(7, digest(7))
    assert seen.last("f_other") is None
    assert stat.S_IMODE((seen.folder / "log").stat().st_mode) == 0o600
    assert stat.S_IMODE(seen.folder.stat().st_mode) == 0o700
    assert (seen.folder / "log").read_text() == f"ipse-seen-v1 {7:019} {'07' * 32}\n"


def test_who_is_late_takes_nothing_back(seen: Seen) -> None:
    seen.note("log", 7, digest(7), sync=True)
    seen.note("log", 6, digest(6), sync=True)
    seen.note("log", 7, digest(8), sync=True)
    assert seen.last("log") == Head(7, digest(7))


def test_a_store_that_has_what_was_seen_or_more_passes(seen: Seen) -> None:
    seen.check("log", 0, digest(0))
    seen.note("log", 7, digest(7), sync=True)
    seen.check("log", 7, digest(7))
    seen.check("log", 9, digest(9))
    seen.check("log", 9, digest(9), digest)


def test_a_store_that_has_less_or_something_else_is_told(seen: Seen) -> None:
    seen.note("log", 7, digest(7), sync=True)
    with pytest.raises(StoreRolledBack, match="older copy"):
        seen.check("log", 6, digest(6))
    with pytest.raises(StoreRolledBack, match="another copy"):
        seen.check("log", 7, digest(8))
    with pytest.raises(StoreRolledBack, match="another copy") as caught:
        seen.check("log", 9, digest(9), lambda seq: digest(seq + 1))
    assert "newest copy" in caught.value.hint


@pytest.mark.parametrize("left", [b"", bytes(98)])
def test_what_a_power_cut_leaves_of_a_file_that_was_not_synced_is_nothing_seen(seen: Seen, left: bytes) -> None:
    seen.folder.mkdir()
    (seen.folder / "log").write_bytes(left)
    assert seen.last("log") is None
    seen.note("log", 3, digest(3), sync=True)
    assert seen.last("log") == Head(3, digest(3))


@given(st.integers(0, 97), st.integers(0, 7))
def test_no_flipped_bit_makes_it_forget(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    seen = Seen(tmp_path_factory.mktemp("flipped") / "seen")
    seen.note("log", 7, digest(7), sync=False)
    path = seen.folder / "log"
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    try:
        last = seen.last("log")
    except StoreDamaged:
        with pytest.raises(StoreDamaged):
            seen.note("log", 8, digest(8), sync=False)
    else:  # another number or digest in the right form: told when it is compared
        assert last is not None
        assert last != Head(7, digest(7))


def test_a_folder_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("")
    seen = Seen(tmp_path / "seen")
    with pytest.raises(StoreError, match="cannot be written"):
        seen.note("log", 1, digest(1), sync=True)
    with pytest.raises(StoreError, match="cannot be read"):
        seen.last("log")


@pytest.mark.parametrize("name", ["", ".", "..", "../log", "a/b", "Log", "x" * 81, "ä"])
def test_no_name_leads_out_of_the_folder(seen: Seen, name: str) -> None:
    with pytest.raises(InputError):
        seen.last(name)
    with pytest.raises(InputError):
        seen.note(name, 1, digest(1), sync=False)


def test_what_is_no_head_is_not_noted(seen: Seen) -> None:
    for seq, value in ((-1, digest(1)), (10**19, digest(1)), (1, b"short")):
        with pytest.raises(InputError):
            seen.note("log", seq, value, sync=False)
    assert not seen.folder.exists()


def test_of_many_that_note_at_once_the_newest_stays(seen: Seen) -> None:
    numbers = [*range(1, 200)]

    def work(part: list[int]) -> None:
        for number in part:
            seen.note("log", number, digest(number), sync=False)

    parts = (numbers, numbers[::-1], numbers[::2], numbers[1::2])
    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.last("log") == Head(199, digest(199))


def test_what_is_forgotten_is_gone_and_can_be_forgotten_again(seen: Seen) -> None:
    seen.forget("f_one")
    seen.note("f_one", 1, digest(1), sync=True)
    seen.note("f_other", 2, digest(2), sync=True)
    for _ in range(2):
        seen.forget("f_one")
        assert seen.last("f_one") is None
    assert [path.name for path in seen.folder.iterdir()] == ["f_other"]
    (seen.folder / "f_one").mkdir()
    with pytest.raises(StoreError, match="cannot be removed"):
        seen.forget("f_one")
    with pytest.raises(InputError):
        seen.forget("../ipse.db")
