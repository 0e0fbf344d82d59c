# SPDX-License-Identifier: Apache-2.0
"""A fork as an adapter: what a runtime that knows nothing of Ipse adds to the base's modules.

A personal state is three things, and each has a form that plain PEFT loads::

    R        W x + s U R V x            low rank: A = V, B = s U R, rows split over the modules of a fused linear
    output   head(h + e)                a bias of the head: head(h) + W_head e, exactly, for the head is linear
    gates    exp(g) (W x + b + ...)     full rank: a whole copy of the module, exp(g) (W + s U R V) and exp(g) b;
                                        behind a Gemma norm the copy is the norm's weight, (1 + w) exp(g) - 1

A gate that never moved costs nothing. One that moved costs a copy of its linear, which is far larger than the fork:
``(exp(g) - 1) W`` has the rank of ``W``, so no smaller LoRA is exact. :func:`low_rank_part` leaves it and the output
embedding out, for runtimes that have low rank only.

An adapter is plain numbers: whoever has it and the base has the fork's state. Copies hold weights of the base, under
the base's licence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ipse.model.algebra import block, delta_of, louder
from ipse.model.basis import Basis
from ipse.model.families import HEAD, Anatomy
from ipse.model.module import module_at
from ipse.model.state import PersonalState


@dataclass(frozen=True, eq=False)
class LowRank:
    """What is added to one module's output: ``b (a x) + bias``. All scaling is in ``b`` and ``bias`` already.

    Attributes:
        a: (k, d_in) float32.
        b: (d_out, k) float32.
        bias: (d_out,) float32, or None.
    """

    a: Tensor
    b: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Adapter:
    """What is laid over a base's module tree.

    Attributes:
        low_rank: by path of the module.
        whole: parameters that take the place of the module's own, by its path, then by name (weight, bias).
        unread: names of tensors in a file that are neither.
    """

    low_rank: Mapping[str, LowRank]
    whole: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def low_rank_part(state: PersonalState, basis: Basis, body: Anatomy) -> Adapter:
    """The ``R`` of a fork alone, each times the gate behind it; without output embedding and without gates on ``W``."""
    values = torch.from_numpy(state.values())
    gates = block(values, state.layout, "gates").exp()  # (L, 2)
    parts = {part.name: part for part in basis.linears}
    found: dict[str, LowRank] = {}
    for linear in body.linears:
        part = parts[linear.name]
        loudness = 1.0 if linear.gate is None else float(gates[linear.gate])
        b = loudness * basis.scale * torch.from_numpy(part.u.copy()) @ block(values, state.layout, linear.name)
        rows: tuple[Tensor, ...] = torch.split(b, list(linear.rows))  # (d_out, r) -> (rows, r) for each module
        for path, own in zip(linear.modules, rows, strict=True):
            found[path] = LowRank(torch.from_numpy(part.v.copy()), own.clone())
    return Adapter(found)


@torch.no_grad()
def whole_fork(state: PersonalState, basis: Basis, body: Anatomy, model: Any) -> Adapter:
    """All of a fork, exactly.

    Args:
        model: the base as a module tree of transformers; only read.
    """
    values = torch.from_numpy(state.values())
    low_rank = dict(low_rank_part(state, basis, body).low_rank)
    whole: dict[str, Mapping[str, Tensor]] = {}
    gates = block(values, state.layout, "gates")
    parts = {part.name: part for part in basis.linears}
    gated = {linear.modules[0]: linear for linear in body.linears if linear.gate is not None}
    for gate in body.gates:
        log_gate = gates[gate.layer, gate.column]
        if not log_gate:
            continue
        delta = None
        if gate.module in gated:
            name = gated[gate.module].name
            delta = delta_of(parts[name], basis.scale, block(values, state.layout, name))
            del low_rank[gate.module]
        whole[gate.module] = louder(module_at(model, gate.module), gate, log_gate.exp(), delta)
    output = block(values, state.layout, "output")
    if output.any():
        weight = module_at(model, HEAD).weight.detach().cpu()
        bias = (weight.double() @ output.double()).float()
        low_rank[HEAD] = LowRank(torch.zeros(1, weight.shape[1]), torch.zeros(len(weight), 1), bias)
    return Adapter(low_rank, whole)


@contextmanager
def worn(model: Any, adapter: Adapter) -> Iterator[None]:
    """While this lasts the module tree answers with the adapter on, as PEFT would have it. Not for two threads."""
    handles = []
    own: list[tuple[Tensor, Tensor]] = []
    try:
        for path, part in adapter.low_rank.items():
            handles.append(module_at(model, path).register_forward_hook(_adds(part)))
        for path, parameters in adapter.whole.items():
            for name, value in parameters.items():
                parameter = getattr(module_at(model, path), name)
                own.append((parameter, parameter.data))
                parameter.data = value.to(parameter)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, data in own:
            parameter.data = data


def _adds(part: LowRank) -> Any:
    def after(_: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        x = inputs[0].float()
        added = x @ part.a.to(x.device).T @ part.b.to(x.device).T
        if part.bias is not None:
            added = added + part.bias.to(x.device)
        return (y.float() + added).to(y.dtype)

    return after
