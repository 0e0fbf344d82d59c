# SPDX-License-Identifier: Apache-2.0
"""One-shot corrections: a fresh fork is told one fact by one edit, and asked again in its next session.

Asked twice: with its memory, and by weights alone (nothing of earlier sessions in the context). A fact counts
as recalled if the whole answer stands in the reply, word for word, greedily decoded. Collateral is what the
edit costs on the general set, in nats a token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from _judge import fork_losses, mean_nats
from facts import Fact

from ipse.forks.home import Home
from ipse.forks.interact import UserInput, UserModelLifecycle
from ipse.model.base import Base
from ipse.model.generate import Sampling
from ipse.model.gradient import Example

GREEDY = Sampling(temperature=0.0, max_new_tokens=48)


def correct(base: Base, facts: Sequence[Fact], general: Sequence[Example]) -> list[dict[str, object]]:
    """One fork and one edit for each fact: a row each."""
    before = mean_nats(fork_losses(base, None), general)
    rows = []
    for number, fact in enumerate(facts):
        with tempfile.TemporaryDirectory(prefix="ipse-bench-") as folder, Home.open(Path(folder)) as home:
            owner = f"fact{number}"
            life = UserModelLifecycle(home, base, owner, sampling=GREEDY)
            life.interact(UserInput(fact.question))
            report = life.edit(fact.answer)
            state = life.state
            life.close()
            replies = {
                name: _asked_again(home, base, owner, fact, use_memory)
                for name, use_memory in (("memory", True), ("weights", False))
            }
        rows.append(
            {
                "question": fact.question,
                "answer": fact.answer,
                **{f"{name}_recalled": fact.answer in reply for name, reply in replies.items()},
                **{f"{name}_reply": reply for name, reply in replies.items()},
                "inner_steps": report.inner_steps,
                "learn_ms": report.total_ms,
                "collateral_nats": mean_nats(fork_losses(base, state), general) - before,
            }
        )
    return rows


def _asked_again(home: Home, base: Base, owner: str, fact: Fact, use_memory: bool) -> str:
    """The reply of a new session that learns nothing."""
    life = UserModelLifecycle(home, base, owner, sampling=GREEDY, use_memory=use_memory)
    life.incognito = True
    return " ".join(life.interact(UserInput(fact.question)).text.split())
