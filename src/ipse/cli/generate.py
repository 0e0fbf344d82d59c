# SPDX-License-Identifier: Apache-2.0
"""``ipse generate``: one answer a prompt, nothing learned, nothing recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ipse.cli.interrupts import Interruptible
from ipse.cli.opening import existing_fork, open_base, opened_home, opened_life
from ipse.cli.screen import Screen, first_line
from ipse.cli.settings import DEFAULT_OWNER, Settings, model_options
from ipse.errors import InputError
from ipse.forks.message import clean_message

if TYPE_CHECKING:
    from ipse.forks.fork import ModelFork
    from ipse.model.base import Base
    from ipse.model.generate import Sampling


@click.command(
    epilog="""\b
Examples:
  ipse generate "Hello! How are you?"
  ipse generate --fork ada --greedy "Where do we sail?" "Who is Biscuit?"
  echo "Hello!" | ipse generate --bare -
""",
)
@click.argument("prompts", metavar="PROMPT...", nargs=-1, required=True)
@click.option(
    "--fork", "--owner", "fork", metavar="OWNER|ID", help=f"Whose fork.  [default: {DEFAULT_OWNER}, if it is there]"
)
@click.option("--bare", is_flag=True, help="Ask the base itself, without any fork.")
@click.option("--greedy", is_flag=True, help="Always the likeliest token: the same answer every time.")
@click.option("--temperature", type=click.FloatRange(0.0, 10.0), help="0 is greedy.")
@click.option(
    "--top-p", type=click.FloatRange(0.0, 1.0, min_open=True), help="Keep the likeliest tokens that make up this share."
)
@click.option("--max-tokens", type=click.IntRange(1), help="At most so many new tokens.")
@click.option("--seed", type=int, help="For the same draw again.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@model_options
def generate(
    settings: Settings,
    prompts: tuple[str, ...],
    fork: str | None,
    bare: bool,
    greedy: bool,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    seed: int | None,
    stop: tuple[str, ...],
) -> None:
    """Answer each PROMPT by itself, learning nothing. '-' reads one prompt from standard input."""
    from ipse.model.generate import usual_sampling

    screen = Screen(as_json=settings.as_json)
    texts = [clean_message(_from_stdin() if prompt == "-" else prompt) for prompt in prompts]
    asked: dict[str, Any] = {"stop": stop, "seed": seed}
    asked |= {"max_new_tokens": max_tokens, "temperature": 0.0 if greedy else temperature, "top_p": top_p}

    def sampling(base: Base) -> Sampling:
        given = {name: value for name, value in asked.items() if value is not None}
        return replace(usual_sampling(base), **given)

    if bare or (fork is None and not settings.data.exists()):
        base = open_base(settings, screen)
        _answer(screen, base, texts, sampling(base), fork=None)
        return
    with opened_home(settings, create=False) as home:
        info = home.find(DEFAULT_OWNER) if fork is None else existing_fork(home, fork)
        base = open_base(settings, screen)
        if info is None:
            _answer(screen, base, texts, sampling(base), fork=None)
            return
        with opened_life(home, base, info.owner, fork_id=info.fork_id) as life:
            _answer(screen, base, texts, sampling(base), fork=life.fork)


def _answer(screen: Screen, base: Base, texts: Sequence[str], sampling: Sampling, *, fork: ModelFork | None) -> None:
    """All prompts in one batch; a single one streams."""
    from ipse.model.chat import Turn
    from ipse.model.generate import generate as generate_batch

    streams = len(texts) == 1 and not screen.as_json
    started = time.perf_counter()
    with Interruptible() as stop:
        replies = generate_batch(
            base,
            [base.tokenizer.prompt([Turn("user", text)]) for text in texts],
            [fork.state if fork is not None else None] * len(texts),
            sampling,
            on_text=(lambda _, piece: screen.stream(piece)) if streams else None,
            cancelled=stop,
        )
    milliseconds = (time.perf_counter() - started) * 1000
    if screen.as_json:
        screen.json(
            {
                "fork": fork.fork_id if fork is not None else None,
                "height": fork.fork_height if fork is not None else 0,
                "base": base.reference.base_id,
                "answers": [
                    {"prompt": text, "text": reply.text, "finish": reply.finish, "tokens": list(reply.tokens)}
                    for text, reply in zip(texts, replies, strict=True)
                ],
                "total_ms": milliseconds,
            }
        )
    elif streams:
        screen.out.print()
    else:
        for text, reply in zip(texts, replies, strict=True):
            screen.quiet(f"› {first_line(text, 100)}")
            screen.say(reply.text)
    if stop():
        raise KeyboardInterrupt


def _from_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(
            f"Standard input is not UTF-8 (byte 0x{data[error.start]:02x} at {error.start}).", "Send UTF-8 text."
        ) from error
