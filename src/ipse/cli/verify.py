# SPDX-License-Identifier: Apache-2.0
"""``ipse verify``: check what this installation says, or what somebody else's does, without believing anybody.

None of it needs a model or torch, and nothing is changed but the state file that ``--state`` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ipse.cli.checks import (
    cosigned,
    entries,
    fill,
    fork_json,
    fork_rows,
    log_line,
    table_of,
)
from ipse.cli.ledger import read_policy
from ipse.cli.opening import existing_fork_of, log_of_keys, opened_home
from ipse.cli.screen import Screen, counting_bar, printable
from ipse.cli.settings import Settings, fork_option, keys_option, no_key_option, policy_option, store_options
from ipse.cli.told import when
from ipse.cli.verify_files import verify_record
from ipse.errors import InputError

if TYPE_CHECKING:
    from ipse.forks.audit import AuditedFork
    from ipse.forks.home import Home
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.policy import Policy
    from ipse.ledger.publiclog import PublicLog
    from ipse.ledger.treehead import TreeHead
    from ipse.store.store import Store
    from ipse.wire.ids import ForkId


@click.group(
    "verify",
    invoke_without_command=True,
    epilog="""\b
Examples:
  ipse verify
  ipse verify fork --fork ada --no-key
  ipse verify ledger https://example.com/log --key VKEY --key VKEY --state seen.checkpoint
  ipse verify record proof.ipse --owner ada.identity --policy log.policy
""",
)
@no_key_option
@store_options
def verify_group(settings: Settings, no_key: bool) -> None:
    """Check the log, the forks, or a stranger's proof; alone, all of this folder. Needs no model and no torch.

    Says what was checked and what was NOT. Ends with exit status 1, and names the place, when something is wrong.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        _verify_all(settings, no_key)
        return
    given = [name for name in context.params if context.get_parameter_source(name) is _COMMAND_LINE]
    if given:
        raise click.UsageError(f"Give options after '{context.invoked_subcommand}'.", context)


_COMMAND_LINE = click.core.ParameterSource.COMMANDLINE


@verify_group.command("all", epilog="\b\nExamples:\n  ipse verify all\n  ipse verify all --no-key --json\n")
@no_key_option
@store_options
def verify_all(settings: Settings, no_key: bool) -> None:
    """Everything in this folder: its log, and the records and published heads of every fork."""
    _verify_all(settings, no_key)


@verify_group.command(
    "ledger",
    epilog="""\b
Examples:
  ipse verify ledger
  ipse verify ledger ./public --policy log.policy
  ipse verify ledger https://example.com/log --key VKEY --key VKEY --state seen.checkpoint
""",
)
@click.argument("place", metavar="[ADDRESS|DIR]", required=False)
@keys_option
@policy_option
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="File that remembers the checkpoint: the next look finds a log that took something back.",
)
@store_options
def verify_ledger(
    settings: Settings, place: str | None, keys: tuple[str, ...], policy_file: Path | None, state: Path | None
) -> None:
    """A whole log: every entry is read and the tree computed anew. Without ADDRESS or DIR, the log of this folder.

    Of somebody else's log, --key or --policy says whose it must be. Its owner finds the keys with 'ipse ledger show';
    get them from the owner and not from where the log lies.
    """
    screen = Screen(as_json=settings.as_json)
    policy = None if policy_file is None else read_policy(policy_file)
    if place is not None:
        _tell_foreign(screen, place, log_of_keys(keys), policy, state)
        return
    if keys or state is not None:
        raise InputError("--key and --state are for somebody else's log.", "Give its address or its folder.")
    with _store(settings) as store, counting_bar(screen) as bar:
        head, checked, unchecked = _home_log(store, policy, _teller(bar, "log"))
    if head is None:
        raise InputError(f"There is no log in {settings.data} yet.", "Make one with `ipse ledger new`.")
    facts = {"origin": head.origin, "size": head.size, "root": head.root}
    table = table_of([("ok", log_line(head)), ("root", head.root.hex())], checked, unchecked)
    screen.result(facts | {"checked": checked, "not_checked": unchecked}, table)


@verify_group.command(
    "fork", epilog="\b\nExamples:\n  ipse verify fork --fork ada\n  ipse verify fork --fork ada --no-key --json\n"
)
@fork_option
@no_key_option
@store_options
def verify_fork(settings: Settings, fork: str, no_key: bool) -> None:
    """One fork, without its base: each record, who may write, and that the heads in the log are over these records.

    'ipse fork verify' does more and needs the base: it folds the records and compares the sum.
    """
    screen = Screen(as_json=settings.as_json)
    with _opened(settings, no_key) as (store, home), counting_bar(screen) as bar:
        info = existing_fork_of(store, fork)
        found = _audited(store, home, info.fork_id, _teller(bar, info.owner))
    table = table_of(fork_rows(found), found.checked, found.not_checked)
    screen.result(fork_json(found), table)


# -- all ---------------------------------------------------------------------------------------------------------


