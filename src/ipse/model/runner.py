# SPDX-License-Identifier: Apache-2.0
"""The one seam of the model: how tokens of many forks become logits.

Two implementations stand behind it and are tested equal: :class:`ipse.model.lean.LeanRunner` for the
Llama-shaped families and :class:`ipse.model.module.ModuleRunner` for any supported module tree.

``personal`` is a float tensor (B, d): row b holds the personal state (real values, not fixed point) of the
fork that owns batch row b. Because the state is flat and a row touches only its own tokens, one backward
pass over a mixed batch leaves each fork's gradient in its own row. ``None`` means the bare base.

Rows of different length are padded on the RIGHT. Under a causal mask, pads cannot be seen by what stands
before them, so a fork's result does not depend on who shares its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Cache(Protocol):
    """Keys and values of a running batch."""

    lengths: Tensor
    """(B,) int64: valid tokens per row so far."""


class Runner(Protocol):
    """Runs a base with the personal parts of many forks in one batch."""

    @property
    def device(self) -> torch.device:
        """Where tokens and personal tensors must live."""
        ...

    @property
    def head(self) -> Tensor:
        """(vocabulary, h): the output matrix."""
        ...

    def select(self, tokens: Tensor, personal: Tensor | None, rows: Tensor, cols: Tensor) -> Tensor:
        """Logits at chosen places of a full causal forward, without a cache.

        Args:
            tokens: (B, T) int64, right-padded.
            personal: (B, d) float or None; the result is differentiable in it.
            rows, cols: (N,) int64: logits after having read ``tokens[row, :col + 1]``.

        Returns:
            (N, vocabulary) float32.
        """
        ...

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for ``batch`` rows of at most ``capacity`` tokens each."""
        ...

    def extend(self, tokens: Tensor, lengths: Tensor, personal: Tensor | None, cache: Cache) -> Tensor:
        """Feed the next chunk of every row and move the cache on, in place.

        Args:
            tokens: (B, T) int64, right-padded.
            lengths: (B,) int64, how many of them are real, each >= 1.
            personal: (B, d) float or None.

        Returns:
            (B, vocabulary) float32: logits after each row's last real token.
        """
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Token sequences of different length as one right-padded batch."""

    tokens: Tensor
    """(B, T) int64."""
    lengths: Tensor
    """(B,) int64."""


def pad(sequences: list[list[int]], device: torch.device) -> Chunk:
    """Right-pad with token 0, which the causal mask keeps from mattering."""
    longest = max(len(s) for s in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.int64)
    return Chunk(tokens.to(device), lengths.to(device))
