# SPDX-License-Identifier: Apache-2.0
"""An erasure that is killed, or whose disk fails, at any call: the fork is whole or gone for good, and then finished.

strace kills the process at the n-th call of one kind, or answers it with an error. Afterwards the fork either opens and
is whole, or opens no more; and one more run leaves nothing of it in any file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipse.errors import StoreFull
from ipse.forks.erase import erase, erased_fork
from ipse.forks.home import Home
from ipse.forks.verify import verify_fork
from ipse.store.erasure import Erasure
from ipse.store.seen import FOLDER_NAME, Seen
from ipse.store.store import FILE_NAME, Store
from ipse.wire.ids import ForkId
from tests.crash.eraser import WHEN
from tests.crash.harness import REPOSITORY, mounted, why_not
from tests.crash.test_disk_full import fill_disk
from tests.forks.remains import Traces, traces
from tests.forks.tiny import LAYOUT, append, tiny_fork, turn

RECORDS = 300
"""More than are destroyed in one transaction."""

CALLS = ("pwrite64", "fdatasync", "ftruncate", "unlink", "fsync")


@dataclass(frozen=True)
class Made:
    """A folder with a fork that is to go and one that is to stay."""

    folder: Path
    fork: ForkId
    other: ForkId
    traces: Traces
    digests: list[bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made") / "home"
    with Home.open(folder) as home:
        goes, stays = tiny_fork(home, "Ada King, Countess of Lovelace"), tiny_fork(home, "bob")
        for count in range(RECORDS):
            append(goes, turn(f"turn {count}"))
            if count % 10 == 0:
                append(stays, turn(f"turn {count}"))
        fork, other = goes.row.fork_id, stays.row.fork_id
        Seen(folder / FOLDER_NAME).note(fork, 1, bytes(32), sync=False)
        return Made(folder, fork, other, traces(home, fork, others=[other]), home.store.digests(fork))


def run(made: Made, root: Path, call: str, fault: str, when: int) -> tuple[str, bool]:
    """Erase with one fault, check what it left, finish; (what was said, whether the fault was reached)."""
    if why_not():
        pytest.skip(why_not())
    shutil.copytree(made.folder, root)
    log = root.with_suffix(".trace")
    inject = ["strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
    for name in ("", FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FOLDER_NAME, f"{FOLDER_NAME}/{made.fork}"):
        inject += ["-P", str(root / name).rstrip("/")]
    done = subprocess.run(
        [*inject, sys.executable, "-m", "tests.crash.eraser", str(root), made.fork],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
    )
    assert "Traceback" not in done.stderr, done.stderr
    check_left(made, root)
    trace = log.read_text()
    return done.stdout.strip(), "INJECTED" in trace or "SIGKILL" in trace


def check_left(made: Made, root: Path) -> None:
    """Whole or gone, then finished: by opening the folder if it was begun, else by erasing once more."""
    with Store.open(root, create=False) as store:
        begun = not [row for row in store.forks() if row.fork_id == made.fork]
    with Home.open(root, create=False) as home:
        if not begun:
            assert verify_fork(home.store, home.open_fork(made.fork, LAYOUT)).records == RECORDS
            erase(home.store, made.fork, WHEN)
        check_gone(made, home)


def check_gone(made: Made, home: Home) -> None:
    assert made.traces.in_folder(home.root) == set()
    assert not (home.root / FOLDER_NAME / made.fork).exists()
    assert erased_fork(home.store, made.fork).unfinished is None
    assert Erasure(home.store).digests(made.fork) == made.digests
    assert verify_fork(home.store, home.open_fork(made.other, LAYOUT)).records == RECORDS // 10
    home.store.check_file()


def test_nothing_of_it_is_left_when_nothing_fails(made: Made, tmp_path: Path) -> None:
    assert made.traces.in_folder(made.folder)
    assert run(made, tmp_path / "home", "fdatasync", "signal=KILL", 9999) == ("erased", False)


@pytest.mark.parametrize("when", [1, 4, 7])
def test_killed_at_a_sync_it_is_finished_by_the_next_start(made: Made, tmp_path: Path, when: int) -> None:
    assert run(made, tmp_path / "home", "fdatasync", "signal=KILL", when) == ("", True)


@pytest.mark.parametrize("when", [3, 60])
def test_a_failed_write_is_an_error_and_it_is_finished_by_the_next_start(made: Made, tmp_path: Path, when: int) -> None:
    said, reached = run(made, tmp_path / "home", "pwrite64", "error=EIO", when)
    assert reached
    assert said in ("error StoreError", "error StorePoisoned")


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_at_any_call_it_is_whole_or_gone_and_can_be_finished(made: Made, tmp_path: Path, call: str, fault: str) -> None:
    when, reached, calls = 0, True, 0
    while reached:
        when += 1 if call != "pwrite64" or when < 40 else 9
        said, reached = run(made, tmp_path / str(when), call, fault, when)
        calls += reached
        if not reached:
            assert said == "erased"
        elif fault == "error=EIO":
            assert said == "erased" or said.startswith("error Store"), said
        shutil.rmtree(tmp_path / str(when))
    assert calls


def test_a_full_disk_says_what_is_left_and_room_lets_it_finish(made: Made, tmp_path: Path) -> None:
    said = {spare: erased_with_room(made, tmp_path / str(spare), spare) for spare in range(0, 800_001, 80_000)}
    assert "Nothing was erased." in said[0]
    assert any("but is not erased yet" in each for each in said.values()), said
    assert said[800_000] == ""


def erased_with_room(made: Made, root: Path, spare: int) -> str:
    """Erase where so many bytes are free, then with room; returns what the first said."""
    with mounted(root, "-t", "tmpfs", "-o", "size=16m", "tmpfs") as disk:
        shutil.copytree(made.folder, disk / "home")
        said = ""
        with Store.open(disk / "home", create=False) as store:
            (disk / "spare").write_bytes(bytes(spare))
            ballast = fill_disk(disk)
            (disk / "spare").unlink()
            try:
                erase(store, made.fork, WHEN)
            except StoreFull as error:
                said = error.message
            ballast.unlink()
            erase(store, made.fork, WHEN)
        with Home.open(disk / "home", create=False) as home:
            check_gone(made, home)
        return said