def _verify_all(settings: Settings, no_key: bool) -> None:
    screen = Screen(as_json=settings.as_json)
    table = Table.grid(padding=(0, 2))
    with _opened(settings, no_key) as (store, home), counting_bar(screen) as bar:
        head, checked, unchecked = _home_log(store, None, _teller(bar, "log"))
        forks = [_audited(store, home, row.fork_id, _teller(bar, row.owner)) for row in store.forks()]
    if head is None:
        table.add_row("NOT checked", "a public log: there is none yet")
    else:
        spare = head.size - sum(found.heads for found in forks)
        if spare > 0:
            unchecked.append(f"what {entries(spare)} of the log stand for: they are no head of a fork that is here")
        fill(table, [("ok", log_line(head)), ("root", head.root.hex())], checked, unchecked)
    for found in forks:
        table.add_row("", "")
        fill(table, fork_rows(found), found.checked, found.not_checked)
    log = {"origin": None} if head is None else {"origin": head.origin, "size": head.size, "root": head.root}
    payload = {"log": log | {"checked": checked, "not_checked": unchecked}, "forks": [fork_json(f) for f in forks]}
    screen.result(payload, table)


def _home_log(store: Store, policy: Policy | None, told: Any) -> tuple[TreeHead | None, list[str], list[str]]:
    """The log of this folder: its head, what was checked and what was not."""
    from ipse.forks.audit import audit_log, home_log
    from ipse.ledger.publiclog import PublicLog

    public = PublicLog(store)
    log = home_log(public)
    if log is None:
        return None, [], []
    head = audit_log(public, log, told)
    checked = [
        "every entry and every tile, and that they lead to the root hash",
        "the checkpoint: signed with all keys of the log",
        "the store is not older than what was seen of the log in this folder",
    ]
    unchecked = ["whether the whole folder is an older copy that was put back: witnesses, or --state elsewhere, tell"]
    if policy is None:
        unchecked.append("cosignatures of witnesses: --policy FILE of 'ipse verify ledger'")
    else:
        checked.append(cosigned(_check_policy(public, log, policy), policy))
    return head, checked, unchecked


def _check_policy(public: PublicLog, log: Log, policy: Policy) -> tuple[str, ...]:
    from ipse.client.audit import cosigners
    from ipse.ledger.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(public.row().checkpoint, log, [line.key for line in policy.witnesses])
    policy.check(checkpoint)
    return cosigners(checkpoint, policy)


def _audited(store: Store, home: Home | None, fork_id: ForkId, told: Any) -> AuditedFork:
    from ipse.forks.audit import audit_fork

    history = None if home is None else home.sealed(fork_id)
    return audit_fork(store, fork_id, history=history, progress=told)


# -- somebody else's log -----------------------------------------------------------------------------------------


def _tell_foreign(screen: Screen, place: str, log: Log | None, policy: Policy | None, state: Path | None) -> None:
    from ipse.client.audit import audit_log
    from ipse.client.logs import log_at

    if log is None and (policy is None or not policy.logs):
        raise InputError(
            "Whose log must it be? Give each of its keys with --key VKEY, or a --policy FILE with log lines.",
            "Its owner finds the keys with `ipse ledger show`; get them from the owner, not from where the log lies.",
        )
    with counting_bar(screen) as bar:
        found = audit_log(log_at(place), log, policy=policy, state=state, progress=_teller(bar, "log"))
    checked = [
        f"every entry and every tile, {found.files} files, and that they lead to the root hash",
        "the checkpoint: signed with all keys of the log that you gave",
    ]
    unchecked = ["what the entries mean"]
    if policy is None:
        unchecked.insert(0, "whether others are shown the same log: --policy FILE with witnesses tells")
    else:
        checked.append(cosigned(found.cosigned, policy))
    if state is None:
        unchecked.insert(0, "whether the log took something back since an earlier look: --state FILE remembers")
    elif found.before is None:
        unchecked.insert(0, f"whether the log took something back: this is the first look, remembered in {state}")
    else:
        checked.append(f"it continues the log of {entries(found.before)} of the last look")
    rows = [("ok", log_line(found.head)), ("root", found.head.root.hex())]
    if found.signed_s:
        rows.append(("signed", f"{when(found.signed_s * 1000)}, as the log says"))
    facts = asdict(found.head) | {"signed_s": found.signed_s, "cosigned": found.cosigned, "before": found.before}
    table = table_of(rows, checked, unchecked)
    screen.result(facts | {"files": found.files, "checked": checked, "not_checked": unchecked}, table)


# -- inside ------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: Settings, no_key: bool) -> Iterator[tuple[Store, Home | None]]:
    """The store of the data folder, with its key where one is wanted and there is something for it to open."""
    with _store(settings) as store:
        if no_key or not store.forks():
            yield store, None
            return
    with opened_home(settings, create=False) as home:
        yield home.store, home


def _store(settings: Settings) -> Store:
    from ipse.store.store import FILE_NAME, Store

    if not (settings.data / FILE_NAME).exists():
        raise InputError(f"There is nothing to check in {settings.data}.", "Give the folder with --data DIR.")
    return Store.open(settings.data, create=False)


def _teller(bar: Any, title: str) -> Any:
    task = bar.add_task(f"checking {printable(title)}", total=None)
    return lambda done, whole: bar.update(task, completed=done, total=whole)


verify_group.add_command(verify_record)
