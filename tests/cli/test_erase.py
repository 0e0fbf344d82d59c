# SPDX-License-Identifier: Apache-2.0
"""What ``ipse fork erase`` asks at a terminal, and what it does after a run that was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipse.forks.erase import erased_fork
from ipse.forks.home import Home
from ipse.store.erasure import Erasure
from ipse.store.store import Store
from ipse.wire.ids import ForkId
from tests.cli.inprocess import Ipse
from tests.cli.sessions import clean_environment
from tests.forks.tiny import LAYOUT, append, tiny_fork, turn


def fork_of(data: Path, owner: str, *, another: bool = False) -> ForkId:
    """A fork with one record."""
    with Home.open(data) as home:
        fork = home.create_fork(owner, LAYOUT, "tiny") if another else tiny_fork(home, owner)
        append(fork, turn("Ahoy!"))
        return fork.row.fork_id


def owners(data: Path) -> list[str]:
    with Store.open(data, create=False) as store:
        return [row.owner for row in store.forks()]


def typed(data: Path, answer: str, *words: str) -> tuple[int, str]:
    """Erase ada's fork at a terminal where this is typed; (exit code, what it says)."""
    if os.name != "posix":
        pytest.skip("there are no pseudo-terminals here")
    import pty

    outer, inner = pty.openpty()
    os.write(outer, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "ipse.cli", "fork", "erase", "--fork", "ada", "--data", str(data), *words],
        stdin=inner,
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    os.close(inner)
    os.close(outer)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_a_person_has_to_type_the_owners_name(tmp_path: Path) -> None:
    fork_id = fork_of(tmp_path, "ada")
    for wrong in ("yes", "Ada", fork_id):
        code, said = typed(tmp_path, wrong)
        assert code == 2
        assert f"1 records of ada, fork {fork_id}" in said
        assert "nothing was erased" in said
        assert owners(tmp_path) == ["ada"]
    code, said = typed(tmp_path, "ada", "--json")
    assert code == 0
    assert json.loads(said.splitlines()[0])["erased"][0]["fork_id"] == fork_id
    assert owners(tmp_path) == []


def test_erasing_needs_no_key(ipse: Ipse, tmp_path: Path) -> None:
    fork_of(tmp_path, "ada")
    (tmp_path / "root.key").unlink()
    assert ipse("fork", "erase", "--fork", "ada", "--yes", "--data", tmp_path).code == 0
    assert owners(tmp_path) == []


def test_of_two_forks_of_an_owner_the_newest_goes_and_an_id_names_either(ipse: Ipse, tmp_path: Path) -> None:
    first, second = fork_of(tmp_path, "ada"), fork_of(tmp_path, "ada", another=True)
    done = json.loads(ipse("fork", "erase", "--fork", "ada", "--yes", "--json", "--data", tmp_path).out)
    assert [each["fork_id"] for each in done["erased"]] == [second]
    done = json.loads(ipse("fork", "erase", "--fork", first, "--yes", "--json", "--data", tmp_path).out)
    assert [each["fork_id"] for each in done["erased"]] == [first]


def test_the_same_command_finishes_one_that_was_killed_and_touches_no_older_fork(ipse: Ipse, tmp_path: Path) -> None:
    first, second = fork_of(tmp_path, "ada"), fork_of(tmp_path, "ada", another=True)
    with Store.open(tmp_path) as store:
        Erasure(store).begin(second, lambda data: True, 1)
        assert erased_fork(store, second).unfinished
    done = json.loads(ipse("fork", "erase", "--fork", "ada", "--yes", "--json", "--data", tmp_path).out)
    assert [(each["fork_id"], each["destroyed"]["records"]) for each in done["erased"]] == [(second, 1)]
    with Store.open(tmp_path) as store:
        assert [row.fork_id for row in store.forks()] == [first]
        assert erased_fork(store, second).unfinished is None


def test_an_id_that_was_erased_before_is_told_so_and_takes_nothing_else_along(ipse: Ipse, tmp_path: Path) -> None:
    first, second = fork_of(tmp_path, "ada"), fork_of(tmp_path, "ada", another=True)
    for destroyed in (1, None):
        done = ipse("fork", "erase", "--fork", second, "--yes", "--json", "--data", tmp_path)
        assert done.code == 0
        (erased,) = json.loads(done.out)["erased"]
        assert erased["fork_id"] == second
        assert (erased["destroyed"] or {}).get("records") == destroyed
    assert "destroyed    before; begun" in ipse("fork", "erase", "--fork", second, "--data", tmp_path).out
    with Store.open(tmp_path) as store:
        assert [row.fork_id for row in store.forks()] == [first]


def test_an_erasure_that_cannot_be_finished_is_one_error_with_the_command_that_does(ipse: Ipse, tmp_path: Path) -> None:
    fork_id = fork_of(tmp_path, "ada")
    (tmp_path / "seen" / fork_id).unlink()
    (tmp_path / "seen" / fork_id).mkdir()  # a folder where a file should be: it cannot be unlinked
    done = ipse("fork", "erase", "--fork", "ada", "--yes", "--data", tmp_path)
    assert done.code == 1
    assert len(done.errors) == 1
    assert f"Fork {fork_id} opens no more, but is not erased yet." in done.errors[0]
    assert f"ipse fork erase --fork {fork_id}" in done.err[-1]
    assert "being erased" in ipse("fork", "list", "--all", "--data", tmp_path).out
    (tmp_path / "seen" / fork_id).rmdir()
    assert ipse("fork", "erase", "--fork", fork_id, "--data", tmp_path).code == 0
    assert "being erased" not in ipse("fork", "list", "--all", "--data", tmp_path).out
