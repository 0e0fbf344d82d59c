# SPDX-License-Identifier: Apache-2.0
"""A place that cannot be written is said to be one, at opening, by its own error."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ipse.errors import StoreReadOnly
from ipse.store.store import Store
from tests.crash.harness import mounted, new_store

NOBODY = 65534


def is_refused(root: Path) -> bool:
    try:
        Store.open(root).close()
    except StoreReadOnly:
        return True
    return False


def as_nobody(question: Callable[[], bool]) -> bool:
    """Ask it in a process without root's powers."""
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os._exit(0 if question() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_read_only_file_system_is_a_store_read_only(tmp_path: Path) -> None:
    new_store(tmp_path / "real" / "data")
    (tmp_path / "real" / "empty").mkdir()
    with mounted(tmp_path / "seen", "--bind", "-o", "ro", str(tmp_path / "real")) as seen:
        if os.access(seen / "empty", os.W_OK):
            pytest.skip("bind mounts cannot be made read-only here")
        assert is_refused(seen / "data")
        assert is_refused(seen / "empty")
        assert is_refused(seen / "missing")
        assert sorted(p.name for p in (seen / "data").iterdir()) == ["ipse.db"]


@pytest.mark.parametrize("mode", [0o500, 0o700])
def test_a_folder_or_file_of_somebody_else_is_a_store_read_only(mode: int) -> None:
    root = Path(tempfile.mkdtemp())  # not in pytest's folder, which nobody else may enter
    try:
        new_store(root)
        (root / "ipse.db").chmod(0o444)
        owner = NOBODY if os.geteuid() == 0 else os.geteuid()
        for path in (root, root / "ipse.db"):
            os.chown(path, owner, -1)
        root.chmod(mode)
        assert as_nobody(lambda: is_refused(root))
        assert as_nobody(lambda: is_refused(root / "sub")) == (mode == 0o500)
    finally:
        root.chmod(0o700)
        shutil.rmtree(root)
