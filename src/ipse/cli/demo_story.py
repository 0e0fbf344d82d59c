# SPDX-License-Identifier: Apache-2.0
"""What ``ipse demo`` does and shows, step by step: teach, judge, weigh, ask, and ask again elsewhere."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ipse.cli.curves import Curve
from ipse.cli.heldout import SHIPPED_USERS, Split, held_out_losses, shipped_conversations, split, turn_losses
from ipse.cli.opening import opened_life
from ipse.cli.screen import first_line
from ipse.cli.settings import Settings, model_arguments
from ipse.cli.told import BUDGET_FORK_BYTES, BUDGET_MS, readable_bytes
from ipse.errors import IpseError

if TYPE_CHECKING:
    from ipse.forks.home import Home
    from ipse.forks.interact import LearningReport, UserModelLifecycle
    from ipse.model.base import Base
    from ipse.model.state import PersonalState

QUESTIONS = ("Hello! How are you today?", "What do you like to do?", "Can you help me find a place to eat?")
ANSWER_TOKENS = 48
JUDGED_EVERY = 5
"""Turns between two points of a learning curve."""


SENTENCES = 2
"""Held-out turns shown of each user."""


@dataclass(frozen=True, slots=True)
class Taught:
    """Two forks after their lessons.

    Attributes:
        splits: what each user said, taught and held out.
        forks: fork ids, in the order of the splits.
        curves: held-out loss against turns learned.
        base_losses: of the bare base on each user's held-out words, nats per token.
        losses: ``[fork][user]``, the same for the forks at the end.
        sentences: (user, words, loss of the base and of each fork) of some held-out turns.
        reports: every update of both forks.
        answers: ``[fork][question]``, greedy.
        base_answers: ``[question]``, of the bare base.
        bytes_of_state: of one fork's numbers.
        numbers: in one fork.
        bytes_of_records: sealed, on disk, per fork.
        records: per fork.
    """

    splits: tuple[Split, ...]
    forks: tuple[str, ...]
    curves: tuple[Curve, ...]
    base_losses: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    sentences: tuple[tuple[str, str, tuple[float, ...]], ...]
    reports: tuple[LearningReport, ...]
    answers: tuple[tuple[str, ...], ...]
    base_answers: tuple[str, ...]
    bytes_of_state: int
    numbers: int
    bytes_of_records: tuple[int, ...]
    records: tuple[int, ...]


def teach_both(base: Base, home: Home, show: Callable[[Sequence[Curve], int, int], None], *, quick: bool) -> Taught:
    """Teach both users in turns, each after the other's message, as a server would.

    Args:
        show: called with (curves, turns learned, turns in all) whenever there is something new to draw.
        quick: every second dialogue only.
    """
    spoken = [shipped_conversations(user) for user in SHIPPED_USERS]
    splits = tuple(split(conversations[:: 2 if quick else 1]) for conversations in spoken)
    most = max(len(one.taught) for one in splits)
    with opened_life(home, base, SHIPPED_USERS[0]) as first, opened_life(home, base, SHIPPED_USERS[1]) as second:
        lives = (first, second)
        curves = _judged(base, lives, splits, tuple(Curve(one.user) for one in splits), 0)
        show(curves, 0, most)
        reports: list[LearningReport] = []
        for turn in range(most):
            reports += [r for life, one in zip(lives, splits, strict=True) if (r := _taught(life, one, turn))]
            if (turn + 1) % JUDGED_EVERY == 0 or turn + 1 == most:
                curves = _judged(base, lives, splits, curves, turn + 1)
            show(curves, turn + 1, most)
        states = [life.fork.state for life in lives]
        losses = held_out_losses(base, [None, *states], splits)
        told = {info.fork_id: info for info in home.forks()}
        forks = tuple(str(life.fork.fork_id) for life in lives)
        return Taught(
            splits=splits,
            forks=forks,
            curves=curves,
            base_losses=tuple(losses[0]),
            losses=tuple(tuple(row) for row in losses[1:]),
            sentences=tuple(row for one in splits for row in _sentences(base, states, one)),
            reports=tuple(reports),
            answers=tuple(_answers(base, state) for state in states),
            base_answers=_answers(base, None),
            bytes_of_state=states[0].z.nbytes,
            numbers=base.layout.size,
            bytes_of_records=tuple(told[life.fork.fork_id].bytes_on_disk for life in lives),
            records=tuple(told[life.fork.fork_id].records for life in lives),
        )


def _taught(life: UserModelLifecycle, one: Split, turn: int) -> LearningReport | None:
    if turn >= len(one.taught):
        return None
    interaction = one.taught[turn]
    return life.teach(interaction.turns, reply=interaction.reply)


def _judged(
    base: Base, lives: Sequence[UserModelLifecycle], splits: Sequence[Split], curves: Sequence[Curve], learned: int
) -> tuple[Curve, ...]:
    losses = held_out_losses(base, [life.fork.state for life in lives], splits)
    return tuple(curve.reached(learned, losses[own][own], losses[own][1 - own]) for own, curve in enumerate(curves))


def _sentences(base: Base, states: Sequence[PersonalState], one: Split) -> list[tuple[str, str, tuple[float, ...]]]:
    """The held-out turns that come first, as they come: none is picked for looking good."""
    shown = one.held_out[:SENTENCES]
    losses, _ = turn_losses(base, [None, *states], shown)
    return [
        (one.user, interaction.turns[-1].text, tuple(float(loss) for loss in losses[:, at]))
        for at, interaction in enumerate(shown)
    ]


def _answers(base: Base, state: PersonalState | None) -> tuple[str, ...]:
    """As ``ipse generate --greedy`` answers, so that a new process can be held to it."""
    from ipse.model.chat import Turn
    from ipse.model.generate import Sampling, generate

    prompts = [base.tokenizer.prompt([Turn("user", question)]) for question in QUESTIONS]
    sampling = Sampling(temperature=0.0, max_new_tokens=ANSWER_TOKENS)
    return tuple(reply.text for reply in generate(base, prompts, [state] * len(prompts), sampling))


def answers_in_new_process(settings: Settings, taught: Taught) -> tuple[tuple[str, ...], ...]:
    """The same questions, asked by ``ipse generate`` in processes that know only the disk.

    Raises:
        IpseError: such a process failed.
    """
    answers = []
    for fork in taught.forks:
        command = [sys.executable, "-m", "ipse.cli", "generate", *QUESTIONS, "--fork", fork, "--greedy", "--json"]
        command += ["--max-tokens", str(ANSWER_TOKENS), "--data", str(settings.data), *model_arguments(settings)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise IpseError(f"The new process failed: {said[0] if said else done.returncode}.", "Run 'ipse doctor'.")
        answers.append(tuple(answer["text"] for answer in json.loads(done.stdout)["answers"]))
    return tuple(answers)


# -- what is shown ------------------------------------------------------------------------------------


def each_is_best_at_home(taught: Taught) -> bool:
    """Whether nobody, base included, knows a user better than the user's own fork."""
    rows = [taught.base_losses, *taught.losses]
    return all(min(row[own] for row in rows) == losses[own] for own, losses in enumerate(taught.losses))


