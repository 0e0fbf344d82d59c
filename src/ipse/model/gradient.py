# SPDX-License-Identifier: Apache-2.0
"""Loss and gradient of many examples of many forks, in one forward and one backward pass.

The gradient of the loss of row b with respect to the flat personal vector of row b is all that is computed;
the frozen weights get none. In terms of the basis (per adapted linear, ``y = W x + s U R V x``)::

    dL/dR = sum over the row's tokens of (s U^T dL/dy) (V x)^T

which is what reverse-mode differentiation of the two skinny products yields, per user, without any
per-sample backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipse.model.frozen_ops import chosen_log_probability
from ipse.model.personal import stack
from ipse.model.runner import pad
from ipse.model.state import PersonalState

if TYPE_CHECKING:
    from ipse.model.base import Base


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and what each of them counts.

    Attributes:
        tokens: the whole context.
        weights: per token; the weight of predicting ``tokens[i]`` from ``tokens[:i]``. 0: context only.
            Negative: the token should become LESS likely (unlikelihood, -log(1 - p); Welleck et al. 2020,
            arXiv 1908.04319), which unlike ascent on the loss is bounded.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.weights) or not any(self.weights[1:]):
            raise ValueError("An example needs one weight per token and at least one that counts.")


def losses(base: Base, examples: Sequence[Example], states: Sequence[PersonalState | None]) -> NDArray[np.float64]:
    """(B,) float64: weighted mean loss of each example, in nats per token."""
    with torch.inference_mode():
        personal = stack(states, base.layout, base.runner.device)
        return _forward(base, examples, personal).double().cpu().numpy()


def gradients(
    base: Base, examples: Sequence[Example], states: Sequence[PersonalState | None]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Losses (B,) float64 in nats per token, and their gradients (B, d) float32 in real units.

    A row whose state is None is differentiated at the bare base: that is the public gradient that a prior
    is made of.
    """
    device = base.runner.device
    personal = stack(states, base.layout, device)
    if personal is None:
        personal = torch.zeros(len(examples), base.layout.size, device=device)
    return gradients_at(base, examples, personal)


def gradients_at(
    base: Base, examples: Sequence[Example], personal: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """As :func:`gradients`, at real-valued personal vectors (B, d) that need not be on the lattice."""
    personal = personal.detach().requires_grad_(True)
    with torch.enable_grad():
        loss = _forward(base, examples, personal)
        (grad,) = torch.autograd.grad(loss.sum(), personal)
    return loss.detach().double().cpu().numpy(), grad.float().cpu().numpy()


def _forward(base: Base, examples: Sequence[Example], personal: Tensor | None) -> Tensor:
    """(B,) float32 loss per example; logits are computed only where a weight is not zero."""
    device = base.runner.device
    chunk = pad([list(e.tokens[:-1]) for e in examples], device)
    rows: list[int] = []
    cols: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for number, example in enumerate(examples):
        total = sum(abs(w) for w in example.weights[1:])
        for i, share in enumerate(example.weights[1:]):
            if share:
                rows.append(number)
                cols.append(i)
                targets.append(example.tokens[i + 1])
                weights.append(share / total)
    row = torch.tensor(rows, device=device)
    logits = base.runner.select(chunk.tokens, personal, row, torch.tensor(cols, device=device))
    logp = chosen_log_probability(logits, torch.tensor(targets, device=device))
    weight = torch.tensor(weights, device=device, dtype=logp.dtype)
    unlikely = -torch.log1p(-logp.exp().clamp(max=1 - 1e-6))
    loss = torch.where(weight > 0, -logp * weight, -weight * unlikely)
    return torch.zeros(len(examples), device=device, dtype=loss.dtype).index_add(0, row, loss)
