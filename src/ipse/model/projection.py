# SPDX-License-Identifier: Apache-2.0
"""What of a LoRA trained elsewhere a fork can hold: its least-squares projection onto the shared basis.

Of one adapted linear, with ``D`` (d_out, d_in) what the adapter adds to ``W``::

    R* = argmin |s U R V - D|_F = pinv(U) D pinv(V) / s           kept = 1 - |D - s U R* V|^2 / |D|^2

The modules of a fused linear (query, key and value) are stacked to its one ``D``. ``U`` and ``V`` need not be
orthonormal. Where a file holds the whole weight ``W'`` of a linear with a gate behind it, the gate is found with it:
``W' = a (W + s U R V)`` is linear in ``a`` and ``a R``, and ``g = log a``. A bias ``t`` of the head becomes the output
embedding ``e = argmin |W_head e - t|``. All in float64.

A fork that was exported is thereby found again to the rounding of float32. An adapter that was trained freely
is not: nearly all of a LoRA lies outside a basis of rank r on each side that it was not trained in, and ``kept`` says
how much of it was inside. It is a share of the squared norm of the change, not of what the adapter is good for; where
it is small, do not expect its answers. To have those, teach a fork what the LoRA was taught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ipse.errors import BaseMismatch, InputError, StateOverflow
from ipse.model.adapter import Adapter
from ipse.model.base import Base
from ipse.model.basis import LinearBasis
from ipse.model.families import HEAD, AdaptedLinear, Gate
from ipse.model.layout import ONE
from ipse.model.module import module_at
from ipse.wire.update import quantise

Matrix = NDArray[np.floating[Any]]
_ALSO_THERE = (HEAD, "model.embed_tokens", "model.norm", "model.final_layernorm")
_RAW_BITS = 32


@dataclass(frozen=True, eq=False)
class Projection:
    """An adapter as a change of the personal numbers.

    Attributes:
        values: (d,) int32, in the state's fixed point.
        kept: share of the squared norm of the change of the adapted linears that ``values`` holds, 0 to 1.
        kept_by_kind: the same for each kind of linear that the adapter changes: qkv, o, gate_up, down.
        output_kept: the same of a bias of the head; None if there is none.
        ignored: what the adapter changes and a fork has no place for.
    """

    values: NDArray[np.int32]
    kept: float
    kept_by_kind: Mapping[str, float]
    output_kept: float | None
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fitted:
    """One linear: its ``R``, its log-gate, and the squared norms of the change and of what is left of it."""

    r: Matrix
    change: float
    rest: float
    factor: float = 1.0
    """exp of its log-gate."""


def project(adapter: Adapter, base: Base) -> Projection:
    """Find the state whose effect on the adapted linears is nearest to the adapter's.

    Raises:
        BaseMismatch: the adapter was made for a base of another shape.
        InputError: it changes nothing that a fork could hold.
        StateOverflow: its numbers are too large for a fork.
    """
    _check_places(adapter, base)
    model = cache(base.module)  # loaded only where the base's own weights are needed
    values = np.zeros(base.layout.size, dtype=np.float64)
    gates = values[base.layout["gates"].slice].reshape(-1, 2)  # a view
    parts = {part.name: part for part in base.basis.linears}
    used: set[str] = set()
    lost: list[str] = []
    sums: dict[str, tuple[float, float]] = {}
    for linear in base.anatomy.linears:
        mine = [path for path in linear.modules if path in adapter.low_rank or path in adapter.whole]
        if not mine:
            continue
        used.update(mine)
        fitted = _fit(adapter, linear, parts[linear.name], base.basis.scale, model)
        values[base.layout[linear.name].slice] = fitted.r.ravel()
        if linear.gate is not None:
            gates[linear.gate] = np.log(fitted.factor)
        lost += [f"{path} (bias)" for path in mine if _bias_differs(adapter.whole.get(path, {}), path, fitted, model)]
        kind = linear.name.rpartition(".")[2]
        change, rest = sums.get(kind, (0.0, 0.0))
        sums[kind] = (change + fitted.change, rest + fitted.rest)
    for gate in base.anatomy.gates:
        if gate.on_norm and "weight" in adapter.whole.get(gate.module, {}):
            used.add(gate.module)
            gates[gate.layer, gate.column] = _norm_gate(adapter.whole[gate.module]["weight"], gate, model)
    output_kept = None
    head = adapter.low_rank.get(HEAD)
    if head is not None and head.bias is not None and head.bias.any():
        values[base.layout["output"].slice], output_kept = _output(head.bias, model)
    ignored = (*_ignored(adapter, used), *lost)
    if not values.any():
        raise InputError(
            f"The adapter changes nothing that a fork could hold{': ' + ', '.join(ignored[:3]) if ignored else ''}.",
            "A fork holds changes of attention and feed-forward linears.",
        )
    return Projection(
        _fixed(values, base),
        _share(sums.values()),
        {kind: _share([pair]) for kind, pair in sums.items() if pair[0] > 0},
        output_kept,
        ignored,
    )


def _fixed(values: NDArray[np.float64], base: Base) -> NDArray[np.int32]:
    try:
        return quantise(values * ONE, base.layout.groups, _RAW_BITS)
    except StateOverflow as error:
        raise StateOverflow(
            "The adapter's change is beyond the range of a fork's numbers, +-2048.", "Lower its lora_alpha."
        ) from error


def _share(sums: Iterable[tuple[float, float]]) -> float:
    pairs = list(sums)
    change, rest = sum(c for c, _ in pairs), sum(r for _, r in pairs)
    return 1.0 if change == 0.0 else min(1.0, max(0.0, 1.0 - rest / change))


# -- one linear -----------------------------------------------------------------------------------


def _fit(adapter: Adapter, linear: AdaptedLinear, part: LinearBasis, scale: float, model: Callable[[], Any]) -> _Fitted:
    u, v = part.u.astype(np.float64), part.v.astype(np.float64)
    u_pinv: Matrix = np.linalg.pinv(u)  # (r, d_out)
    v_pinv: Matrix = np.linalg.pinv(v)  # (d_in, r)

    def held(inner: Matrix) -> float:
        """Squared norm of U inner V."""
        return float(np.sum((inner @ (v @ v.T)) * ((u.T @ u) @ inner)))

    inner = np.zeros((u.shape[1], v.shape[0]))
    change, start = 0.0, 0
    for path, rows in zip(linear.modules, linear.rows, strict=True):
        own = u_pinv[:, start : start + rows]
        start += rows
        if path in adapter.low_rank:
            low = adapter.low_rank[path]
            _check_shape(path, (len(low.b), low.a.shape[1]), (rows, v.shape[1]))
            a, b = _numbers(low.a), _numbers(low.b)
            inner += (own @ b) @ (a @ v_pinv)
            change += float(np.sum((b.T @ b) * (a @ a.T)))  # |B A|^2 without B A
        elif "weight" in adapter.whole.get(path, {}):
            _check_shape(path, tuple(adapter.whole[path]["weight"].shape), (rows, v.shape[1]))
            now = _numbers(module_at(model(), path).weight)
            then = _numbers(adapter.whole[path]["weight"])
            change += float(np.sum((then - now) ** 2))
            if linear.gate is not None:  # then there is this one module
                return _fit_gated(now, then, (u, u_pinv, v, v_pinv), scale, change)
            inner += own @ (then - now) @ v_pinv
    return _Fitted(inner / scale, change, max(0.0, change - held(inner)))


def _fit_gated(
    now: Matrix, then: Matrix, basis: tuple[Matrix, Matrix, Matrix, Matrix], scale: float, change: float
) -> _Fitted:
    """``then = a (now + s U R V)``: outside the span of U and V only ``a now`` is left, which gives ``a``."""
    u, u_pinv, v, v_pinv = basis

    def outside(weight: Matrix) -> Matrix:
        return weight - u @ (u_pinv @ weight @ v_pinv) @ v

    base_outside = outside(now)
    size = float(np.sum(base_outside**2))
    factor = float(np.sum(outside(then) * base_outside)) / size if size else 1.0
    if factor <= 0.0:  # no gate turns a block's sign around
        factor = 1.0
    inner = u_pinv @ (then - factor * now) @ v_pinv
    rest = float(np.sum((then - factor * now - u @ inner @ v) ** 2))
    return _Fitted(inner / (scale * factor), change, rest, factor)


def _bias_differs(parameters: Mapping[str, Tensor], path: str, fitted: _Fitted, model: Callable[[], Any]) -> bool:
    """Whether a whole copy has a bias that is not the base's, times the gate."""
    if "bias" not in parameters:
        return False
    own = getattr(module_at(model(), path), "bias", None)
    if own is None or own.shape != parameters["bias"].shape:
        return bool(parameters["bias"].any())
    return not np.allclose(_numbers(parameters["bias"]), fitted.factor * _numbers(own), rtol=1e-4, atol=1e-6)


