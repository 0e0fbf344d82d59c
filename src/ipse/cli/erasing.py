# SPDX-License-Identifier: Apache-2.0
"""``ipse fork erase``: destroy a fork, and say what remains and what was not reached."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ipse.cli.opening import ID_PREFIX, existing_fork_of
from ipse.cli.screen import Screen, printable
from ipse.cli.settings import Settings, store_options
from ipse.cli.told import readable_bytes, when
from ipse.errors import InputError

if TYPE_CHECKING:
    from ipse.forks.erase import Erased
    from ipse.forks.home import ForkInfo
    from ipse.store.erasure import ErasedFork
    from ipse.store.store import Store


@click.command(
    "erase", epilog="\b\nExamples:\n  ipse fork erase --fork ada\n  ipse fork erase --fork ada --yes --json\n"
)
@click.option("--fork", "fork", metavar="OWNER|ID", required=True, help="Whose fork.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
def erase(settings: Settings, fork: str, yes: bool) -> None:
    """Destroy a fork: its data keys, then every record and snapshot, and its owner's name. There is no way back.

    Needs no key, no model and no torch; other forks are untouched. Only the digests of its records remain, so that
    heads and proofs of before still verify. An owner's name means the newest fork of that owner. Killed or failed, the
    same command finishes it.

    What is not in the data folder is not reached: backups, exports, other machines. Nor are blocks that the file system
    or a flash disk has put aside.
    """
    from ipse.forks.erase import erase as erase_fork
    from ipse.forks.erase import finish_erasures
    from ipse.forks.home import now_ms
    from ipse.store.store import FILE_NAME, Store

    screen = Screen(as_json=settings.as_json)
    if not (settings.data / FILE_NAME).exists():
        raise InputError(f"There are no forks in {settings.data}.", "Give --data DIR.")
    with Store.open(settings.data, create=False) as store:
        done = finish_erasures(store)
        before = _erased_before(store, fork)
        # After a run that was killed, a name means an older fork of that owner; then only an id chooses another fork.
        if not before and (not done or fork.startswith(ID_PREFIX)):
            info = existing_fork_of(store, fork)
            if not yes:
                _confirm(info)
            done.append(erase_fork(store, info.fork_id, now_ms()))
        done = done or before
    _tell(screen, done)


def erased_json(fork: ErasedFork) -> dict[str, Any]:
    """What remains of an erased fork, for programs."""
    return {
        "fork": fork.fork_id,
        "digests": fork.head.seq,
        "created_ms": fork.created_ms,
        "erased_ms": fork.erased_ms,
        "finished": fork.unfinished is None,
    }


def _erased_before(store: Store, fork_id: str) -> list[Erased]:
    """The fork of this id, if it was erased by an earlier run; nothing for the name of an owner."""
    from ipse.forks.erase import Erased
    from ipse.store.erasure import Erasure

    found = [each for each in Erasure(store).erased() if each.fork_id == fork_id]
    return [Erased(each.fork_id, None, each.head.seq, each.erased_ms) for each in found]


def _confirm(info: ForkInfo) -> None:
    """Pass if the person at the terminal types the owner's name.

    Raises:
        InputError: they type something else, or there is no terminal.
    """
    if not sys.stdin.isatty():
        raise InputError(f"There is no terminal to ask whether to erase {info.fork_id}.", "Say so with --yes.")
    what = f"{info.records} records of {printable(info.owner)}, fork {info.fork_id}, will be destroyed for good."
    typed = click.prompt(f"{what}\nType the owner's name to erase it", err=True)
    if typed != info.owner:
        raise InputError(
            "That is not the owner's name, so nothing was erased.", "Type it as `ipse fork list` shows it."
        )


def _tell(screen: Screen, done: list[Erased]) -> None:
    from ipse.forks.erase import NOT_REACHED

    table = Table.grid(padding=(0, 2))
    for each in done:
        gone = each.destroyed
        table.add_row("fork", each.fork_id)
        if gone is None:
            table.add_row("destroyed", f"before; begun {when(each.erased_ms)}")
        else:
            table.add_row("destroyed", "its data keys and its owner's name")
            size = readable_bytes(gone.bytes)
            table.add_row("destroyed", f"{gone.records} records and {gone.snapshots} snapshots, {size}")
        table.add_row("kept", f"{each.digests} digests of 32 bytes, so that heads and proofs of before still verify")
        if gone is not None and gone.entries:
            table.add_row("kept", f"{gone.entries} entries of public logs, which nobody can tell from noise any more")
    for place in NOT_REACHED:
        table.add_row("NOT reached", place)
    screen.result({"erased": done, "not_reached": list(NOT_REACHED)}, table)
