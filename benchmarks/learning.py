# SPDX-License-Identifier: Apache-2.0
"""Do forks learn their users? Gain on held-out words, beside LoRA, a memory, and nothing.

Per user, in order, the first 80% of the dialogues are lived through online, one step an interaction; the rest
is held out. The gain is the base's loss less the fork's on the user's own held-out words, nats a token, the
mean over users, after 1, 10, 50, 100 and 200 interactions. Everything is given twice: total, over the base;
and personal, over the same base with the public users' mean change merged, which is what a fork may call its
own. No user is judged with a basis or mean that was fitted on them (see _folds.py).

Methods: population and svd (forks), lora4 and lora8 (per-user LoRA on all seven projections at its best of
four learning rates for each of two optimisers, chosen on judged users), memory, population+memory, edits.

A run may be made in parts: jobs that are done are kept in the parts folder, and are not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _folds import Group, deal
from _frozen_llama import freeze_llama
from _gains import AIMS, figures_of, rows_of
from _jobs import Job, Place, run, run_edits
from _judge import Curve
from _lora_users import LoraShape
from _report import machine, parser, report, tell
from _users import MARKS, JudgedUser, read_users, spread
from lora import GRID, Choice, Optimiser, choices

from ipse.learning.coordinates import SPEECH
from ipse.model.base import Base, load_base

METHODS = ("population", "svd", "lora4", "lora8", "memory", "population+memory", "edits", "strangers")
SETTINGS = ("total", "personal")
EXAMPLES = tuple(sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.jsonl")))
STRANGERS = "users of another population than that of --users; the examples of this repository if left out"
LONG = 50
"""Interactions that a user needs to help choose the peer's learning rate or to be judged with a memory."""


class Pool:
    """Workers of one thread each."""

    def __init__(self, place: Place, workers: int) -> None:
        self._place = place
        self._pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        self._started = time.perf_counter()

    def run(self, jobs: Sequence[Job], place: Place | None = None) -> dict[Job, list[Curve]]:
        """Do all jobs, the largest first."""
        waiting: dict[Future[list[Curve]], Job] = {}
        for job in sorted(jobs, key=lambda job: -len(job.names) * max(job.marks)):
            waiting[self._pool.submit(run, job, place or self._place)] = job
        found = {}
        for done in as_completed(waiting):
            job = waiting[done]
            found[job] = done.result()
            tell(f"{len(found)}/{len(waiting)} {job.label} {_brief(found[job])} ({self.seconds:.0f} s)")
        return found

    def edits(self, count: int, seed: int, pieces: int) -> list[dict[str, Any]]:
        """Rows of `count` one-shot corrections."""
        cuts = [round(i * count / pieces) for i in range(pieces + 1)]
        parts = [self._pool.submit(run_edits, self._place, seed, a, b) for a, b in pairwise(cuts) if a < b]
        rows = [row for part in parts for row in part.result()]
        tell(f"{len(rows)} edits ({self.seconds:.0f} s)")
        return rows

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    def close(self) -> None:
        """Let the workers go."""
        self._pool.shutdown(cancel_futures=True)


def _brief(curves: Sequence[Curve]) -> str:
    if not curves:
        return "fitted"
    return f"gain {statistics.mean(curve.gains[-1] for curve in curves):.3f}"


def _arguments() -> argparse.Namespace:
    made = parser(__doc__.split("\n\n")[0])
    made.add_argument("--users", type=Path, required=True, metavar="FILE", help="transcripts, plain, .xz or .gz")
    made.add_argument("--strangers", type=Path, nargs="*", metavar="FILE", default=None, help=STRANGERS)
    made.add_argument("--general", type=Path, metavar="FILE", help="corpus whose hold-out is the general set")
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--folds", type=int, default=3)
    made.add_argument("--max-users", type=int, default=None, metavar="N")
    made.add_argument("--sweep-users", type=int, default=10, metavar="N", help="that the peer's settings are chosen on")
    made.add_argument("--memory-users", type=int, default=20, metavar="N")
    made.add_argument("--edits", type=int, default=50, metavar="N")
    made.add_argument("--held-out", type=int, default=40, metavar="N", help="most held-out interactions of a user")
    made.add_argument("--fit-interactions", type=int, default=60, metavar="N", help="of each public user in a fold")
    made.add_argument("--fit-speech", type=int, default=SPEECH, metavar="N", help="drawn for a basis' curvature")
    made.add_argument("--fork-dtype", choices=("bfloat16", "float32"), default="float32")
    made.add_argument("--peer-dtype", choices=("bfloat16", "float32"), default="bfloat16")
    made.add_argument("--optimisers", nargs="+", choices=tuple(GRID), default=list(GRID), help="tried for the peer")
    made.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    made.add_argument("--parts", type=Path, default=None, metavar="DIR", help="keep finished jobs here")
    arguments = made.parse_args()
    if arguments.strangers is None:
        arguments.strangers = list(EXAMPLES)
    if arguments.quick:
        arguments.seeds, arguments.folds, arguments.max_users = arguments.seeds[:1], 2, 4
        arguments.held_out, arguments.fit_interactions, arguments.edits = 4, 8, 2
        arguments.memory_users, arguments.sweep_users, arguments.fit_speech = 2, 0, 64
    return arguments


