# SPDX-License-Identifier: Apache-2.0
"""The peer: a LoRA of PEFT's for every user, on all seven projections, at its best settings.

``_lora_users`` teaches many users' LoRAs in one batch; that it is PEFT with torch's AdamW, step by
step, is what `tests/benchmarks/test_lora_peer.py` shows. Here the peer's settings are chosen, in its favour:
the best of four learning rates for each of two optimisers (AdamW, and the normalised step that forks take),
by the gain of judged users on their held-out words. With ``--peft`` a few users are taught by PEFT itself.

alpha is twice the rank, as is usual.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from _frozen_llama import freeze_llama
from _lora_users import LoraSettings, LoraShape
from _report import machine, parser, report, tell
from _users import MARKS, JudgedUser, read_users

from ipse.model.base import load_base
from ipse.model.gradient import Example

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Optimiser = Literal["adamw", "normalised"]

GRID: dict[Optimiser, tuple[float, ...]] = {
    "adamw": (5e-4, 1e-3, 2e-3, 4e-3),
    "normalised": (0.1, 0.2, 0.4, 0.8),
}
"""Learning rates that are tried."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run the peer."""

    rank: int
    optimiser: Optimiser
    learning_rate: float


def choices(rank: int, optimisers: Sequence[Optimiser] = tuple(GRID)) -> list[Choice]:
    """All that are tried at a rank."""
    return [Choice(rank, optimiser, rate) for optimiser in optimisers for rate in GRID[optimiser]]


def lora_settings(choice: Choice) -> LoraSettings:
    """The batched trainer's settings for a choice."""
    return LoraSettings(
        rank=choice.rank,
        alpha=2.0 * choice.rank,
        optimiser=choice.optimiser,
        learning_rate=choice.learning_rate,
    )


class PeftUser:
    """One user's LoRA in PEFT with torch's AdamW: the reference.

    Args:
        directory: of the base, as transformers loads it.
        start: the initial numbers (d,) as `LoraShape` lays them out; PEFT's own draw if left out.
    """

    def __init__(self, directory: Path, choice: Choice, start: torch.Tensor | None = None) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.shape = LoraShape(freeze_llama(base).sites(), choice.rank)
        settings = lora_settings(choice)
        self.model: Any = get_peft_model(
            base,
            LoraConfig(
                r=choice.rank,
                lora_alpha=round(settings.scale * choice.rank),
                lora_dropout=0.0,
                target_modules=list(MODULES),
                task_type="CAUSAL_LM",
            ),
        )
        if start is not None:
            self._put(start)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.AdamW(trained, lr=choice.learning_rate)

    def loss(self, example: Example) -> torch.Tensor:
        """Weighted mean nats a token."""
        tokens = torch.tensor([example.tokens])
        weights = torch.tensor(example.weights)[1:]
        logits = self.model(tokens).logits[0, :-1].float()
        nats = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
        return (nats * weights).sum() / weights.abs().sum()

    def step(self, example: Example) -> None:
        """One interaction."""
        self._optimiser.zero_grad()
        self.loss(example).backward()
        self._optimiser.step()

    def numbers(self) -> torch.Tensor:
        """(d,) as `LoraShape` lays them out."""
        return torch.cat([weight.detach().flatten() for weight in self._weights()])

    def _put(self, start: torch.Tensor) -> None:
        at = 0
        with torch.no_grad():
            for weight in self._weights():
                weight.copy_(start[at : at + weight.numel()].view_as(weight))
                at += weight.numel()

    def _weights(self) -> list[torch.Tensor]:
        """PEFT's A and B in the order of the shape: for each site all A, then each B."""
        found = []
        for site in self.shape.sites:
            layer = self.model.base_model.model.model.layers[int(site.name.split(".")[1])]
            modules = [getattr(layer.self_attn if hasattr(layer.self_attn, n) else layer.mlp, n) for n, _ in site.parts]
            found += [module.lora_A["default"].weight for module in modules]
            found += [module.lora_B["default"].weight for module in modules]
        return found


def mean_loss(user: PeftUser, examples: Sequence[Example]) -> float:
    """Nats a token over the words that count."""
    with torch.inference_mode():
        nats = [(float(user.loss(e)), sum(map(abs, e.weights[1:]))) for e in examples]
    return sum(loss * words for loss, words in nats) / sum(words for _, words in nats)


def judge_by_peft(
    users: Sequence[JudgedUser], directory: Path, choice: Choice, marks: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Users taught by PEFT itself, one after the other: a row each."""
    rows = []
    for user in users:
        torch.manual_seed(seed)
        started = time.perf_counter()
        peer = PeftUser(directory, choice)
        before = mean_loss(peer, user.held_out)
        row: dict[str, Any] = {"user": user.name, "base_nats": before}
        for step, example in enumerate(user.online[: max(marks)], 1):
            peer.step(example)
            if step in marks:
                row[f"gain_{step}"] = before - mean_loss(peer, user.held_out)
        row["seconds"] = time.perf_counter() - started
        rows.append(row)
        tell(f"peft: {len(rows)} of {len(users)} users")
    return rows


def main() -> None:
    """Teach a few users, and report their gains."""
    made = parser(__doc__.split("\n\n")[0])
    made.add_argument("--users", type=Path, required=True, metavar="FILE", help="transcripts")
    made.add_argument("--peft", action="store_true", help="teach by PEFT itself, not by the batched equivalent")
    made.add_argument("--max-users", type=int, default=6)
    made.add_argument("--rank", type=int, default=8)
    made.add_argument("--optimiser", choices=tuple(GRID), default="adamw")
    made.add_argument("--learning-rate", type=float, default=2e-3)
    made.add_argument("--seed", type=int, default=0)
    arguments = made.parse_args()
    torch.set_num_threads(1)
    base = load_base(arguments.base, basis="svd")
    marks = (1, 10) if arguments.quick else MARKS
    users = read_users(arguments.users, base.tokenizer, marks=marks, held_out=8 if arguments.quick else 40)
    long = sorted(users, key=lambda user: -len(user.online))[: 2 if arguments.quick else arguments.max_users]
    choice = Choice(arguments.rank, arguments.optimiser, arguments.learning_rate)
    if arguments.peft:
        rows = judge_by_peft(long, base.directory, choice, marks, arguments.seed)
    else:
        from _judge import Task, judge_loras

        curves = judge_loras(freeze_llama(base.module()), Task(long, marks), lora_settings(choice), arguments.seed)
        rows = [
            {"user": c.user, "base_nats": c.base, **{f"gain_{m}": g for m, g in zip(marks, c.gains, strict=True)}}
            for c in curves
        ]
    figures = {f"gain_{mark}": statistics.mean(row[f"gain_{mark}"] for row in rows) for mark in marks}
    settings = {"choice": f"{choice}", "alpha": 2 * choice.rank, "by": "peft" if arguments.peft else "batched"}
    report(arguments, "lora", machine=machine(1), settings=settings, rows=rows, figures=figures)


if __name__ == "__main__":
    main()
