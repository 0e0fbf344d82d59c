# SPDX-License-Identifier: Apache-2.0
"""The machine stops, or the disk fails, at one system call of a rotation: nothing is lost, the next run finishes it.

strace kills the process at the n-th call of one kind, or answers it with an error. Calls are those that make a change
durable or visible, of the key files and of the store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ipse.errors import VerificationError, WrongKey
from ipse.forks.home import Home, confirm_settled, key_ring, next_ring
from ipse.forks.rotation import rotate
from ipse.ledger.record import RecordKind
from ipse.store.seen import FOLDER_NAME
from ipse.store.store import FILE_NAME, Store
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey, load_root_key
from ipse.vault.wraps import load_wrap
from tests.crash.harness import REPOSITORY, why_not
from tests.forks.rotated import CHEAP, NEW, OLD, SAID, check_all_there, histories, made, opened_by, texts

CALLS = ("fsync", "fdatasync", "pwrite64", "rename", "linkat,link", "unlink", "mkdir", "rmdir")

ROTATE = """
import sys
from pathlib import Path
from ipse.errors import IpseError
from ipse.forks.rotation import rotate
from tests.forks.rotated import CHEAP, NEW, OLD

try:
    rotate(Path(sys.argv[1]), lambda: OLD, lambda: NEW, cost=CHEAP)
    print("done")
except IpseError as error:
    print("refused", error.hint)
"""


def broken_off(folder: Path, call: str, fault: str, when: int) -> tuple[str, bool]:
    """Rotate with one fault, check that nothing is lost, finish; (what was said, whether the fault was reached)."""
    if why_not():
        pytest.skip(why_not())
    made(folder)
    old = load_root_key(key_ring(folder).key_path)
    key_ring(folder).set_passphrase(old, OLD, CHEAP)
    log = folder.with_suffix(".trace")
    inject = ["strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
    done = subprocess.run(
        [*inject, sys.executable, "-c", ROTATE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY))),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert "Traceback" not in done.stderr, done.stderr
    check_nothing_lost(folder, old)
    rotate(folder, lambda: pytest.fail("the key file opens it"), lambda: NEW, cost=CHEAP)
    check_finished(folder, old)
    trace = log.read_text()
    return done.stdout, "INJECTED" in trace or "SIGKILL" in trace


def check_nothing_lost(folder: Path, old: RootKey) -> None:
    """Every fork opens with a root that is in the folder."""
    roots = {load_root_key(ring.key_path).secret for ring in (key_ring(folder), next_ring(folder)) if ring.has_file}
    with Store.open(folder) as store:
        for row in store.forks():
            opened = []
            for secret in roots:
                try:
                    opened.append(texts(opened_by(store, row, RootKey(secret))))
                except VerificationError:
                    continue
            assert SAID[row.owner] in opened
    if next_ring(folder).is_there:
        assert old.secret in roots


def check_finished(folder: Path, old: RootKey) -> None:
    confirm_settled(folder)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(FILE_NAME)}
    assert names == {"root.key", "root.wrap", FOLDER_NAME}
    new = key_ring(folder).open(nobody_to_ask)
    assert new != old
    assert load_wrap(key_ring(folder).wrap_path).open(NEW) == new
    check_all_there(folder, new)
    with Home.open(folder) as home:
        for owner, history in histories(home).items():
            assert texts(history) == SAID[owner]
            kinds = Counter(record.kind for record, _ in history.records())
            assert kinds[RecordKind.ROTATE] in ((1, 2) if SAID[owner] else (0,))  # 2: it was done, and done again
            if SAID[owner]:
                with pytest.raises(WrongKey):
                    texts(opened_by(home.store, history.row, old))


@pytest.mark.parametrize(("call", "when"), [("fsync", 2), ("fdatasync", 3), ("rename", 1), ("rename", 2)])
def test_killed_in_the_middle_the_next_run_finishes_it(tmp_path: Path, call: str, when: int) -> None:
    said, reached = broken_off(tmp_path / "home", call, "signal=KILL", when)
    assert reached
    assert said == ""


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("faults", [("signal=KILL",), ("error=EIO", "error=ENOSPC")], ids=["killed", "failed"])
def test_at_any_call_nothing_is_lost_and_the_next_run_finishes_it(
    tmp_path: Path, call: str, faults: tuple[str, ...]
) -> None:
    when, reached = 0, True
    while reached:
        when += 1
        fault = faults[when % len(faults)]
        said, reached = broken_off(tmp_path / str(when), call, fault, when)
        if not reached:
            assert said == "done\n"
        elif fault != "signal=KILL":
            assert said.startswith(("refused ", "done"))
    assert when >= 2
