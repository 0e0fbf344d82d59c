# SPDX-License-Identifier: Apache-2.0
"""The ways to a root: any one opens it, and the last one is never lost."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import IpseError, VaultError, WrongKey
from ipse.vault.keyring import KeyRing, nobody_to_ask
from ipse.vault.keys import RootKey, create_root_key, load_root_key, write_root_key
from ipse.vault.words import root_of, words_of
from ipse.vault.wraps import Cost, load_wrap
from tests.crash.harness import mounted
from tests.crash.test_disk_full import fill_disk

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
ROOT = RootKey(bytes(range(32)))
OTHER = RootKey(bytes(32))
WORDS, NEW = "correct horse battery", "another one entirely"


def ring(folder: Path) -> KeyRing:
    return KeyRing(folder / "root.key", folder / "root.wrap")


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """A key file and a passphrase."""
    made = ring(tmp_path)
    made.add_file(ROOT)
    made.set_passphrase(ROOT, WORDS, CHEAP)
    return made


def contents(keys: KeyRing) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in keys.key_path.parent.iterdir()}


def test_any_one_of_file_passphrase_and_words_opens_the_root(keys: KeyRing) -> None:
    assert keys.open(nobody_to_ask) == ROOT  # the file: nobody is asked
    keys.remove_file(lambda: WORDS)
    assert keys.open(lambda: WORDS) == ROOT
    keys.wrap_path.unlink()
    with pytest.raises(VaultError, match="missing"):
        keys.open(lambda: WORDS)
    assert keys.add_file(root_of(" ".join(words_of(ROOT))))
    assert keys.open(nobody_to_ask) == ROOT


def test_both_files_are_for_their_owner_only(keys: KeyRing) -> None:
    for path in (keys.key_path, keys.wrap_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(contents(keys)) == ["root.key", "root.wrap"]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["set", "change", "drop", "add", "remove"]), max_size=12))
def test_whatever_is_done_to_the_wraps_the_root_opens_and_is_the_same(steps: list[str]) -> None:
    """The law: no order of additions, changes and removals loses or changes the root."""
    with tempfile.TemporaryDirectory() as folder:
        keys = ring(Path(folder))
        keys.add_file(ROOT)
        passphrase = WORDS
        for step in steps:
            try:
                if step in ("set", "change"):
                    passphrase = WORDS if step == "set" else NEW
                    keys.set_passphrase(keys.open(partial(str, passphrase)), passphrase, CHEAP)
                elif step == "drop":
                    keys.remove_passphrase()
                elif step == "add":
                    keys.add_file(keys.open(partial(str, passphrase)))
                else:
                    keys.remove_file(partial(str, passphrase))
            except WrongKey:  # it had a file, or the other passphrase
                passphrase = NEW if passphrase == WORDS else WORDS
            except VaultError:
                pass  # the last way is not removed
            assert keys.has_file or keys.has_passphrase
            if keys.has_file:
                assert load_root_key(keys.key_path) == ROOT
            if keys.has_passphrase:
                assert load_wrap(keys.wrap_path).open(passphrase) == ROOT


def test_after_a_change_only_the_new_passphrase_opens(keys: KeyRing) -> None:
    keys.set_passphrase(ROOT, NEW, CHEAP)
    keys.remove_file(lambda: NEW)
    assert keys.open(lambda: NEW) == ROOT
    with pytest.raises(WrongKey):
        keys.open(lambda: WORDS)


def test_the_key_file_goes_only_after_the_passphrase_has_opened_the_same_root(keys: KeyRing) -> None:
    before = contents(keys)
    with pytest.raises(WrongKey):
        keys.remove_file(lambda: NEW)
    assert contents(keys) == before
    keys.wrap_path.write_bytes(before["root.wrap"][:-1])
    with pytest.raises(VaultError, match="damaged"):
        keys.remove_file(lambda: WORDS)
    keys.wrap_path.unlink()
    with pytest.raises(VaultError, match="only way"):
        keys.remove_file(lambda: WORDS)
    assert contents(keys) == {"root.key": before["root.key"]}


def test_the_passphrase_goes_only_while_the_key_file_opens(keys: KeyRing) -> None:
    keys.key_path.chmod(0o644)
    with pytest.raises(VaultError, match="Other users"):
        keys.remove_passphrase()
    keys.key_path.unlink()
    with pytest.raises(VaultError, match="only way"):
        keys.remove_passphrase()
    assert keys.open(lambda: WORDS) == ROOT


def test_removing_the_key_file_removes_what_a_killed_writer_left_of_it(keys: KeyRing) -> None:
    left = keys.key_path.with_name(".root.key.0123456789abcdef")
    left.write_bytes(keys.key_path.read_bytes())
    (keys.key_path.parent / ".root.key.mine").write_text("not ours")
    keys.remove_file(lambda: WORDS)
    assert sorted(contents(keys)) == [".root.key.mine", "root.wrap"]


CHANGES: list[Callable[[KeyRing], object]] = [
    lambda keys: keys.open(lambda: WORDS),
    lambda keys: keys.set_passphrase(ROOT, NEW, CHEAP),
    lambda keys: keys.add_file(ROOT),
    lambda keys: keys.remove_file(lambda: WORDS),
    lambda keys: keys.remove_passphrase(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_and_a_wrap_of_two_roots_are_told_and_left_as_they_are(
    tmp_path: Path, change: Callable[[KeyRing], object]
) -> None:
    keys, apart = ring(tmp_path / "here"), ring(tmp_path / "apart")
    apart.add_file(OTHER)
    apart.set_passphrase(OTHER, WORDS, CHEAP)
    keys.add_file(ROOT)
    keys.wrap_path.write_bytes(apart.wrap_path.read_bytes())
    before = contents(keys)
    with pytest.raises(
        VaultError, match=r"is of root [0-9a-f]{8}, and the key at hand is of root [0-9a-f]{8}"
    ) as caught:
        change(keys)
    assert caught.value.hint
    assert contents(keys) == before


def test_another_root_is_never_written_over(keys: KeyRing) -> None:
    before = contents(keys)
    for attempt in (lambda: keys.add_file(OTHER), lambda: keys.set_passphrase(OTHER, NEW, CHEAP)):
        with pytest.raises(VaultError, match="is of root"):
            attempt()
    keys.wrap_path.unlink()
    for attempt in (lambda: keys.add_file(OTHER), lambda: keys.set_passphrase(OTHER, NEW, CHEAP)):
        with pytest.raises(VaultError, match="is of root"):
            attempt()
    assert contents(keys) == {"root.key": before["root.key"]}
    assert not keys.add_file(ROOT)  # the same root: nothing to do


def test_a_damaged_wrap_stops_neither_the_key_file_nor_the_words_and_is_not_written_over(
    keys: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    keys.wrap_path.write_bytes(keys.wrap_path.read_bytes()[:-5])
    before = contents(keys)
    with caplog.at_level(logging.WARNING):
        assert keys.open(nobody_to_ask) == ROOT
    assert "damaged" in caplog.text
    with pytest.raises(VaultError, match="damaged"):
        keys.set_passphrase(ROOT, NEW, CHEAP)
    keys.key_path.unlink()
    assert keys.add_file(ROOT)
    assert contents(keys) == before


def test_a_damaged_key_file_is_not_passed_over(keys: KeyRing) -> None:
    keys.key_path.write_text("x")
    with pytest.raises(VaultError, match="does not hold exactly one key"):
        keys.open(lambda: WORDS)


def test_nothing_logged_or_said_shows_a_secret(keys: KeyRing, caplog: pytest.LogCaptureFixture) -> None:
    said = [repr(keys), repr(load_wrap(keys.wrap_path).cost)]
    with caplog.at_level(logging.DEBUG):
        for change in CHANGES:
            try:
                change(keys)
            except IpseError as error:
                said += [error.message, error.hint]
    for text in (*said, caplog.text):
        assert WORDS not in text
        assert NEW not in text
        assert ROOT.secret.hex()[:8] not in text


def test_on_a_full_disk_the_old_passphrase_stays(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        keys = ring(disk / "keys")
        keys.add_file(ROOT)
        keys.set_passphrase(ROOT, WORDS, CHEAP)
        before = contents(keys)
        ballast = fill_disk(disk)
        with pytest.raises(VaultError, match="cannot be written"):
            keys.set_passphrase(ROOT, NEW, CHEAP)
        assert contents(keys) == before
        keys.remove_file(lambda: WORDS)
        fill_disk(disk)
        with pytest.raises(VaultError, match="cannot be written"):
            keys.add_file(ROOT)
        assert contents(keys) == {"root.wrap": before["root.wrap"]}
        ballast.unlink()
        keys.set_passphrase(ROOT, NEW, CHEAP)
        assert keys.open(lambda: NEW) == ROOT


def test_in_a_folder_that_cannot_be_written_everything_stays_and_opens(tmp_path: Path) -> None:
    real = ring(tmp_path / "real")
    real.add_file(ROOT)
    real.set_passphrase(ROOT, WORDS, CHEAP)
    before = contents(real)
    with mounted(tmp_path / "seen", "--bind", "-o", "ro", str(tmp_path / "real")) as seen:
        if os.access(seen, os.W_OK):
            pytest.skip("bind mounts cannot be made read-only here")
        keys = ring(seen)
        assert keys.open(nobody_to_ask) == ROOT
        for change in (*CHANGES[1:2], *CHANGES[3:]):
            with pytest.raises(VaultError, match=r"cannot be (written|removed): Read-only"):
                change(keys)
    assert contents(real) == before


def test_of_two_that_remove_one_way_each_one_fails(tmp_path: Path) -> None:
    for turn in range(20):
        keys = ring(tmp_path / str(turn))
        keys.add_file(ROOT)
        keys.set_passphrase(ROOT, WORDS, CHEAP)
        start = threading.Barrier(2)
        failed: list[str] = []

        def attempt(remove: Callable[[], None], start: threading.Barrier = start, failed: list[str] = failed) -> None:
            start.wait()
            try:
                remove()
            except VaultError as error:
                failed.append(error.message)

        removals = (keys.remove_passphrase, lambda keys=keys: keys.remove_file(lambda: WORDS))
        threads = [threading.Thread(target=attempt, args=(remove,)) for remove in removals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == 1
        assert keys.open(lambda: WORDS) == ROOT


def test_killed_while_it_changes_the_passphrase_there_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    keys.add_file(ROOT)
    keys.set_passphrase(ROOT, NEW, CHEAP)
    code = (
        "import sys; from pathlib import Path; from ipse.vault.keyring import KeyRing; "
        "from ipse.vault.keys import RootKey; from ipse.vault.wraps import Cost; folder = Path(sys.argv[1]);"
        "keys = KeyRing(folder / 'root.key', folder / 'root.wrap'); print('ready', flush=True)\n"
        "while True:\n"
        f"    for words in ({WORDS!r}, {NEW!r}): keys.set_passphrase(RootKey(bytes(range(32))), words, Cost(8, 1, 1))"
    )
    for pause in (0.01, 0.03, 0.05, 0.1):
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause)
            process.kill()
        wrap = load_wrap(keys.wrap_path)
        opened = 0
        for words in (WORDS, NEW):
            try:
                assert wrap.open(words) == ROOT
                opened += 1
            except WrongKey:
                pass
        assert opened == 1
    assert keys.open(nobody_to_ask) == ROOT


def test_a_key_file_made_before_there_were_wraps_is_opened(tmp_path: Path) -> None:
    made = create_root_key(tmp_path / "root.key")
    assert ring(tmp_path).open(nobody_to_ask) == made
    with pytest.raises(VaultError, match="already"):
        write_root_key(tmp_path / "root.key", ROOT)
