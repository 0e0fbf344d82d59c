# SPDX-License-Identifier: Apache-2.0
"""One piece of the learning benchmark that a worker process runs by itself, and keeps as a file.

A worker has one thread: on few cores, two workers with one thread each do twice what one with two does, and
two with two each do a tenth. A finished job leaves its curves in the parts folder, so a run that was
interrupted goes on, and parts of a run can be made apart and put together.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from _contexts import with_memory
from _edits import correct
from _folds import Group, prepare, read_module
from _frozen_llama import FrozenLlama, freeze_llama
from _judge import Curve, Task, judge_base, judge_forks, judge_loras
from _users import Dialogue, JudgedUser, examples, read_users, spread
from facts import invent
from lora import Choice, lora_settings

from ipse.learning.correction import NATURAL, PLAIN
from ipse.learning.general import general_examples
from ipse.learning.step import StepSettings
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.gradient import Example


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure.

    Attributes:
        method: population, svd, lora, memory, population+memory; or prepare, which fits what a group needs.
        setting: total (over the base) or personal (over the pooled base).
        names: users to teach and judge.
        choice: the peer's rank, optimiser and learning rate.
    """

    method: str
    setting: str
    seed: int
    group: Group
    names: tuple[str, ...]
    marks: tuple[int, ...]
    choice: Choice | None = None
    general: bool = False

    @property
    def label(self) -> str:
        """For people."""
        rank = f"{self.choice.rank}-{self.choice.optimiser}-{self.choice.learning_rate}" if self.choice else ""
        return f"{self.method}{rank}-{self.setting}-{self.group.name}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's inputs and parts lie.

    Attributes:
        basis: of the base, as `load_base` takes it.
        held_out: most held-out interactions of a user.
        fork_dtype, peer_dtype: of the frozen matrices under the forks and under the peer's LoRAs.
        fit_interactions, fit_speech: for a cross-fitted basis: of each public user; drawn for its curvature.
        contents: digest of the base, the users and the general set.
        basis_digest: of the base's own basis.
    """

    base: str | None
    basis: str
    users: tuple[Path, ...]
    general: Path | None
    parts: Path
    held_out: int
    fork_dtype: str
    peer_dtype: str
    fit_interactions: int
    fit_speech: int
    contents: str
    basis_digest: str

    def group_folder(self, group: Group) -> Path:
        """Where what was fitted for a group lies."""
        facts = (self.contents, group, self.basis_digest, self.fit_interactions, self.fit_speech)
        return self.parts / f"{group.name}-{_short(facts)}"

    def file_of(self, job: Job) -> Path:
        """Where a job's curves lie: another name if anything that they depend on is another."""
        facts: tuple[object, ...] = (self.contents, self.held_out, asdict(job))
        if job.choice is not None:
            facts += (self.peer_dtype,)
        else:
            facts += (self.fork_dtype, self.basis_digest, StepSettings())
        if job.setting == "personal" or not job.group.own_basis:
            facts += (self.fit_interactions, self.fit_speech)
        return self.parts / f"{job.label}-{_short(facts)}.json"


def _short(facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:10]


def run(job: Job, place: Place) -> list[Curve]:
    """Do the job, or read what it left when it was done before."""
    torch.set_num_threads(1)
    if job.method == "prepare":
        folder = place.group_folder(job.group)
        if not (folder / "done").exists():
            prepare(job.group, _users(place), _base(place), folder, place.fit_interactions, place.fit_speech)
        return []
    file = place.file_of(job)
    if file.exists():
        return [
            Curve(c["user"], c["base"], tuple(c["after"]), c["extra"]) for c in json.loads(file.read_text())["curves"]
        ]
    started = time.perf_counter()
    curves = _judge(job, place)
    text = json.dumps({"seconds": time.perf_counter() - started, "curves": [asdict(curve) for curve in curves]})
    made = file.with_suffix(".part")
    made.write_text(text)
    made.replace(file)
    return curves


def run_edits(place: Place, seed: int, start: int, stop: int) -> list[dict[str, object]]:
    """Rows of the corrections of facts ``start`` to ``stop``, kept like a job's curves."""
    torch.set_num_threads(1)
    file = (
        place.parts
        / f"edits-s{seed}-{start}-{stop}-{_short((place.contents, place.basis_digest, NATURAL, PLAIN))}.json"
    )
    if not file.exists():
        rows = correct(_base(place), invent(stop, seed)[start:], _general(place))
        file.write_text(json.dumps(rows))
    found: list[dict[str, object]] = json.loads(file.read_text())
    return found


def _judge(job: Job, place: Place) -> list[Curve]:
    users = _users(place)
    extra = {"general": _general(place)} if job.general else {}
    task = Task([users[name] for name in job.names], job.marks, extra=extra)
    if job.choice is not None:
        return judge_loras(_frozen(place, job.group, job.setting), task, lora_settings(job.choice), job.seed)
    base = _base_of(place, job)
    if job.method.endswith("memory"):
        task = replace(task, held_out=partial(with_memory, tokenizer=base.tokenizer, most=place.held_out))
    if job.method == "memory":
        return judge_base(base, task)
    return judge_forks(base, task, StepSettings())


@lru_cache(maxsize=1)
def _users(place: Place) -> dict[str, JudgedUser]:
    found = [read_users(path, _base(place).tokenizer, held_out=place.held_out) for path in place.users]
    return {user.name: user for users in found for user in users}


@lru_cache(maxsize=1)
def _base(place: Place) -> Base:
    return load_base(place.base, basis=place.basis)


@lru_cache(maxsize=4)
def _variant(directory: str | None, basis: str, rank: int, dtype: str) -> Base:
    return load_base(directory, basis=basis, rank=rank, dtype=dtype)


def _base_of(place: Place, job: Job) -> Base:
    """The base that the job's forks are on, with their basis."""
    folder, own = place.group_folder(job.group), _base(place).basis
    pooled = job.setting == "personal"
    if job.method == "svd":
        basis = "svd"
    elif job.group.own_basis and not pooled:
        basis = place.basis
    else:
        basis = str(folder / f"{'pooled-' * pooled}basis.safetensors")
    return _variant(str(folder / "pooled") if pooled else place.base, basis, own.rank, place.fork_dtype)


@lru_cache(maxsize=4)
def _frozen(place: Place, group: Group, setting: str) -> FrozenLlama:
    model = _base(place).module() if setting == "total" else read_module(place.group_folder(group) / "pooled")
    return freeze_llama(model, getattr(torch, place.peer_dtype))


@lru_cache(maxsize=1)
def _general(place: Place) -> Sequence[Example]:
    return general_set(_base(place), place.general)


def general_set(base: Base, path: Path | None) -> list[Example]:
    """The fixed general set: that of the package, or dialogues from a file, each as one example of all its words."""
    if path is None:
        return general_examples(base.tokenizer)
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from tools.base.corpus import held_out  # the same hold-out as in the base's training

    with lzma.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    kept = [r for r in records if held_out(r["s"], r["g"])]
    found: list[Example] = []
    for source in sorted({r["s"] for r in kept}):
        dialogues = [Dialogue(tuple(Turn(a, b) for a, b in r["t"])) for r in kept if r["s"] == source]
        for dialogue in spread(dialogues, 9):
            found += examples([dialogue], base.tokenizer, 96, most=4)[-1:]
    return found