def main() -> None:
    """Plan, run, and report."""
    arguments = _arguments()
    torch.set_num_threads(1)
    base = load_base(arguments.base, basis=arguments.basis)
    marks = (1, 2, 4, 6, 8) if arguments.quick else MARKS
    users = read_users(arguments.users, base.tokenizer, most=arguments.max_users, marks=marks)
    tell(f"{len(users)} users, {sum(len(user.online) for user in users)} interactions")
    with tempfile.TemporaryDirectory(prefix="ipse-bench-") as scratch:
        parts = arguments.parts or Path(scratch)
        parts.mkdir(parents=True, exist_ok=True)
        place = Place(
            base=arguments.base,
            basis=arguments.basis,
            users=(arguments.users.resolve(),),
            general=arguments.general and arguments.general.resolve(),
            parts=parts.resolve(),
            held_out=arguments.held_out,
            fork_dtype=arguments.fork_dtype,
            peer_dtype=arguments.peer_dtype,
            fit_interactions=arguments.fit_interactions,
            fit_speech=arguments.fit_speech,
            contents=_contents(base, [arguments.users, *arguments.strangers, arguments.general]),
            basis_digest=base.basis.digest,
        )
        pool = Pool(place, arguments.workers)
        try:
            plan = Plan(arguments, place, base, users, marks)
            curves, chosen, edits = plan.run(pool)
        finally:
            pool.close()
    numbers = numbers_of(base)
    report(
        arguments,
        "learning",
        machine={**machine(1), "workers": arguments.workers},
        settings={
            "base": base.reference.base_id,
            "basis": f"{base.basis.kind} rank {base.basis.rank}",
            "users": len(users),
            "users_seen_by_the_basis": sum(user.digest in base.basis.fitted_on for user in users),
            "marks": list(marks),
            "seeds": arguments.seeds,
            "folds": arguments.folds,
            "fork_dtype": arguments.fork_dtype,
            "peer_dtype": arguments.peer_dtype,
            "peer": {name: f"{choice}" for name, choice in chosen.items()},
            "general_set": "corpus hold-out" if arguments.general else "package",
            "quick": arguments.quick,
            "seconds": round(pool.seconds),
        },
        rows=rows_of(curves, marks, numbers),
        figures=figures_of(curves, marks, numbers, edits),
        aims=AIMS,
    )


def _contents(base: Base, files: Sequence[Path | None]) -> str:
    digest = hashlib.sha256(base.reference.digest.encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes() if file else b"").digest())
    return digest.hexdigest()


def numbers_of(base: Base) -> dict[str, int]:
    """Personal numbers of one user, by method."""
    sites = freeze_llama(base.module()).sites()
    forks = base.layout.size
    return {"population": forks, "svd": forks, **{f"lora{rank}": LoraShape(sites, rank).size for rank in (4, 8)}}


Curves = Mapping[tuple[str, str], list[Curve]]
"""(method, setting) -> one curve for each user and seed."""


