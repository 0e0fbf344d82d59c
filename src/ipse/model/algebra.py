# SPDX-License-Identifier: Apache-2.0
"""What the shared subspace makes exact: averaging forks, merging, moving between generations.

Of linears with ``W`` and the shared ``U``, ``V``, of states ``z = (R, output, gates)``::

    mean       mean(s U R_i V) = s U mean(R_i) V             a mean of LoRA's B_i A_i products is not
    merge      W'  = exp(g) (W + s U R V)                    g: the gate behind this linear, if there is one
    rebase     R'' = exp(g_mean) (R - R_mean),  g'' = g - g_mean,  output'' = output - output_mean

so a fork on the merged base answers as it did on the old one::

    exp(g'') (W' + s U R'' V) = exp(g - g_mean) exp(g_mean) (W + s U R_mean V + s U (R - R_mean) V)
                              = exp(g) (W + s U R V)

This needs the SAME basis on both sides: a basis recomputed from the merged weights would break it.

Limits: numbers are rounded to the state's fixed point (2**-20), weights to their precision (bfloat16 keeps
about 8 bits: merge into float32 masters). The mean is of the numbers; where forks differ in gates AND in
``R``, the mean state is not the mean of their merged weights. The output embedding acts behind the final
norm, where no weight matrix of the base could hold it, so it is returned beside the merged tree.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ipse.errors import BaseMismatch, InputError, StateOverflow
from ipse.model.basis import Basis, LinearBasis
from ipse.model.families import HEAD, AdaptedLinear, Anatomy, Gate
from ipse.model.layout import StateLayout
from ipse.model.module import PersonalHook, module_at
from ipse.model.state import PersonalState

_INT32 = np.iinfo(np.int32)


def mean_state(states: Sequence[PersonalState]) -> PersonalState:
    """The mean of forks on one base and basis, each number rounded half up to fixed point.

    Raises:
        InputError: for no states. BaseMismatch: when their layouts differ.
    """
    if not states:
        raise InputError("The mean of no forks is undefined.", "Give at least one state.")
    total = np.zeros(states[0].layout.size, dtype=np.int64)
    for state in states:
        if state.layout.digest != states[0].layout.digest:
            raise BaseMismatch(
                "The forks to average do not share one base and basis.", "Average only forks of one generation."
            )
        total += state.z
    count = len(states)
    mean = (2 * total + count) // (2 * count)  # floor(total / count + 1/2), in integers
    return PersonalState(states[0].layout, mean.astype(np.int32))


@dataclass(frozen=True, eq=False)
class Merged:
    """A base with a state merged into its weights.

    Attributes:
        model: a copy of the module tree.
        output: (h,) float32, the state's output embedding, which is NOT in the weights: add it to the final
            hidden state (:func:`hold_output` does), or the merged model lacks that part.
    """

    model: Any
    output: Tensor


def merge(model: Any, body: Anatomy, basis: Basis, state: PersonalState) -> Merged:
    """Copy a module tree and merge ``R`` and gates of a state into its weights, computed in float32.

    Args:
        model: of transformers; unchanged.
        body: its anatomy.
    """
    values = torch.from_numpy(state.values())
    gates = block(values, state.layout, "gates").exp()  # (L, 2)
    merged = copy.deepcopy(model)
    _forget_hooks(merged)
    parts = {part.name: part for part in basis.linears}
    with torch.no_grad():
        for linear in body.linears:
            delta = delta_of(parts[linear.name], basis.scale, block(values, state.layout, linear.name))
            _add_rows(merged, linear, delta)
        for gate in body.gates:
            module = module_at(merged, gate.module)
            for name, value in louder(module, gate, gates[gate.layer, gate.column]).items():
                _replace(getattr(module, name), value)
    return Merged(merged, block(values, state.layout, "output").clone())


def rebase(
    state: PersonalState, mean: PersonalState, linears: Sequence[AdaptedLinear], layout: StateLayout | None = None
) -> PersonalState:
    """The state that behaves on the base merged with ``mean`` as ``state`` does on the old one.

    Args:
        linears: the base's, which know which ``R`` stands before which gate.
        layout: of forks on the new base; differs from the old one in ``base_id`` only. None keeps the old.

    Raises:
        BaseMismatch: when basis or segments differ. StateOverflow: when a number leaves the range.
    """
    new = layout if layout is not None else state.layout
    same_basis = state.layout.basis_digest == mean.layout.basis_digest == new.basis_digest
    if not same_basis or state.layout.digest != mean.layout.digest or state.layout.segments != new.segments:
        raise BaseMismatch(
            "A fork can be moved only between bases with the same basis, by a mean of forks on its own base.",
            "Keep the basis frozen from one generation to the next.",
        )
    moved = state.z.astype(np.int64) - mean.z
    gates = mean.values()[mean.layout["gates"].slice].astype(np.float64).reshape(-1, 2)
    for linear in linears:
        if linear.gate is not None:
            place = state.layout[linear.name].slice
            moved[place] = np.rint(moved[place] * np.exp(gates[linear.gate])).astype(np.int64)
    if moved.size and (int(moved.max()) > _INT32.max or int(moved.min()) < _INT32.min):
        raise StateOverflow("The fork is too far from the mean to be moved.", "Leave it on its own generation.")
    return PersonalState(new, moved.astype(np.int32))


def hold_output(model: Any, output: Tensor) -> None:
    """Add ``output`` (h,) to every final hidden state of a module tree, before its head, from now on."""

    def before_head(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0]
        return ((hidden.float() + output.to(hidden.device)).to(hidden.dtype), *inputs[1:])

    module_at(model, HEAD).register_forward_pre_hook(PersonalHook(before_head))


def louder(module: Any, gate: Gate, loudness: Tensor, delta: Tensor | None = None) -> dict[str, Tensor]:
    """Parameters with which a module gives ``loudness`` times what it gives now, float32, by name.

    Args:
        loudness: exp(g), a scalar.
        delta: (d_out, d_in), added to the weight first.
    """
    weight = module.weight.detach().float()
    if delta is not None:
        weight = weight + delta.to(weight.device)
    # A Gemma norm scales by 1 + w, a linear by W: both become exp(g) times what they were.
    offset = 1.0 if gate.on_norm else 0.0
    loudness = loudness.to(weight.device)
    parameters = {"weight": (weight + offset) * loudness - offset}
    if getattr(module, "bias", None) is not None:
        parameters["bias"] = module.bias.detach().float() * loudness
    return parameters


def block(values: Tensor, layout: StateLayout, name: str) -> Tensor:
    """One segment of (d,) values, in its shape."""
    segment = layout[name]
    return values[segment.slice].view(segment.shape)


def delta_of(part: LinearBasis, scale: float, r: Tensor) -> Tensor:
    """``s U R V`` (d_out, d_in) float32."""
    return scale * (torch.from_numpy(part.u.copy()) @ r @ torch.from_numpy(part.v.copy()))


def _add_rows(model: Any, linear: AdaptedLinear, delta: Tensor) -> None:
    start = 0
    for path, rows in zip(linear.modules, linear.rows, strict=True):
        weight = module_at(model, path).weight
        _replace(weight, weight.float() + delta[start : start + rows].to(weight.device))
        start += rows


def _replace(parameter: Tensor, value: Tensor) -> None:
    parameter.copy_(value.to(parameter.dtype))


def _forget_hooks(model: Any) -> None:
    """Free a copied tree of the hooks of the runner that works on the original."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [k for k, hook in hooks.items() if isinstance(hook, PersonalHook)]:
                del hooks[key]
