# SPDX-License-Identifier: Apache-2.0
"""``ipse replay``: teach a fork from conversations that were held elsewhere."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipse.cli.interrupts import Interruptible
from ipse.cli.opening import open_base, opened_home, opened_life
from ipse.cli.screen import Screen, counting_bar
from ipse.cli.settings import Settings, fork_option, model_options
from ipse.errors import InputError, MessageTooLong

if TYPE_CHECKING:
    from ipse.forks.interact import UserModelLifecycle
    from ipse.forks.transcripts import Conversation, Interaction

OP_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Summary:
    """What a replay did.

    Attributes:
        conversations, turns: in the file, for this user.
        learned: taught now.
        known: learned by an earlier run, left alone.
        skipped: longer than the base's window.
        first_loss, last_loss: mean loss on the user's words before learning them, over the first and the last
            fifth of what was taught now, in nats per token; None when nothing was.
        median_ms: of one interaction; None when nothing was taught.
        height: of the fork afterwards: updates in its sum.
        stopped: whether Ctrl-C ended it before the file did.
    """

    conversations: int
    turns: int
    learned: int
    known: int
    skipped: int
    first_loss: float | None
    last_loss: float | None
    median_ms: float | None
    height: int
    stopped: bool


@click.command(
    epilog="""\b
Examples:
  ipse replay conversations.json          what ChatGPT exports
  ipse replay examples/ada.jsonl --fork ada
  ipse replay users.jsonl --user d54d94288c87 --fork d54d
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@fork_option
@click.option("--user", help="Whose conversations, when the file holds those of several users.")
@model_options
def replay(settings: Settings, file: Path, fork: str, user: str | None) -> int:
    """Teach a fork from exported conversations, in order.

    Reads our JSONL, OpenAI messages JSON and ChatGPT's conversations.json. Stop it whenever you like: the same
    command goes on where it stopped, and no turn is learned twice.
    """
    from ipse.forks.transcripts import read_transcripts

    screen = Screen(as_json=settings.as_json)
    conversations = of_one_user(read_transcripts(file), user)
    with opened_home(settings, create=True) as home:
        base = open_base(settings, screen)
        with opened_life(home, base, fork) as life:
            summary = teach_all(life, conversations, screen)
    screen.result(asdict(summary), "\n".join(summary_lines(summary)))
    return 130 if summary.stopped else 0


def of_one_user(conversations: Sequence[Conversation], user: str | None) -> list[Conversation]:
    """The conversations to teach: a fork has one owner.

    Raises:
        InputError: the file holds several users and none was chosen, or not the chosen one.
    """
    users = sorted({conversation.user for conversation in conversations})
    if user is None:
        if len(users) > 1:
            some = ", ".join(users[:5])
            raise InputError(f"The file holds {len(users)} users: {some}, ...", "Choose one with --user.")
        return list(conversations)
    chosen = [conversation for conversation in conversations if conversation.user == user]
    if not chosen:
        raise InputError(f"The file holds nothing of user {user}.", f"It holds: {', '.join(users[:5])}.")
    return chosen


def operation_id(fork_id: str, interaction: Interaction) -> bytes:
    """16 bytes that name this interaction in this fork: recorded once, it is known in every later run."""
    return hashlib.sha256(b"ipse replay 1\x00" + fork_id.encode() + interaction.digest).digest()[:OP_ID_BYTES]


def teach_all(life: UserModelLifecycle, conversations: Sequence[Conversation], screen: Screen) -> Summary:
    """Teach every interaction that this fork does not know yet, until the end or Ctrl-C."""
    interactions = [interaction for conversation in conversations for interaction in conversation.interactions]
    known = skipped = 0
    losses: list[float] = []
    times: list[float] = []
    with Interruptible() as stop, counting_bar(screen) as bar:
        for interaction in bar.track(interactions, description="learning"):
            if stop():
                break
            op_id = operation_id(life.fork.fork_id, interaction)
            try:
                report = life.teach(interaction.turns, reply=interaction.reply, op_id=op_id)
            except MessageTooLong:
                skipped += 1
                continue
            if report is None:
                known += 1
            else:
                losses.append(report.loss_before)
                times.append(report.total_ms)
        stopped = stop()
    fifth = max(1, len(losses) // 5)
    return Summary(
        conversations=len(conversations),
        turns=len(interactions),
        learned=len(losses),
        known=known,
        skipped=skipped,
        first_loss=statistics.fmean(losses[:fifth]) if losses else None,
        last_loss=statistics.fmean(losses[-fifth:]) if losses else None,
        median_ms=statistics.median(times) if times else None,
        height=life.fork.fork_height,
        stopped=stopped,
    )


def summary_lines(summary: Summary) -> list[str]:
    """A summary for people."""
    lines = [
        f"{summary.turns} turns of {summary.conversations} conversations: {summary.learned} learned"
        f", {summary.known} known before, {summary.skipped} too long for the window"
    ]
    if summary.first_loss is not None and summary.last_loss is not None:
        change = f"{summary.first_loss:.2f} at first, {summary.last_loss:.2f} at last"
        lines.append(f"loss on your words before learning them: {change} · {summary.median_ms:.0f} ms a turn")
    lines.append(f"the fork's height is {summary.height} now")
    if summary.stopped:
        lines.append("stopped by Ctrl-C: run the same command again to go on")
    return lines
