# SPDX-License-Identifier: Apache-2.0
"""``ipse fork``: what forks there are, what they learned, taking it back, and checking all of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from ipse.cli.erasing import erase, erased_json
from ipse.cli.interrupts import Interruptible
from ipse.cli.opening import existing_fork, existing_fork_of, open_base, opened_fork, opened_home
from ipse.cli.screen import Screen, counting_bar
from ipse.cli.settings import Settings, fork_option, model_options, store_options
from ipse.cli.told import (
    history_table,
    log_json,
    log_table,
    readable_bytes,
    relearned_json,
    relearned_lines,
    rollback_json,
    rollback_line,
    when,
)
from ipse.errors import InputError

if TYPE_CHECKING:
    from ipse.forks.interact import UserModelLifecycle


@click.group(
    "fork",
    epilog="""\b
Examples:
  ipse fork list
  ipse fork show --fork ada
  ipse fork history --limit 5
  ipse fork log --limit 5
  ipse fork undo 12
  ipse fork undo 12 --replay
  ipse fork rollback 8
  ipse fork verify
  ipse fork prove 12 proof.ipse
  ipse fork erase --fork ada
""",
)
def fork_group() -> None:
    """Look at forks, take back what one learned, and erase one."""


fork_group.add_command(erase)


@fork_group.command("list", epilog="\b\nExamples:\n  ipse fork list --json\n  ipse fork list --all\n")
@click.option("--all", "erased_too", is_flag=True, help="Also what remains of forks that were erased.")
@store_options
def list_forks(settings: Settings, erased_too: bool) -> None:
    """Every fork of this data folder. Needs no model and no torch."""
    from ipse.forks.home import ForkInfo
    from ipse.store.erasure import ErasedFork, Erasure
    from ipse.store.store import FILE_NAME

    screen = Screen(as_json=settings.as_json)
    forks: list[ForkInfo] = []
    erased: list[ErasedFork] = []
    if (settings.data / FILE_NAME).exists():
        with opened_home(settings, create=False) as home:
            forks = home.forks()
            erased = Erasure(home.store).erased() if erased_too else []
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
    for gone in erased:
        made = when(gone.created_ms).partition(" ")[0]
        state = "being erased" if gone.unfinished else f"erased {when(gone.erased_ms).partition(' ')[0]}"
        table.add_row(Text(state, style="dim"), gone.fork_id, "", str(gone.head.seq), "", made)
    payload = {"forks": forks} | ({"erased": [erased_json(gone) for gone in erased]} if erased_too else {})
    screen.result(payload, table if forks or erased else "No forks yet; 'ipse chat' makes the first.")


@fork_group.command("show", epilog="\b\nExamples:\n  ipse fork show --fork ada\n  ipse fork show --fork ada --at 12\n")
@fork_option
@click.option(
    "--at", "record", type=click.IntRange(0), metavar="RECORD", help="As it was after this record.  [default: now]"
)
@model_options
def show(settings: Settings, fork: str, record: int | None) -> None:
    """One fork: where it stands or stood, and how far each part of it has moved."""
    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        opened = home.open_fork(info.fork_id, base.layout)
        at = opened.folded if record is None else opened.folded_at(record)
    state = at.state
    values = state.values().astype("float64")
    norms: dict[str, float] = {}
    for segment in state.layout.segments:
        square = float((values[segment.slice] ** 2).sum())
        norms[segment.kind] = norms.get(segment.kind, 0.0) + square
    facts: dict[str, Any] = {
        "fork": info.fork_id,
        "owner": info.owner,
        "base": info.base_id,
        "records": info.records,
        "at": at.head.seq,
        "height": at.height,
        "not_counting": len(at.out),
        "created_ms": info.created_ms,
        "numbers": state.layout.size,
        "numbers_moved": int((state.z != 0).sum()),
        "bytes_of_state": state.z.nbytes,
        "bytes_on_disk": info.bytes_on_disk,
        "norm": sum(norms.values()) ** 0.5,
        "moved": {kind: square**0.5 for kind, square in norms.items()},
    }
    screen.result(facts, _facts_table(facts))


def _facts_table(facts: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row("fork", facts["fork"])
    table.add_row("owner", facts["owner"])
    table.add_row("base", facts["base"])
    table.add_row("made", when(facts["created_ms"]))
    taken_out = f"; {facts['not_counting']} undone or rolled back" if facts["not_counting"] else ""
    table.add_row("records", f"{facts['records']}; height {facts['height']}: updates in the sum{taken_out}")
    if facts["at"] != facts["records"]:
        table.add_row("as it was", f"after record {facts['at']}" if facts["at"] else "before its first record")
    state_size = readable_bytes(facts["bytes_of_state"])
    table.add_row(
        "size", f"{facts['numbers']:,} numbers, {state_size}; {readable_bytes(facts['bytes_on_disk'])} on disk"
    )
    moved = ", ".join(f"{kind} {norm:.2f}" for kind, norm in facts["moved"].items())
    table.add_row("moved from base", f"{facts['numbers_moved']:,} numbers, by {facts['norm']:.2f} ({moved})")
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
    with opened_fork(settings, screen, fork) as (info, life):
        entries = life.history()
    shown = history_table(entries[-limit:], screen.out.width) if entries else "Nothing yet."
    screen.result({"fork": info.fork_id, "entries": entries[-limit:]}, shown)


@fork_group.command("log", epilog="\b\nExamples:\n  ipse fork log --limit 5\n  ipse fork log --fork ada --json\n")
@fork_option
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many, the youngest.")
@store_options
def log(settings: Settings, fork: str, limit: int) -> None:
    """The records of a fork as they lie in the store, without opening one. Needs no key, no model and no torch.

    Each with its number, time, kind, size and digest, and whether it counts. The chain is checked from the first
    record; that takes no key, and so does not show who wrote it: 'ipse fork verify' does.
    """
    from ipse.forks.log import read_log
    from ipse.store.store import FILE_NAME, Store

    screen = Screen(as_json=settings.as_json)
    if not (settings.data / FILE_NAME).exists():
        raise InputError(f"There are no forks in {settings.data}.", "Start one with `ipse chat`, or give --data DIR.")
    with Store.open(settings.data, create=False) as store:
        info = existing_fork_of(store, fork)
        entries = read_log(store, info.fork_id)
    shown = log_table(entries[-limit:]) if entries else "Nothing yet."
    payload = {"fork": info.fork_id, "records": len(entries), "entries": [log_json(e) for e in entries[-limit:]]}
    screen.result(payload, shown)


@fork_group.command(
    "undo",
    epilog="""\b
