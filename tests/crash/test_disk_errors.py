# SPDX-License-Identifier: Apache-2.0
"""The disk fails at one system call: the store says so, writes no more, and has lost nothing it had acknowledged.

strace answers the n-th call of one kind with an error, or kills the process there. The slow tests take every call.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import acknowledged, check_history, new_store, start, why_not

LAST = 25
"""Appends of a run; meanwhile the write-ahead log is moved several times, so that faults hit that too, and opening."""


FILES = ("", "ipse.db", "ipse.db-wal", "ipse.db-shm", "ipse.db-journal")


def inject(
    root: Path, fork: str, mode: str, last: int, call: str, fault: str, when: int, files: tuple[str, ...] = FILES
) -> tuple[bytes, bool]:
    """(what the writer said, whether the fault was reached). Only calls on the store's own files are counted.

    They are counted in each thread: the n-th fails in the one that appends, and in the one that moves the write-ahead
    log.
    """
    if why_not():
        pytest.skip(why_not())
    log = root / "trace"
    strace = ["strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
    for name in files:
        strace += ["-P", str(root / "data" / name).rstrip("/")]
    output, complaints = start(root / "data", fork, mode, last, strace).communicate(timeout=120)
    assert b"Traceback" not in complaints, complaints.decode()
    trace = log.read_text()
    return output, "INJECTED" in trace or "SIGKILL" in trace


def run(root: Path, call: str, fault: str, when: int) -> tuple[list[str], bool]:
    """The same with one fork that is there already; checks what is left of it."""
    fork = new_store(root / "data")
    output, reached = inject(root, fork, "suffer", LAST, call, fault, when)
    acks = acknowledged(output)
    height = check_history(root / "data", fork)
    last = acks[-1] if acks else 0
    assert acks == list(range(1, last + 1))
    assert last <= height <= last + 1
    return output.decode().splitlines(), reached


def check_disk_error(call: str, said: list[str], reached: bool) -> None:
    """After EIO: an error of ours, then no more writes, but reading goes on."""
    errors = [line.split() for line in said if line.startswith("error ")]
    if not reached:
        assert errors == []
        return
    for _, seq, kind in errors:
        if kind == "StoreReadOnly":  # SQLite opens for reading what it cannot open for writing
            assert call == "openat"
            continue
        assert kind in ("StoreError", "StorePoisoned")
        if int(seq):
            assert "again StorePoisoned" in said
            assert any(line.startswith("read ") for line in said)


def test_a_failed_sync_poisons_the_store_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    said, reached = run(tmp_path, "fdatasync", "error=EIO", 5)
    assert reached
    assert "again StorePoisoned" in said
    check_disk_error("fdatasync", said, reached)


def test_a_failed_write_poisons_the_store_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    said, reached = run(tmp_path, "pwrite64", "error=EIO", 20)
    assert reached
    assert "again StorePoisoned" in said
    check_disk_error("pwrite64", said, reached)


def test_a_sync_that_fails_while_the_write_ahead_log_is_moved_poisons_the_store_too(tmp_path: Path) -> None:
    fork = new_store(tmp_path / "data")
    output, reached = inject(tmp_path, fork, "suffer", LAST, "fdatasync", "error=EIO", 1, files=("ipse.db",))
    assert reached
    assert b" StorePoisoned\nagain StorePoisoned\nread " in output  # appends sync another file
    acks = acknowledged(output)
    assert acks
    assert acks[-1] == check_history(tmp_path / "data", fork)


def test_no_space_for_one_write_fails_that_append_and_not_the_next(tmp_path: Path) -> None:
    said, reached = run(tmp_path, "pwrite64", "error=ENOSPC", 20)
    assert reached
    assert any(line.endswith(" StoreFull") for line in said)
    assert "again ok" in said


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64", "ftruncate", "openat"])
def test_a_disk_error_at_any_call_loses_nothing_acknowledged(tmp_path: Path, call: str) -> None:
    when, reached = 0, True
    while reached and when < 400:
        when += 1 if when < 60 or call == "fdatasync" else 7
        said, reached = run(tmp_path / str(when), call, "error=EIO", when)
        check_disk_error(call, said, reached)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_kill_at_any_call_loses_nothing_acknowledged(tmp_path: Path, call: str) -> None:
    when, reached = 0, True
    while reached and when < 400:
        when += 1 if call == "fdatasync" else 3
        _, reached = run(tmp_path / str(when), call, "signal=KILL", when)
