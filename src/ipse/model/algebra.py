# SPDX-License-Identifier: Apache-2.0
"""What the shared subspace makes exact: averaging forks, merging, moving between generations, leaving as LoRA.

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
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ipse.errors import BaseDamaged, BaseMismatch, InputError, StateOverflow
from ipse.model.basis import Basis, LinearBasis
from ipse.model.cachefolder import write_atomically
from ipse.model.families import HEAD, AdaptedLinear, Anatomy, anatomy
from ipse.model.layout import StateLayout
from ipse.model.module import PersonalHook, module_at
from ipse.model.state import PersonalState

EXTRAS_FILE = "ipse_extras.safetensors"
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
    gates = _block(values, state.layout, "gates").exp()  # (L, 2)
    merged = copy.deepcopy(model)
    _forget_hooks(merged)
    parts = {part.name: part for part in basis.linears}
    with torch.no_grad():
        for linear in body.linears:
            delta = _delta(parts[linear.name], basis.scale, _block(values, state.layout, linear.name))
            _add_rows(merged, linear, delta)
        for gate in body.gates:
            module = module_at(merged, gate.module)
            loudness = gates[gate.layer, gate.column].to(module.weight.device)
            # A Gemma norm scales by 1 + w, a linear by W: both become exp(g) times what they were.
            offset = 1.0 if gate.on_norm else 0.0
            _replace(module.weight, (module.weight.float() + offset) * loudness - offset)
            if getattr(module, "bias", None) is not None:
                _replace(module.bias, module.bias.float() * loudness)
    return Merged(merged, _block(values, state.layout, "output").clone())


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


def export_peft(
    state: PersonalState,
    basis: Basis,
    linears: Sequence[AdaptedLinear],
    directory: Path,
    *,
    base_name: str | None = None,
) -> None:
    """Write a fork as a LoRA that PEFT-compatible runtimes load, and beside it what LoRA cannot carry.

    ``lora_A = V``, ``lora_B = s U R``, with alpha = r so that PEFT's own scaling is 1. Fused linears are split
    by rows into their modules. ``ipse_extras.safetensors`` holds the output embedding and the log-gates: a
    runtime that ignores it runs the fork without them; :func:`apply_extras` puts them on.

    This is plain text: whoever reads the directory has the fork's numbers.

    Args:
        base_name: what the adapter says it belongs to: a hub id, never a path.
    """
    values = torch.from_numpy(state.values())
    parts = {part.name: part for part in basis.linears}
    tensors: dict[str, Tensor] = {}
    for linear in linears:
        part = parts[linear.name]
        r = _block(values, state.layout, linear.name)
        b = basis.scale * torch.from_numpy(part.u.copy()) @ r  # (d_out, r)
        a = torch.from_numpy(part.v.copy())  # (r, d_in)
        own: tuple[Tensor, ...] = torch.split(b, list(linear.rows))
        for module, rows in zip(linear.modules, own, strict=True):
            tensors[f"base_model.model.{module}.lora_A.weight"] = a.clone()
            tensors[f"base_model.model.{module}.lora_B.weight"] = rows.clone()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": basis.rank,
        "lora_alpha": basis.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted({module.rsplit(".", 1)[1] for linear in linears for module in linear.modules}),
    }
    extras = {name: _block(values, state.layout, name).clone() for name in ("output", "gates")}
    write_atomically(directory / "adapter_model.safetensors", to_safetensors(tensors, {"format": "pt"}))
    write_atomically(directory / EXTRAS_FILE, to_safetensors(extras, {"format": "pt"}))
    write_atomically(directory / "adapter_config.json", (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def apply_extras(model: Any, directory: Path) -> Any:
    """Put an exported fork's output embedding and gates on a module tree, by hooks.

    Args:
        model: the base as transformers loads it, or that wrapped by PEFT with the exported adapter.

    Returns:
        the same model.

    Raises:
        BaseDamaged: when the file cannot be read. BaseMismatch: when it is of another base's shape.
    """
    tree = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        with safe_open(str(directory / EXTRAS_FILE), framework="pt") as file:
            output, gates = file.get_tensor("output"), file.get_tensor("gates")
    except (OSError, SafetensorError) as error:
        raise BaseDamaged(f"{EXTRAS_FILE} cannot be read: {error}.", "Export the fork again.") from error
    body = anatomy(tree.config.to_dict())
    if tuple(output.shape) != (body.hidden_size,) or tuple(gates.shape) != (body.layers, 2):
        raise BaseMismatch(
            f"The extras are for {len(gates)} layers of width {len(output)}, "
            f"the base has {body.layers} of width {body.hidden_size}.",
            "Use the base that the fork was made on.",
        )
    for gate in body.gates:
        loudness = float(gates[gate.layer, gate.column].double().exp())
        module_at(tree, gate.module).register_forward_hook(PersonalHook(_louder(loudness)))
    hold_output(tree, output)
    return model


def hold_output(model: Any, output: Tensor) -> None:
    """Add ``output`` (h,) to every final hidden state of a module tree, before its head, from now on."""

    def before_head(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0]
        return ((hidden.float() + output.to(hidden.device)).to(hidden.dtype), *inputs[1:])

    module_at(model, HEAD).register_forward_pre_hook(PersonalHook(before_head))


def _louder(loudness: float) -> Any:
    def after(_: nn.Module, __: Any, y: Tensor) -> Tensor:
        return (y.float() * loudness).to(y.dtype)

    return after


def _block(values: Tensor, layout: StateLayout, name: str) -> Tensor:
    segment = layout[name]
    return values[segment.slice].view(segment.shape)


def _delta(part: LinearBasis, scale: float, r: Tensor) -> Tensor:
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