def cross_table(taught: Taught) -> Table:
    """Loss of base and forks on each user's held-out words; the best of each column is marked."""
    users = [one.user for one in taught.splits]
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("loss, nats per token")
    for one in taught.splits:
        table.add_column(f"{one.user}'s words ({len(one.held_out)} turns)", justify="right")
    rows = [("the base", taught.base_losses)]
    rows += [(f"{user}'s fork", losses) for user, losses in zip(users, taught.losses, strict=True)]
    best = [min(row[1][column] for row in rows) for column in range(len(users))]
    for name, losses in rows:
        cells = [
            Text(f"{loss:.2f}", "bold green" if loss == best[column] else "") for column, loss in enumerate(losses)
        ]
        table.add_row(name, *cells)
    return table


def sentences_table(taught: Taught) -> Table:
    """Some held-out turns, word for word, and how expected they are."""
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("loss, nats per token", overflow="fold")
    for name in ("the base", *(f"{one.user}'s fork" for one in taught.splits)):
        table.add_column(name, justify="right", no_wrap=True)
    for _, words, losses in taught.sentences:
        best = min(losses)
        cells = [Text(f"{loss:.2f}", "bold green" if loss == best else "") for loss in losses]
        table.add_row(Text(first_line(words, 120), "dim"), *cells)
    return table