Examples:
  ipse fork undo
  ipse fork undo 12 --fork ada
  ipse fork undo 12 --replay
""",
)
@click.argument("record", type=click.IntRange(1), required=False)
@click.option(
    "--replay", is_flag=True, help="Learn everything later anew, as if RECORD had never been: exact, and takes a while."
)
@fork_option
@model_options
def undo(settings: Settings, record: int | None, replay: bool, fork: str) -> int:
    """Take back what record RECORD taught, exactly, and forget its turn; without RECORD, the last that taught.

    Its update is subtracted and the turn is never put into a context again. The sealed record stays in the history,
    marked as undone, so that the sum of the history is still the fork. RECORD may also be an undo or a rollback: then
    what it took out counts again.

    What was learned later stays, though it was computed in the presence of RECORD and so still bears its trace. With
    --replay that too is computed anew, from where the fork stood before RECORD, and the fork is to the bit what it
    would be had RECORD never happened; judgements of its reply go with it. Each turn is learned in the context that the
    fork then remembers, also one that came from a file. Stop it whenever you like: until the same command has finished
    it, the fork is only rolled back further. This erases nothing: the old records stay in the history, sealed.
    """
    screen = Screen(as_json=settings.as_json)
    if replay and record is None:
        raise InputError("--replay needs the number of a record.", "See `ipse fork history` for the numbers.")
    with opened_fork(settings, screen, fork) as (info, life):
        if replay and record is not None:
            return _relearn(life, record, info.fork_id, screen)
        undone = life.undo(record)
        height = life.fork.fork_height
    screen.result(
        {"fork": info.fork_id, "undone": undone, "height": height},
        f"Record {undone} is undone and no longer counts; the fork's height is {height}.",
    )
    return 0


def _relearn(life: UserModelLifecycle, record: int, fork_id: str, screen: Screen) -> int:
    with Interruptible() as stop, counting_bar(screen) as bar:
        task = bar.add_task("learning anew", total=None)
        done = life.relearn(
            record, on_step=lambda done, whole: bar.update(task, completed=done, total=whole), cancelled=stop
        )
    screen.result({"fork": fork_id, **relearned_json(done)}, relearned_lines(done))
    return 130 if done.left else 0


fork_group.add_command(undo, "forget-turn")  # what it was called when a turn was all that could be taken back


@fork_group.command("rollback", epilog="\b\nExample:\n  ipse fork rollback 12 --fork ada\n")
@click.argument("record", type=click.IntRange(0))
@fork_option
@model_options
def rollback(settings: Settings, record: int, fork: str) -> None:
    """Bring the fork back to where it was after record RECORD; 0 is before its first.

    Its numbers are then the same to the bit, and it remembers the same turns. Everything later stays in the history,
    sealed and marked as rolled back. This is a record too: undo it, and what it took out counts again.
    """
    screen = Screen(as_json=settings.as_json)
    with opened_fork(settings, screen, fork) as (info, life):
        done = life.rollback(record)
        height = life.fork.fork_height
    screen.result(
        {"fork": info.fork_id, **rollback_json(done, height)},
        f"{rollback_line(done, height)}\nTo take that back: ipse fork undo {done.seq}",
    )


@fork_group.command("go-on", epilog="\b\nExample:\n  ipse fork go-on --fork ada --yes\n")
@fork_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
def go_on(settings: Settings, fork: str, yes: bool) -> None:
    """Go on from an older copy of the store, which was put back because a newer one is lost.

    What the fork learned since is gone. Devices that saw it, and who was shown a later head, will see two histories.
    """
    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        if not yes:
            if not sys.stdin.isatty():
                raise InputError(
                    "There is no terminal to ask whether the newer records are lost.", "Say so with --yes."
                )
            click.confirm(f"Go on from record {info.records} and give up what came later?", abort=True, err=True)
        home.store.go_on(info.fork_id)
    screen.result(
        {"fork": info.fork_id, "records": info.records}, f"The next record of this fork is number {info.records + 1}."
    )


@fork_group.command("verify", epilog="\b\nExample:\n  ipse fork verify --fork ada\n")
@fork_option
@model_options
def verify(settings: Settings, fork: str) -> None:
    """Check every record of a fork, and that their sum is what the program uses. Changes nothing.

    Ends with exit status 1 and the number of the record when something is wrong.
    """
    from ipse.forks.verify import CHECKED, NOT_CHECKED, verify_fork

    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        found = verify_fork(home.store, home.open_fork(info.fork_id, base.layout))
    checked, unchecked = list(CHECKED), list(NOT_CHECKED)
    if found.snapshot_seq:
        checked.append(f"the snapshot at record {found.snapshot_seq} is what the fold was there")
    else:
        unchecked.append("a snapshot: there is none of this form yet")
    table = Table.grid(padding=(0, 2))
    table.add_row("ok", f"{found.records} records, {found.counting} of them count; height {found.height}")
    table.add_row("head", found.head.hex())
    for what in checked:
        table.add_row("checked", what)
    for what in unchecked:
        table.add_row("NOT checked", what)
    payload = {"fork": info.fork_id, **asdict(found), "checked": checked, "not_checked": unchecked}
    screen.result(payload, table)


@fork_group.command(
    "prove",
    epilog="""\b
