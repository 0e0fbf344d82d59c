# SPDX-License-Identifier: Apache-2.0
"""``ipse demo``: two people, one base. The whole promise in one run, on whatever machine this is."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from ipse.cli.curves import Curve, save_picture, terminal_chart
from ipse.cli.demo_story import (
    QUESTIONS,
    Taught,
    answers_in_new_process,
    answers_table,
    cross_table,
    demo_json,
    each_is_best_at_home,
    memory_table,
    milliseconds_table,
    sentences_table,
    teach_both,
)
from ipse.cli.opening import open_base, opened_home
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, model_options
from ipse.errors import InputError, VerificationError

if TYPE_CHECKING:
    from ipse.forks.home import Home
    from ipse.model.base import Base

PICTURE = Path("out", "demo.png")
_CHART_ROWS = 16


@click.command(
    epilog="""\b
Examples:
  ipse demo
  ipse demo --quick --png curves.png
  ipse demo --data ./demo       keep both forks, to talk to them: ipse chat --fork ada --data ./demo
""",
)
@click.option("--quick", is_flag=True, help="Half of the dialogues.")
@click.option(
    "--png", type=click.Path(path_type=Path), default=PICTURE, show_default=True, help="Where to save the curves."
)
@model_options
@click.pass_context
def demo(context: click.Context, settings: Settings, quick: bool, png: Path) -> None:
    """Watch two forks of one base learn two people, each its own way.

    Two scripted users talk, 80% of their dialogues; both forks learn after every message. Shown: loss on the
    words of the dialogues that were held out, each fork on the other's words, what a fork weighs, what an
    interaction costs, and the same answers, byte for byte, from a new process that read the forks from disk.
    """
    screen = Screen(as_json=settings.as_json)
    with contextlib.ExitStack() as stack:
        kept = context.get_parameter_source("data") is not click.core.ParameterSource.DEFAULT
        if not kept:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ipse-demo-"))
            settings = replace(settings, data=Path(folder))
        _run(settings, screen, quick=quick, png=png, kept=kept)


def _run(settings: Settings, screen: Screen, *, quick: bool, png: Path, kept: bool) -> None:
    base = open_base(settings, screen)
    with opened_home(settings, create=True) as home:
        if any(info.records for info in home.forks()):
            raise InputError(f"{settings.data} holds forks already.", "Give the demo a new folder.")
        taught = _shown(base, home, screen, quick=quick)
    save_picture(taught.curves, png)
    fresh = answers_in_new_process(settings, taught)
    same = fresh == taught.answers
    if screen.as_json:
        screen.json(demo_json(taught, same=same, picture=png))
    else:
        best = each_is_best_at_home(taught)
        cross = "Each fork is best at its own user" if best else "Each fork on both users' words"
        screen.quiet(f"  The curves are saved in {png}.")
        screen.say("")
        for title, part in (
            (cross, cross_table(taught)),
            ("On sentences that none of them has seen", sentences_table(taught)),
            ("What they answer now (greedy)", answers_table(taught)),
            ("What a fork weighs", memory_table(taught)),
            ("What an interaction costs", milliseconds_table(taught)),
        ):
            screen.say(title, "bold")
            screen.out.print(Padding(part, (0, 0, 1, 2)))
        screen.say("Closed, and opened again by a new process", "bold")
    if not same:
        raise VerificationError(
            "A new process answered otherwise than the one that learned.", "Run 'ipse doctor' and report this."
        )
    screen.say(f"  {len(QUESTIONS) * len(taught.forks)} greedy answers: the same, byte for byte.", "green")
    if kept:
        screen.quiet(f"  Both forks are kept in {settings.data}: ipse chat --fork ada --data {settings.data}")
    else:
        screen.quiet("  The forks are gone now; --data DIR keeps them. Your own begins with: ipse chat")


def _shown(base: Base, home: Home, screen: Screen, *, quick: bool) -> Taught:
    """Teach, with the curves drawn while they grow where a person watches."""
    width = min(screen.out.width, 100)
    if screen.as_json:
        return teach_both(base, home, lambda curves, learned, most: None, quick=quick)
    screen.say(f"Two people, one base ({base.reference.name}): each talks to a fork, and it learns.")
    screen.quiet("Loss on dialogues that neither fork has seen, nats per token: lower is better.")
    if not screen.out.is_terminal:
        taught = teach_both(base, home, lambda curves, learned, most: None, quick=quick)
        most = max(len(one.taught) for one in taught.splits)
        screen.out.print(terminal_chart(taught.curves, width=width, height=_CHART_ROWS, most=most))
        return taught
    with Live(console=screen.out, refresh_per_second=8) as live:

        def show(curves: Sequence[Curve], learned: int, most: int) -> None:
            chart = terminal_chart(curves, width=width, height=_CHART_ROWS, most=most)
            live.update(Group(chart, Text(f"  {learned} of {most} turns learned by each", "dim")))

        return teach_both(base, home, show, quick=quick)
