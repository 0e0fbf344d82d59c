# SPDX-License-Identifier: Apache-2.0
"""The training loop: resumable at any moment, constant rate and then decay.

The learning rate warms up for a few steps (the optimiser starts without history), stays constant, and then
falls in a straight line over the last part of the run (WSD). Nothing has to be known beforehand about how long
the constant part is, so a run can be prolonged. Late in the run rows become longer, which costs more time a
token but teaches the model to look far back.

Progress is counted in steps or in minutes of training, whichever the plan names; time spent killed does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config
import torch.nn.functional as F

from tools.base.corpus import Cursor, Ids, Mixture
from tools.base.network import BF16, Network, from_directory, head_loss, to_llama
from tools.base.optimiser import Optimiser
from tools.base.threads import Threads


@dataclass(frozen=True)
class Plan:
    """How long to train, and how. Fractions are of the whole run."""

    minutes: float | None = None
    steps: int | None = None
    batch_tokens: int = 8192
    row_tokens: int = 256
    long_row_tokens: int = 512
    micro_tokens: int = 2048
    peak: float = 1.0
    warmup_steps: int = 40
    decay_from: float = 0.4
    long_from: float = 0.88
    floor: float = 0.005
    save_seconds: float = 150.0
    score_seconds: float = 600.0
    compiled: bool = True
    threads: int = 2

    def done(self, step: int, seconds: float) -> float:
        """The part of the run behind us, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        if self.minutes is not None:
            return min(1.0, seconds / (60 * self.minutes))
        raise ValueError("Expected minutes or steps in the plan, got neither; pass one")

    def scale(self, step: int, done: float) -> float:
        """The learning rate as a part of the full one."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        if done < self.decay_from:
            return self.peak * warm
        return self.peak * warm * max(self.floor, (1 - done) / (1 - self.decay_from))


@dataclass
class Place:
    """How far a run has come; saved with the weights."""

    step: int = 0
    seconds: float = 0.0
    epoch: int = 0
    offset: int = 0


@torch.no_grad()
def held_loss(network: Network, streams: Mapping[str, Ids], limit: int | None = None) -> dict[str, tuple[float, int]]:
    """Mean loss (nats a token) and number of scored tokens of each held-out stream, in windows of 256."""
    head = network.embedding.to(BF16)
    out = {}
    for source, stream in streams.items():
        ids = stream[:limit].astype(np.int64)
        total, count = 0.0, 0
        for i in range(0, len(ids) - 64, 256):
            row = torch.from_numpy(ids[i : i + 257])
            logits = F.linear(network(row[None, :-1])[0], head).float()
            total += F.cross_entropy(logits, row[1:], reduction="sum").item()
            count += len(row) - 1
        if count:
            out[source] = (total / count, count)
    return out


def pooled(losses: Mapping[str, tuple[float, int]]) -> float:
    """The mean over all tokens of the real sources; own generators (``own-*``) do not count."""
    real = [v for source, v in losses.items() if not source.startswith("own")]
    return sum(loss * n for loss, n in real) / max(1, sum(n for _, n in real))


class Run:
    """One training run in a directory: ``state/`` to go on from, ``log.jsonl`` to watch."""

    def __init__(self, init: Path, out: Path, plan: Plan, mixture: Mixture, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.init, self.out, self.plan, self.mixture = init, out, plan, mixture
        self.state = out / "state"
        out.mkdir(parents=True, exist_ok=True)
        if not self.state.exists() and (out / "state.old").exists():  # killed between the two renames of save()
            os.rename(out / "state.old", self.state)
        resumed = self.state.exists()
        self.network = from_directory(self.state if resumed else init)
        self.optimiser = Optimiser(self.network)
        self.place = Place()
        if resumed:
            self.optimiser.load(torch.load(self.state / "optimiser.pt", weights_only=True))
            self.place = Place(**json.loads((self.state / "place.json").read_text()))
        torch._inductor.config.cpp.dynamic_threads = True  # compiled loops ask for the number of threads each time
        self._threads = Threads(plan.threads)
        self._hidden: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(self.network, dynamic=False) if plan.compiled else self.network
        )
        self.log(event="resumed" if resumed else "started", step=self.place.step)

    def log(self, **line: object) -> None:
        """Print a progress line and keep it."""
        text = json.dumps({"minute": round(self.place.seconds / 60, 2), **line})
        print(text, flush=True)
        with open(self.out / "log.jsonl", "a") as f:
            f.write(text + "\n")

    def save(self) -> None:
        """Write weights (a usable Hugging Face directory), optimiser and place; the old ones stay until the end."""
        fresh, old = self.out / "state.new", self.out / "state.old"
        for stale in (fresh, old):
            shutil.rmtree(stale, ignore_errors=True)
        to_llama(self.network).save_pretrained(fresh)
        for path in self.init.iterdir():
            if path.name.startswith(("token", "chat_template")):
                shutil.copy(path, fresh / path.name)
        torch.save(self.optimiser.state(), fresh / "optimiser.pt")
        (fresh / "place.json").write_text(json.dumps(asdict(self.place)))
        if self.state.exists():
            os.rename(self.state, old)
        os.rename(fresh, self.state)
        shutil.rmtree(old, ignore_errors=True)

    def step(self) -> float:
        """One optimiser step over ``batch_tokens`` tokens; returns its loss."""
        plan, place = self.plan, self.place
        done = plan.done(place.step, place.seconds)
        length = plan.long_row_tokens if done >= plan.long_from else plan.row_tokens
        cursor = Cursor(place.epoch, place.offset)
        rows = torch.from_numpy(cursor.take(self.mixture, plan.batch_tokens // length, length))
        parts = rows.split(max(1, plan.micro_tokens // length))
        loss = 0.0
        for part in parts:
            x = self._hidden(part[:, :-1].contiguous())
            target = part[:, 1:].reshape(-1)
            mean = head_loss(x.reshape(len(target), -1), self.network.embedding, target) / len(parts)
            mean.backward()
            loss += float(mean.detach())
        if place.step < plan.warmup_steps:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step(plan.scale(place.step, done))
        place.step, place.epoch, place.offset = place.step + 1, cursor.epoch, cursor.offset
        return loss

    def score(self, streams: Mapping[str, Ids], limit: int | None) -> None:
        """Log the held-out losses."""
        losses = held_loss(self.network, streams, limit)
        by_source = {source: round(loss, 3) for source, (loss, _) in losses.items()}
        self.log(step=self.place.step, held_out=round(pooled(losses), 4), by_source=by_source)

    def train(self, streams: Mapping[str, Ids]) -> Network:
        """Train to the end of the plan, saving and scoring on the way."""
        plan, place = self.plan, self.place
        smooth: float | None = None
        saved = scored = time.monotonic()
        while plan.done(place.step, place.seconds) < 1:
            began = time.monotonic()
            loss = self.step()
            smooth = loss if smooth is None else 0.97 * smooth + 0.03 * loss
            now = time.monotonic()
            place.seconds += now - began
            self._threads.adapt()
            if place.step % 20 == 0:
                speed = round(plan.batch_tokens / (now - began))
                done = plan.done(place.step, place.seconds)
                self.log(
                    step=place.step,
                    loss=round(smooth, 4),
                    rate=round(plan.scale(place.step, done), 3),
                    tokens_per_second=speed,
                    threads=self._threads.now,
                    epoch=place.epoch,
                )
            if now - saved > plan.save_seconds:
                self.save()
                saved = time.monotonic()
            if now - scored > plan.score_seconds:
                self.score(streams, 16_384)
                scored = time.monotonic()
        self.save()
        self.score(streams, None)
        return self.network
