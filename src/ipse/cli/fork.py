# SPDX-License-Identifier: Apache-2.0
"""``ipse fork``: what forks there are, what they learned, and forgetting one turn."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from ipse.cli.opening import existing_fork, open_base, opened_home, opened_life
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, fork_option, model_options, store_options
from ipse.cli.told import history_table, readable_bytes, when


@click.group(
    "fork",
    epilog="""\b
Examples:
  ipse fork list
  ipse fork show --fork ada
  ipse fork history --limit 5
  ipse fork forget-turn 12
""",
)
def fork_group() -> None:
    """Look at forks, and take back what one learned."""


@fork_group.command("list", epilog="\b\nExample:\n  ipse fork list --json\n")
@store_options
def list_forks(settings: Settings) -> None:
    """Every fork of this data folder. Needs no model and no torch."""
    from ipse.forks.home import ForkInfo
    from ipse.store.store import FILE_NAME

    screen = Screen(as_json=settings.as_json)
    forks: list[ForkInfo] = []
    if (settings.data / FILE_NAME).exists():
        with opened_home(settings, create=False) as home:
            forks = home.forks()
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("owner", overflow="fold")
    table.add_column("fork", min_width=28)
    table.add_column("base", overflow="fold")
    table.add_column("records", justify="right", min_width=7)
    table.add_column("on disk", justify="right", min_width=7)
    table.add_column("made", min_width=10)
    for info in forks:
        size = readable_bytes(info.bytes_on_disk)
        made = when(info.created_ms).partition(" ")[0]
        table.add_row(info.owner, info.fork_id, info.base_name, str(info.records), size, made)
    screen.result({"forks": forks}, table if forks else "No forks yet; 'ipse chat' makes the first.")


@fork_group.command("show", epilog="\b\nExample:\n  ipse fork show --fork ada\n")
@fork_option
@model_options
def show(settings: Settings, fork: str) -> None:
    """One fork: where it stands, and how far each part of it has moved."""
    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        with opened_life(home, base, info.owner) as life:
            state = life.fork.state
            values = state.values()
            norms: dict[str, float] = {}
            for segment in state.layout.segments:
                square = float((values[segment.slice].astype("float64") ** 2).sum())
                norms[segment.kind] = norms.get(segment.kind, 0.0) + square
    facts: dict[str, Any] = {
        "fork": info.fork_id,
        "owner": info.owner,
        "base": info.base_id,
        "records": info.records,
        "height": life.fork.fork_height,
        "created_ms": info.created_ms,
        "numbers": state.layout.size,
        "bytes_of_state": state.z.nbytes,
        "bytes_on_disk": info.bytes_on_disk,
        "moved": {kind: square**0.5 for kind, square in norms.items()},
    }
    screen.result(facts, _facts_table(facts))


def _facts_table(facts: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row("fork", facts["fork"])
    table.add_row("owner", facts["owner"])
    table.add_row("base", facts["base"])
    table.add_row("made", when(facts["created_ms"]))
    table.add_row("records", f"{facts['records']}; height {facts['height']}: updates in the sum")
    state_size = readable_bytes(facts["bytes_of_state"])
    table.add_row(
        "size", f"{facts['numbers']:,} numbers, {state_size}; {readable_bytes(facts['bytes_on_disk'])} on disk"
    )
    moved = ", ".join(f"{kind} {norm:.2f}" for kind, norm in facts["moved"].items())
    table.add_row("moved from base", moved)
    return table


@fork_group.command(
    "history", epilog="\b\nExamples:\n  ipse fork history --limit 5\n  ipse fork history --fork ada --json\n"
)
@fork_option
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many, the youngest.")
@model_options
def history(settings: Settings, fork: str, limit: int) -> None:
    """What a fork learned, record by record, opened with your key."""
    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        with opened_life(home, base, info.owner) as life:
            entries = life.history()
    shown = history_table(entries[-limit:], screen.out.width) if entries else "Nothing yet."
    screen.result({"fork": info.fork_id, "entries": entries[-limit:]}, shown)


@fork_group.command("forget-turn", epilog="\b\nExample:\n  ipse fork forget-turn 12 --fork ada\n")
@click.argument("record", type=click.IntRange(1))
@fork_option
@model_options
def forget_turn(settings: Settings, record: int, fork: str) -> None:
    """Take back what record RECORD taught, exactly, and forget its turn.

    Its update is subtracted and the turn is never put into a context again. The sealed record stays in the
    history, marked as undone, so that the sum of the history is still the fork.
    """
    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        with opened_life(home, base, info.owner) as life:
            undone = life.undo(record)
            height = life.fork.fork_height
    screen.result(
        {"fork": info.fork_id, "undone": undone, "height": height},
        f"Record {undone} is undone and its turn forgotten; the fork's height is {height}.",
    )
