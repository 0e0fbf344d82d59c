# SPDX-License-Identifier: Apache-2.0
"""``ipse ledger``: the public log of this installation: look at it, serve it, export it, start a new one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ipse.cli.opening import opened_home
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, store_options
from ipse.cli.told import when
from ipse.errors import InputError, NetworkError
from ipse.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.policy import Policy
    from ipse.ledger.publiclog import PublicLog


@click.group(
    "ledger",
    epilog="""\b
Examples:
  ipse ledger show
  ipse ledger publish
  ipse ledger serve --port 8080
  ipse ledger export ./public
""",
)
def ledger_group() -> None:
    """Look after the public log.

    It holds 32-byte entries that say nothing about anybody, in a tree that only grows, signed each time. Who keeps a
    checkpoint of it can notice any history that is told anew.
    """


@ledger_group.command("show", epilog="\b\nExample:\n  ipse ledger show --json\n")
@store_options
def show(settings: Settings) -> None:
    """Name, verifier keys, size and root hash of the log, and when it was signed last."""
    from ipse.ledger.publiclog import PublicLog, signed_at

    screen = Screen(as_json=settings.as_json)
    if not (settings.data / FILE_NAME).exists():
        _tell_none(screen, settings)
        return
    with Store.open(settings.data, create=False) as store:
        public = PublicLog(store)
        if public.rows.head() is None:
            _tell_none(screen, settings)
            return
        log = _verifiers(settings)
        head, signed = public.head(), signed_at(public.checkpoint(), log)
        refused = public.rolled_back()
    keys = [key.to_text() for key in log.keys]
    facts = {"origin": head.origin, "size": head.size, "root": head.root, "signed_s": signed, "keys": keys}
    lines = [
        f"origin   {head.origin}",
        f"size     {_entries(head.size)}",
        f"root     {head.root.hex()}",
        f"signed   {when(signed * 1000)}",
        *(f"key      {key}" for key in keys),
    ]
    if refused:
        lines.append(f"refused  {refused} Nothing more is signed.")
    _tell(screen, facts | {"refused": refused or None}, *lines)


@ledger_group.command(
    "publish", epilog="\b\nExamples:\n  ipse ledger publish\n  ipse ledger publish --policy witnesses.policy --json\n"
)
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    envvar="IPSE_POLICY",
    help="Witnesses to ask for cosignatures, and how many are enough (C2SP tlog-policy).  [env: IPSE_POLICY]",
)
@store_options
def publish(settings: Settings, policy_file: Path | None) -> None:
    """Put the head of every fork that grew into the log, blinded; with a policy, let witnesses cosign.

    Chat, replay and the like do this by themselves at their end, without asking witnesses. An entry is 32 bytes that
    say nothing, not even whose they are.
    """
    from ipse.client.cosigning import cosigned
    from ipse.forks.publish import publish as put
    from ipse.ledger.checkpoint import open_checkpoint
    from ipse.ledger.log import LogWriter

    screen = Screen(as_json=settings.as_json)
    policy = None if policy_file is None else read_policy(policy_file)
    with opened_home(settings, create=False) as home:
        done = put(home)
        writer = LogWriter.open(home.store)
        asked = None if policy is None else cosigned(writer.public, writer.log, policy)
        if asked is not None:
            writer.replace_checkpoint(asked.checkpoint)
    facts = {"origin": writer.log.origin, "size": writer.head.size, "root": writer.head.root, "heads": done.heads}
    lines = [f"{head.fork_id}: {head.size} records, as entry {head.entry}" for head in done.heads]
    lines.append(f"{writer.log.origin} has {_entries(writer.head.size)}{'' if done.heads else '; no fork had grown'}.")
    if asked is not None:
        facts |= {"cosigned": asked.names, "failed": asked.failed}
        lines.append(f"cosigned by {', '.join(asked.names) or 'nobody'}")
        lines += [f"no cosignature of {name}: {why}" for name, why in asked.failed.items()]
    _tell(screen, facts, *lines)
    if policy is not None and asked is not None:
        policy.check(open_checkpoint(asked.checkpoint, writer.log, [line.key for line in policy.witnesses]))


@ledger_group.command("serve", epilog="\b\nExamples:\n  ipse ledger serve\n  ipse ledger serve --host :: --port 80\n")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@store_options
def serve(settings: Settings, host: str, port: int) -> None:
    """Serve the log over HTTP until Ctrl-C: checkpoint, tiles and entries, read-only.

    Any client of C2SP tlog-tiles can read it. There is no TLS; on the open network put a web server before it.
    """
    from ipse.server.tiles import TileServer

    screen = Screen(as_json=settings.as_json)
    with _opened(settings) as (_, public):
        head = public.head()
        try:
            server = TileServer(public, host, port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise NetworkError(
                f"Cannot listen on {host}, port {port}: {reason}.", "Choose another --port or --host."
            ) from error
        with server:
            _tell(
                screen,
                {"url": server.url, "origin": head.origin, "size": head.size},
                f"{head.origin}, {_entries(head.size)}, at {server.url}/checkpoint; Ctrl-C ends it.",
            )
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                screen.quiet("Ended.")


@ledger_group.command("export", epilog="\b\nExample:\n  ipse ledger export ./public\n")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@store_options
def export(settings: Settings, folder: Path) -> None:
    """Write the log to DIR as files that any web server can serve, after checking all of it.

    Into the same DIR again, it adds what is new. A tile that is there never gets other bytes.
    """
    from ipse.server.export import export_log

    screen = Screen(as_json=settings.as_json)
    with _opened(settings) as (_, public):
        done = export_log(public, _verifiers(settings), folder)
    _tell(
        screen,
        {
            "folder": folder,
            "origin": done.head.origin,
            "size": done.head.size,
            "root": done.head.root,
            "files": done.files,
            "written": done.written,
        },
        f"{done.head.origin}, {_entries(done.head.size)}: {done.files} files in {folder}, {done.written} written.",
    )


@ledger_group.command(
    "new", epilog="\b\nExamples:\n  ipse ledger new\n  ipse ledger new --origin log.example/me --yes\n"
)
@click.option("--origin", metavar="NAME", help="What the log is called.  [default: ipse.local/ and a random word]")
@click.option("--yes", is_flag=True, help="Give up a log that is there without asking.")
@store_options
def new(settings: Settings, origin: str | None, yes: bool) -> None:
    """Start a log with new keys, empty and signed.

    One that is there is given up: its entries go, its key is kept beside the new one. Do that only if its newest copy
    is lost, and export it before. The origin should be the address that it will be served at, without https://.
    """
    from ipse.ledger.log import new_log
    from ipse.ledger.publiclog import PublicLog

    screen = Screen(as_json=settings.as_json)
    with Store.open(settings.data) as store:
        there = PublicLog(store).rows.head()
        if there is not None and not yes:
            if not sys.stdin.isatty():
                raise InputError(
                    f"There is no terminal to ask whether to give up {there.origin}.", "Say so with --yes."
                )
            click.confirm(f"Give up {there.origin} with its {_entries(there.size)}?", abort=True, err=True)
        log = new_log(store, origin=origin).log
    given_up = None if there is None else there.origin
    keys = [key.to_text() for key in log.keys]
    lines = [f"A new log, {log.origin}, empty and signed.", *(f"key      {key}" for key in keys)]
    _tell(screen, {"origin": log.origin, "keys": keys, "given_up": given_up}, *lines)


def read_policy(path: Path) -> Policy:
    """A policy file.

    Raises:
        InputError: it cannot be read.
        VerificationError: it is no policy; names the line.
    """
    from ipse.ledger.policy import Policy

    try:
        return Policy.from_bytes(path.read_bytes())
    except OSError as error:
        raise InputError(f"The policy {path} cannot be read: {error.strerror}.", "Check the path.") from error


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, PublicLog]]:
    """The log of the data folder.

    Raises:
        InputError: there is none.
    """
    from ipse.ledger.publiclog import PublicLog

    if not (settings.data / FILE_NAME).exists():
        raise InputError(f"There is no log in {settings.data} yet.", "Make one with `ipse ledger new`.")
    with Store.open(settings.data, create=False) as store:
        yield store, PublicLog(store)


def _verifiers(settings: Settings) -> Log:
    from ipse.ledger.log import log_of
    from ipse.vault.logkeys import FILE_NAME as KEY_NAME
    from ipse.vault.logkeys import load_log_key

    return log_of(load_log_key(settings.data / KEY_NAME))


def _tell_none(screen: Screen, settings: Settings) -> None:
    _tell(screen, {"origin": None}, f"No log in {settings.data}; 'ipse ledger new' makes one.")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _tell(screen: Screen, payload: dict[str, Any], *lines: str) -> None:
    """The answer as JSON, or line by line: a key is never broken, however narrow the terminal."""
    if screen.as_json:
        screen.json(payload)
        return
    for line in lines:
        screen.stream(f"{line}\n")
