# SPDX-License-Identifier: Apache-2.0
"""From integer states to the float tensor that a mixed batch runs on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ipse.errors import BaseMismatch
from ipse.model.layout import StateLayout
from ipse.model.state import PersonalState


def stack(states: Sequence[PersonalState | None], layout: StateLayout, device: torch.device) -> Tensor | None:
    """(B, d) float32: row b is the state of the fork that owns batch row b; None rows are the bare base.

    Returns None when every row is the bare base or still zero, so that a batch without forks runs without
    any personal operation and answers bit for bit as the base does.

    Raises:
        BaseMismatch: when a state was made for another base, basis or rank.
    """
    rows = np.zeros((len(states), layout.size), dtype=np.float32)
    for row, state in zip(rows, states, strict=True):
        if state is None:
            continue
        if state.layout.digest != layout.digest:
            raise BaseMismatch(
                f"This fork belongs to base {state.layout.base_id} (rank {state.layout.rank}), "
                f"not to {layout.base_id} (rank {layout.rank}) with this basis.",
                "Start with the --base and --rank that the fork was made with, or start a new fork.",
            )
        row[:] = state.values()
    return torch.from_numpy(rows).to(device) if rows.any() else None
