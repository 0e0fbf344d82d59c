# SPDX-License-Identifier: Apache-2.0
"""Where each personal number lives in the one flat vector, and what it multiplies.

A fork's personal state is a vector ``z`` of int32 in fixed point: number ``k`` stands for the real
``z[k] * 2**-FRACTION_BITS``. The layout cuts it into segments, in this order, for each layer of the base::

    layers.<i>.qkv      (r, r)  attention   R of the fused query-key-value projection
    layers.<i>.o        (r, r)  attention   R of the output projection
    layers.<i>.gate_up  (r, r)  ffn         R of the fused gate and up projection
    layers.<i>.down     (r, r)  ffn         R of the down projection
    output              (h,)    embedding   added to the final hidden state, before the head
    gates               (L, 2)  preference  log-gates: block output *= exp(gate), attention then ffn

No torch here: an auditor folds records without it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ipse.wire.coordinates import Coordinates, decode_change

FRACTION_BITS = 20
"""Fixed point: one unit is 2**-20, the range is +-2048. A step of an update is of the order 1e-2."""

ONE = 1 << FRACTION_BITS

Kind = Literal["attention", "ffn", "embedding", "preference"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One named block of the state.

    Attributes:
        name: as in the table of the module docstring.
        kind: which of the proposal's views shows it.
        offset: index of its first number in the flat vector.
        shape: of the block, row-major.
        step_scale: how far a normalised step moves these numbers relative to the others: the step is
            taken in coordinates ``w / step_scale``, so sensitivities are stated in those.
    """

    name: str
    kind: Kind
    offset: int
    shape: tuple[int, ...]
    step_scale: float = 1.0

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def stop(self) -> int:
        return self.offset + self.size

    @property
    def slice(self) -> slice:
        return slice(self.offset, self.stop)


@dataclass(frozen=True)
class StateLayout:
    """The segments of every fork on one base with one basis.

    Attributes:
        base_id: first 8 bytes of the base's weight digest, 16 hex characters.
        basis_digest: SHA-256 of the basis, hex: a state means nothing under another basis.
        rank: r of each ``R``.
        segments: contiguous, in order.
        coordinates: public directions of ordinary updates, if the basis has them; the basis' digest covers them.
    """

    base_id: str
    basis_digest: str
    rank: int
    segments: tuple[Segment, ...]
    coordinates: Coordinates | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        at = 0
        for segment in self.segments:
            if segment.offset != at:
                raise ValueError(f"Expected segment {segment.name} at {at}, got {segment.offset}")
            at = segment.stop

    @cached_property
    def size(self) -> int:
        """d: how many numbers a fork has."""
        return sum(segment.size for segment in self.segments)

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the segments: the groups that share one multiplier in a coded update."""
        return tuple(segment.size for segment in self.segments)

    @cached_property
    def step_scale(self) -> NDArray[np.float32]:
        """(d,) float32: the step scale of each number."""
        parts = [np.full(s.size, s.step_scale, dtype=np.float32) for s in self.segments]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the layout: two forks add up only if these agree."""
        facts = {
            "base_id": self.base_id,
            "basis_digest": self.basis_digest,
            "rank": self.rank,
            "segments": [asdict(segment) for segment in self.segments],
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()

    def read_update(self, coded: bytes) -> NDArray[np.int32]:
        """(d,) int32: the change that a recorded update says. Raises VerificationError on anything else."""
        return decode_change(coded, self.groups, self.coordinates)

    def __getitem__(self, name: str) -> Segment:
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise KeyError(name)


def build_layout(
    base_id: str,
    basis_digest: str,
    rank: int,
    linears: tuple[tuple[str, Kind], ...],
    *,
    hidden_size: int,
    layers: int,
    embedding_scale: float = 1.0,
    gate_scale: float = 1.0,
    coordinates: Coordinates | None = None,
) -> StateLayout:
    """Lay out one R per adapted linear, then the output embedding, then the gates.

    Args:
        linears: (name, kind) of each adapted linear, in the order of the basis.
        hidden_size: h, width of the final hidden state.
        layers: L, count of blocks, each with an attention and an ffn gate.
        coordinates: see :class:`StateLayout`.
    """
    segments: list[Segment] = []
    at = 0
    for name, kind in linears:
        segments.append(Segment(name, kind, at, (rank, rank)))
        at += rank * rank
    segments.append(Segment("output", "embedding", at, (hidden_size,), embedding_scale))
    segments.append(Segment("gates", "preference", at + hidden_size, (layers, 2), gate_scale))
    return StateLayout(base_id, basis_digest, rank, tuple(segments), coordinates)