def answers_table(taught: Taught) -> Table:
    """The same questions to the base and to both forks."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "the base", *(f"{one.user}'s fork" for one in taught.splits)):
        table.add_column(name, ratio=1, overflow="fold")
    for at, question in enumerate(QUESTIONS):
        cells = [taught.base_answers[at], *(answers[at] for answers in taught.answers)]
        table.add_row(Text(question, "dim"), *(first_line(cell, 200) for cell in cells))
    return table


def memory_table(taught: Taught) -> Table:
    """Bytes of a fork beside the proposal's budget."""
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    for name in ("", "numbers", "state", "sealed records", "a record", "HIP-6's budget"):
        table.add_column(name, justify="right" if name else "left")
    for one, size, count in zip(taught.splits, taught.bytes_of_records, taught.records, strict=True):
        table.add_row(
            f"{one.user}'s fork",
            f"{taught.numbers:,}",
            readable_bytes(taught.bytes_of_state),
            readable_bytes(size),
            readable_bytes(round(size / max(1, count))),
            Text(readable_bytes(BUDGET_FORK_BYTES), "dim"),
        )
    return table


def milliseconds_table(taught: Taught) -> Table:
    """Median milliseconds of each phase beside the proposal's budget."""
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column(f"median of {len(taught.reports)} updates")
    for name in BUDGET_MS:
        table.add_column(name.removesuffix("_ms"), justify="right")
    medians = milliseconds(taught)
    table.add_row("here", *(f"{medians[name]:.1f} ms" for name in BUDGET_MS))
    table.add_row("HIP-6's budget", *(f"{budget} ms" for budget in BUDGET_MS.values()), style="dim")
    return table


def milliseconds(taught: Taught) -> dict[str, float]:
    """Median of each phase."""
    return {name: statistics.median(getattr(report, name) for report in taught.reports) for name in BUDGET_MS}


def demo_json(taught: Taught, *, same: bool, picture: Path) -> dict[str, Any]:
    """Everything shown, for programs."""
    users = [one.user for one in taught.splits]
    return {
        "users": [
            {
                "user": one.user,
                "fork": fork,
                "taught_turns": len(one.taught),
                "held_out_turns": len(one.held_out),
                "loss_before": before,
                "losses_after": dict(zip(users, losses, strict=True)),
                "curve": curve.points,
                "bytes_of_records": size,
                "records": count,
                "answers": dict(zip(QUESTIONS, answers, strict=True)),
            }
            for one, fork, before, losses, curve, size, count, answers in zip(
                taught.splits,
                taught.forks,
                taught.base_losses,
                taught.losses,
                taught.curves,
                taught.bytes_of_records,
                taught.records,
                taught.answers,
                strict=True,
            )
        ],
        "base_answers": dict(zip(QUESTIONS, taught.base_answers, strict=True)),
        "bytes_of_state": taught.bytes_of_state,
        "numbers": taught.numbers,
        "milliseconds": milliseconds(taught),
        "each_is_best_at_home": each_is_best_at_home(taught),
        "same_answers_after_restart": same,
        "picture": picture,
    }