class Plan:
    """Which jobs a run consists of, in the order in which they need each other."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        place: Place,
        base: Base,
        users: Sequence[JudgedUser],
        marks: tuple[int, ...],
    ) -> None:
        self._arguments, self._place, self._users, self._marks = arguments, place, users, marks
        self._base = base
        fitted_on = base.basis.fitted_on
        self._groups = {seed: deal(users, fitted_on, arguments.folds, seed) for seed in arguments.seeds}
        self._sizes = {user.name: len(user.online) for user in users}

    def run(self, pool: Pool) -> tuple[Curves, dict[str, Choice], list[dict[str, Any]]]:
        """All curves by (method, setting), what was chosen for the peer, and the rows of the edits."""
        methods = self._arguments.methods
        ranks = [int(method[4:]) for method in methods if method.startswith("lora")]
        pool.run([self._job("prepare", "", 0, group, ()) for group in self._needed_groups()])
        chosen = self._choose(pool, ranks)
        jobs = [job for seed in self._arguments.seeds for job in self._main_jobs(seed, chosen)]
        jobs += self._memory_jobs()
        curves: dict[tuple[str, str], list[Curve]] = {}
        for job, found in pool.run(jobs).items():
            name = f"lora{job.choice.rank}" if job.choice else job.method
            curves.setdefault((name, job.setting), []).extend(found)
        if "strangers" in methods and self._arguments.strangers:
            curves.update(self._strangers(pool, chosen))
        edits = pool.edits(self._arguments.edits, 0, 2 * self._arguments.workers) if "edits" in methods else []
        return curves, chosen, edits

    def _needed_groups(self) -> list[Group]:
        groups = {group.name: group for found in self._groups.values() for group in found}
        judged = {"population", "svd", "lora4", "lora8"} & set(self._arguments.methods)
        if "personal" in self._arguments.settings and judged:
            return list(groups.values())
        return [group for group in groups.values() if not group.own_basis and "population" in judged]

    def _choose(self, pool: Pool, ranks: Sequence[int]) -> dict[str, Choice]:
        """The peer's best optimiser and learning rate by rank and setting, at the last mark, on judged users.

        Choosing on users that are judged favours the peer; forks take their settings as they come.
        """
        if not self._arguments.sweep_users:
            return {f"lora{r} {s}": Choice(r, "adamw", 2e-3) for r in ranks for s in self._arguments.settings}
        group = max(self._groups[self._arguments.seeds[0]], key=lambda group: len(group.judged))
        long = [name for name in group.judged if self._sizes[name] >= LONG]
        names = tuple(spread(long or group.judged, self._arguments.sweep_users))
        marks = self._marks[-1:]
        best: dict[str, tuple[float, Choice]] = {}

        def attempt(rank: int, optimisers: Mapping[str, Sequence[Optimiser]]) -> None:
            jobs = [
                replace(self._job("lora", setting, 0, group, names), marks=marks, choice=choice)
                for setting, tried in optimisers.items()
                for choice in choices(rank, tried)
            ]
            for job, curves in pool.run(jobs).items():
                assert job.choice is not None
                key = f"lora{rank} {job.setting}"
                gain = statistics.mean(curve.gains[-1] for curve in curves)
                if key not in best or gain > best[key][0]:
                    best[key] = (gain, job.choice)

        tried = dict.fromkeys(self._arguments.settings, self._arguments.optimisers)
        for rank in sorted(ranks, reverse=True):
            attempt(rank, tried)
            # The optimiser that is better at one rank is so at the other; its rate is chosen for each.
            tried = {setting: [best[f"lora{rank} {setting}"][1].optimiser] for setting in tried}
        return {key: choice for key, (_, choice) in sorted(best.items())}

    def _main_jobs(self, seed: int, chosen: Mapping[str, Choice]) -> list[Job]:
        jobs = []
        for method in self._arguments.methods:
            if method not in ("population", "svd", "lora4", "lora8"):
                continue
            for setting in self._arguments.settings:
                choice = chosen.get(f"{method} {setting}")
                if method == "svd" and seed != self._arguments.seeds[0]:
                    continue  # shown for comparison, and only the pooled mean under it depends on the seed
                for group in self._groups[seed]:
                    if method == "population" and self._repeats(group, setting, seed):
                        continue
                    job = self._job("lora" if choice else method, setting, seed, group, group.judged)
                    general = setting == "total" and method in ("population", "lora8")
                    jobs.append(replace(job, choice=choice, general=general and seed == self._arguments.seeds[0]))
        return jobs

    def _repeats(self, group: Group, setting: str, seed: int) -> bool:
        """Whether a job would be the same as one of the first seed: a fork draws nothing at random."""
        same_basis = group.own_basis if setting == "total" else group.name == "unseen"
        return same_basis and seed != self._arguments.seeds[0]

    def _memory_jobs(self) -> list[Job]:
        """Memory is slower, its contexts being longer: a subset of the users, one seed, over the base only."""
        jobs = []
        for method in ("memory", "population+memory"):
            if method in self._arguments.methods:
                for group in self._groups[self._arguments.seeds[0]]:
                    long = [name for name in group.judged if self._sizes[name] >= LONG] or group.judged
                    share = max(1, round(self._arguments.memory_users * len(group.judged) / len(self._users)))
                    job = self._job(method, "total", 0, group, tuple(spread(long, share)))
                    jobs.append(replace(job, marks=(self._marks[1], self._marks[-1])))
        return jobs

    def _strangers(self, pool: Pool, chosen: Mapping[str, Choice]) -> dict[tuple[str, str], list[Curve]]:
        """Users of another population, on the base's own basis, or on the first fold's where it has none."""
        place = replace(self._place, users=tuple(path.resolve() for path in self._arguments.strangers))
        found = [read_users(path, self._base.tokenizer, marks=self._marks) for path in place.users]
        names = tuple(user.name for users in found for user in users)
        group = self._groups[self._arguments.seeds[0]][0]
        jobs = [self._job("population", "total", 0, group, names)]
        choice = chosen.get("lora8 total")
        if choice is not None:
            jobs += [
                replace(self._job("lora", "total", seed, group, names), choice=choice) for seed in self._arguments.seeds
            ]
        curves: dict[tuple[str, str], list[Curve]] = {}
        for job, judged in pool.run(jobs, place).items():
            name = f"strangers {'lora8' if job.choice else job.method}"
            curves.setdefault((name, "total"), []).extend(judged)
        return curves

    def _job(self, method: str, setting: str, seed: int, group: Group, names: tuple[str, ...]) -> Job:
        return Job(method, setting, seed, group, names, self._marks)


if __name__ == "__main__":
    main()
