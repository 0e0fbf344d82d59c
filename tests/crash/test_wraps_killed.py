# SPDX-License-Identifier: Apache-2.0
"""The machine stops, or the disk fails, at one system call of a change to the wraps: the root still opens.

strace kills the process at the n-th call of one kind, or answers it with an error. Calls are those that make a change
durable or visible: fsync, rename, link, unlink.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipse.errors import WrongKey
from ipse.vault.keyring import KeyRing, nobody_to_ask
from ipse.vault.keys import RootKey, load_root_key
from ipse.vault.wraps import Cost, load_wrap
from tests.crash.harness import REPOSITORY, why_not

CALLS = ("fsync", "rename", "linkat,link", "unlink")
ROOT = RootKey(bytes(range(32)))
CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
OLD, NEW = "correct horse battery", "another one entirely"

CHANGES = f"""
import sys
from pathlib import Path
from ipse.errors import VaultError
from ipse.vault.keyring import KeyRing
from ipse.vault.keys import RootKey
from ipse.vault.wraps import Cost

keys = KeyRing(Path(sys.argv[1]) / "root.key", Path(sys.argv[1]) / "root.wrap")
root, cheap = RootKey(bytes(range(32))), Cost(8, 1, 1)
try:
    keys.set_passphrase(root, {OLD!r}, cheap)
    keys.set_passphrase(root, {NEW!r}, cheap)
    keys.remove_file(lambda: {NEW!r})
    keys.add_file(root)
    keys.remove_passphrase()
    print("done")
except VaultError as error:
    print("refused", error.hint)
"""


def change(folder: Path, call: str, fault: str, when: int) -> tuple[str, bool]:
    """Run all changes with one fault; (what was said, whether it was reached)."""
    if why_not():
        pytest.skip(why_not())
    keys = KeyRing(folder / "root.key", folder / "root.wrap")
    keys.add_file(ROOT)
    log = folder.with_suffix(".trace")
    inject = ["strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
    done = subprocess.run(
        [*inject, sys.executable, "-c", CHANGES, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    check_root_opens(keys)
    trace = log.read_text()
    return done.stdout, "INJECTED" in trace or "SIGKILL" in trace


def check_root_opens(keys: KeyRing) -> None:
    """Every wrap that is there is whole and of the root, and there is one."""
    assert keys.has_file or keys.has_passphrase
    if keys.has_file:
        assert load_root_key(keys.key_path) == ROOT
        assert keys.open(nobody_to_ask) == ROOT
    if keys.has_passphrase:
        opened = []
        for words in (OLD, NEW):
            try:
                opened.append(load_wrap(keys.wrap_path).open(words))
            except WrongKey:
                continue
        assert opened == [ROOT]


@pytest.mark.parametrize("when", [1, 3, 6])
def test_killed_at_a_sync_the_root_still_opens(tmp_path: Path, when: int) -> None:
    said, reached = change(tmp_path / "keys", "fsync", "signal=KILL", when)
    assert reached
    assert said == ""


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_at_any_call_the_root_still_opens(tmp_path: Path, call: str, fault: str) -> None:
    when, reached = 0, True
    while reached:
        when += 1
        said, reached = change(tmp_path / str(when), call, fault, when)
        if not reached:
            assert said == "done\n"
        elif fault == "error=EIO":
            assert said.startswith(("refused Check", "refused Choose"))
    assert when >= 2
