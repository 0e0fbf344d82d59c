# SPDX-License-Identifier: Apache-2.0
"""``ipse chat``: talk to a fork that learns after every reply."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ipse.cli.lines import Lines, PipedLines
from ipse.cli.opening import open_base, opened_home, opened_life, owner_of
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, fork_option, model_options

if TYPE_CHECKING:
    from ipse.cli.session import ChatSession


@click.command(
    epilog="""\b
Examples:
  ipse chat
  ipse chat --fork ada --base path/to/model
  printf 'Ahoy!\\n/why\\n' | ipse chat --json

Type /help inside for what else can be said. Ctrl-C stops a reply, Ctrl-D leaves.
""",
)
@fork_option
@click.option("--no-learn", is_flag=True, help="Start with learning off; /learn on switches it back.")
@click.option("--incognito", is_flag=True, help="Start incognito: learn nothing, record nothing.")
@model_options
def chat(settings: Settings, fork: str, no_learn: bool, incognito: bool) -> int:
    """Talk to a fork of your own.

    It answers first and learns from your words then, in the time you take to read. One quiet line tells what
    it learned: the loss on your words before and after, the size of the change, the time and the record.
    Standard input may be a script: one message or slash command a line.
    """
    from ipse.cli.session import ChatSession

    screen = Screen(as_json=settings.as_json)
    with opened_home(settings, create=True) as home:
        is_new = home.find(owner_of(home, fork)) is None
        base = open_base(settings, screen)
        with opened_life(home, base, fork) as life:
            life.learning = not no_learn
            life.incognito = incognito
            if is_new:
                screen.quiet(f"A new fork of {base.reference.name} for {life.fork.owner}; it lives in {home.root}.")
                keys = home.keys
                place = keys.key_path if keys.has_file else f"{keys.wrap_path} with its passphrase"
                screen.quiet(f"Its key is {place}, yours to keep: without it nothing opens again.")
            session = ChatSession(life, screen)
            typed = sys.stdin.isatty() and sys.stdout.isatty() and not settings.as_json
            lines = _typed(session) if typed else PipedLines(sys.stdin.buffer)
            return session.run(lines, scripted=not typed)


def _typed(session: ChatSession) -> Lines:
    from ipse.cli.lines import TypedLines

    return TypedLines(session.earlier_messages(), session.standing)