Examples:
  ipse fork prove 12 proof.ipse
  ipse fork prove 12 proof.ipse --fork ada --digest-only
""",
)
@click.argument("record", type=click.IntRange(1))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--digest-only", is_flag=True, help="Leave the sealed record out: its digest and number only.")
@fork_option
@store_options
def prove(settings: Settings, record: int, file: Path, digest_only: bool, fork: str) -> None:
    """Write to FILE what a stranger needs to check, offline, that RECORD is in this fork and was published.

    The record stays sealed, but its name, time, kind and sizes can be read in FILE; with --digest-only they cannot.
    FILE also shows the fork's id, how many records it had, who signed that, and which entry of the log it is.
    Needs no model and no torch; 'ipse verify record' checks it.
    """
    from ipse.forks.prove import prove_record
    from ipse.vault.files import create_file

    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        proof = prove_record(home, info.fork_id, record, digest_only=digest_only)
    data = proof.to_bytes()
    try:
        create_file(file, data)
    except FileExistsError as error:
        raise InputError(f"{file} is there already.", "Choose another name; nothing is overwritten.") from error
    facts = {"fork": info.fork_id, "record": record, "digest": proof.digest, "file": file, "bytes": len(data)}
    what = f"Record {record}" if proof.record else f"The digest of record {record}"
    screen.result(
        facts | {"signer": proof.signer.name, "entry": proof.log_proof.index},
        f"{what} of {info.fork_id}, under a head that {proof.signer.name} signed, entry {proof.log_proof.index} of the "
        f"log: {file}, {readable_bytes(len(data))}.",
    )
