# SPDX-License-Identifier: Apache-2.0
"""A folder whose root is to be rotated, and what must be in it afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ipse.forks.home import Home
from ipse.forks.members import let_in
from ipse.forks.openfork import SealedHistory
from ipse.ledger.record import RecordKind
from ipse.store.rows import ForkRow
from ipse.store.store import Store
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, check_value, fork_key
from ipse.vault.wraps import Cost
from tests.forks.tiny import Life, append, tiny_fork, turn, unsigned

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
OLD, NEW = "correct horse battery", "another one entirely"
SAID = {"ada": ["a", "b", "c"], "bert": ["old", "older"], "cleo": []}
"""What was said to each fork. Those to bert are of before signatures, and cleo's fork has no record."""


def made(folder: Path) -> Path:
    """The folder, with a key file; ada has let in a device."""
    with Home.open(folder) as home:
        life = Life(home)
        life.learn("a", "b")
        let_in(home.sealed(life.fork.row.fork_id), Identity(RootKey(b"p" * 32)).public, "phone", 1)
        append(tiny_fork(home), turn("c"))
        life.fork = tiny_fork(home, "bert")
        unsigned(life, *SAID["bert"])
        tiny_fork(home, "cleo")
    return folder


def opened_by(store: Store, row: ForkRow, root: RootKey) -> SealedHistory:
    """A fork, opened with another root than its row says."""
    key = fork_key(root, row.fork_id)
    return SealedHistory(store, replace(row, key_check=check_value(key)), Identity(root), key)


def histories(home: Home) -> dict[str, SealedHistory]:
    return {info.owner: home.sealed(info.fork_id) for info in home.forks()}


def texts(history: SealedHistory) -> list[str]:
    """What was said to it."""
    return [record.input_text for record, _ in history.records() if record.kind == RecordKind.INTERACTION]


def check_all_there(folder: Path, root: RootKey) -> None:
    """Every fork opens with this root, with everything that was said to it."""
    with Store.open(folder) as store:
        said = {
            row.owner: texts(SealedHistory(store, row, Identity(root), fork_key(root, row.fork_id)))
            for row in store.forks()
        }
    assert {owner: words[: len(SAID[owner])] for owner, words in said.items()} == SAID