def _norm_gate(then: Tensor, gate: Gate, model: Callable[[], Any]) -> float:
    """The log-gate of ``1 + w' = a (1 + w)``, by least squares."""
    now, new = 1.0 + _numbers(module_at(model(), gate.module).weight), 1.0 + _numbers(then)
    _check_shape(gate.module, new.shape, now.shape)
    factor = float(np.dot(new, now) / np.dot(now, now))
    return float(np.log(factor)) if factor > 0.0 else 0.0


def _output(bias: Tensor, model: Callable[[], Any]) -> tuple[Matrix, float]:
    """The output embedding whose logits are nearest to a bias of the head, and the share of the bias that it holds."""
    head, wanted = _numbers(module_at(model(), HEAD).weight), _numbers(bias)
    _check_shape(HEAD, wanted.shape, head.shape[:1])
    found: Matrix = np.linalg.lstsq(head.T @ head, head.T @ wanted, rcond=None)[
        0
    ]  # (h, h): h is far below the vocabulary
    rest = float(np.sum((wanted - head @ found) ** 2))
    return found, _share([(float(wanted @ wanted), rest)])


# -- what does not fit ----------------------------------------------------------------------------


def _check_places(adapter: Adapter, base: Base) -> None:
    layers = {f"model.layers.{i}" for i in range(base.config.layers)}
    linears = {path for linear in base.anatomy.linears for path in linear.modules}
    for path in [*adapter.low_rank, *adapter.whole]:
        inside = ".".join(path.split(".")[:3]) in layers
        known = path in linears if path in adapter.low_rank else inside
        if not known and path not in _ALSO_THERE:
            raise BaseMismatch(
                f"The adapter changes {path[:80]}, which {base.reference.name} does not have.",
                f"It was made for another base; {base.reference.name} has {base.config.layers} layers "
                f"of family {base.config.family}.",
            )


def _check_shape(path: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise BaseMismatch(
            f"The adapter has {path} of shape {found}, this base {expected}.", "It was made for another base."
        )


def _ignored(adapter: Adapter, used: set[str]) -> Iterable[str]:
    for path, low in adapter.low_rank.items():
        if path not in used and low.b.any() and low.a.any():
            yield f"{path} (low rank)"
        if path != HEAD and low.bias is not None and low.bias.any():
            yield f"{path} (bias)"
    for path in adapter.whole:
        if path not in used:
            yield f"{path} (whole)"
    yield from adapter.unread


def _numbers(tensor: Tensor) -> Matrix:
    numbers: Matrix = tensor.detach().cpu().double().numpy()
    return numbers
