# SPDX-License-Identifier: Apache-2.0
"""``ipse key devices``: who else may read and write your forks. Needs no model and no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ipse.cli.opening import existing_fork, identity_in, opened_home, publish_heads
from ipse.cli.screen import Screen, first_line
from ipse.cli.settings import Settings, store_options
from ipse.cli.told import when
from ipse.errors import InputError

if TYPE_CHECKING:
    from ipse.forks.members import Device
    from ipse.forks.openfork import SealedHistory

_MAX_NAME_CHARACTERS = 100
_LEAST_HEX = 16
"""Hex characters of an identity that name a device: those that a record names it by."""

_fork_option = click.option("--fork", metavar="OWNER|ID", help="Of one fork.  [default: of every fork here]")


class _ListFirst(click.Group):
    """A group that lists where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named or (args and not args[0].startswith("-")) else ["list", *args])


@click.group(
    "devices",
    cls=_ListFirst,
    epilog="""\b
Examples:
  ipse key devices
  ipse key show --public > phone.txt              on the other device
  ipse key devices add phone.txt --name "my phone"
  ipse key devices remove i_0123456789abcdef
""",
)
def devices_group() -> None:
    """Let other devices read and write your forks, or put them out.

    A device has a root key of its own; you let in its public identity. Each change is one record of the fork, signed by
    you, and rewrites nothing. Without a command: list.
    """


@devices_group.command(
    "list", epilog="\b\nExamples:\n  ipse key devices list\n  ipse key devices list --fork ada --json\n"
)
@_fork_option
@store_options
def list_devices(settings: Settings, fork: str | None) -> None:
    """Every device of your forks: what you called it, its id, and since when it is one."""
    from ipse.forks.members import devices_of

    screen = Screen(as_json=settings.as_json)
    with _histories(settings, fork, recording=False) as histories:
        found = [(history, device) for history in histories for device in devices_of(history)]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("fork", "device", "id", "since record", "when"):
        table.add_column(title, no_wrap=True, justify="right" if title == "since record" else "left")
    for history, device in found:
        since = (str(device.since_seq), when(device.since_ms))
        table.add_row(history.row.fork_id, first_line(device.name, 40), device.identity.name, *since)
    facts = [_facts(history, device) for history, device in found]
    screen.result({"devices": facts}, table if found else "No devices: only you read and write your forks.")


@devices_group.command(
    "add",
    epilog='\b\nExamples:\n  ipse key devices add phone.txt --name "my phone"\n'
    "  ipse key devices add phone.txt --name phone --fork ada\n",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What you call it; kept sealed.")
@_fork_option
@store_options
def add(settings: Settings, file: Path, name: str, fork: str | None) -> None:
    """Let a device in. FILE holds its public identity, which 'ipse key show --public' printed there.

    From the next record on it reads the whole history and writes to it. Compare the id that is printed with the one
    that 'ipse key show' prints on the device: whoever has exchanged the file has let in himself. Forks without a
    record, and those that it is in already, are left out.
    """
    from ipse.forks.home import now_ms
    from ipse.forks.members import access_of, let_in

    screen = Screen(as_json=settings.as_json)
    device = identity_in(file)
    called = _checked_name(name)
    with _histories(settings, fork) as histories:
        places = [(history, *access_of(history)) for history in histories]
        new = [history for history, head, access in places if head.seq and device not in access.members]
        if not new:
            if any(head.seq for _, head, _ in places):
                raise InputError(f"{device.name} is a member already.", "See `ipse key devices`.")
            raise InputError("There is no fork with a record yet.", "Say something to one first.")
        done = [(history.row.fork_id, let_in(history, device, called, now_ms()).seq) for history in new]
    facts = {"identity": device.name, "name": called, "forks": [{"fork": f, "record": seq} for f, seq in done]}
    _tell(
        screen,
        facts,
        f"Let in {device.name} as {called}.",
        *(f"{fork_id}: record {seq}" for fork_id, seq in done),
        "Compare this id with what 'ipse key show' prints on the device.",
    )


@devices_group.command("remove", epilog="\b\nExample:\n  ipse key devices remove i_0123456789abcdef0123456789abcdef\n")
@click.argument("member", metavar="ID")
@_fork_option
@store_options
def remove(settings: Settings, member: str, fork: str | None) -> None:
    """Put a device out, by its id or at least 16 hex characters of it.

    What it wrote stays, and what it could read it may have kept; it reads nothing that comes later.
    """
    from ipse.forks.home import now_ms
    from ipse.forks.members import devices_of, put_out

    screen = Screen(as_json=settings.as_json)
    wanted = member.lower().removeprefix("i_")
    with _histories(settings, fork) as histories:
        found = [(history, each) for history in histories for each in devices_of(history) if _is(each, wanted)]
        if not found:
            raise InputError(f"No device has the id {first_line(member, 40)}.", "See `ipse key devices`.")
        done = [
            (history.row.fork_id, put_out(history, each.identity.short_id, now_ms()).seq) for history, each in found
        ]
    gone = found[0][1]
    facts = {"identity": gone.identity.name, "forks": [{"fork": f, "record": seq} for f, seq in done]}
    _tell(
        screen,
        facts,
        f"Put out {gone.identity.name}, {gone.name}.",
        *(f"{fork_id}: record {seq}" for fork_id, seq in done),
    )


@contextmanager
def _histories(settings: Settings, fork: str | None, *, recording: bool = True) -> Iterator[list[SealedHistory]]:
    """The histories of one fork, or of all here; what was recorded is put into the public log at the end."""
    with opened_home(settings, create=False) as home:
        infos = home.forks() if fork is None else [existing_fork(home, fork)]
        yield [home.sealed(info.fork_id) for info in infos]
        if recording:
            publish_heads(home)


def _is(device: Device, wanted: str) -> bool:
    return len(wanted) >= _LEAST_HEX and device.identity.id.hex().startswith(wanted)


def _checked_name(name: str) -> str:
    called = name.strip()
    if not 1 <= len(called) <= _MAX_NAME_CHARACTERS or first_line(called, _MAX_NAME_CHARACTERS) != called:
        raise InputError(
            f"Expected a name of 1 to {_MAX_NAME_CHARACTERS} ordinary characters.", 'Give --name, like "my phone".'
        )
    return called


def _facts(history: SealedHistory, device: Device) -> dict[str, Any]:
    row = history.row
    since = {"since_record": device.since_seq, "since_ms": device.since_ms}
    return {"fork": row.fork_id, "owner": row.owner, "name": device.name, "identity": device.identity.name, **since}


def _tell(screen: Screen, payload: dict[str, Any], *lines: str) -> None:
    if screen.as_json:
        screen.json(payload)
    for line in lines:
        screen.say(line)
