# SPDX-License-Identifier: Apache-2.0
"""The personal state: one integer vector, and nothing else, is what a user owns.

``z_n = u_1 + u_2 + ... + u_n`` with ``z_0 = 0``. Integer sums are exact and order-free on every machine,
so a replay is bit-identical or it is wrong. Saturation is an error and never a wrap: a wrapped sum would
still "verify" and be nonsense.

The proposal's types (HIP-6, R15-R20) are read-only views of the same vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipse.errors import BaseMismatch, StateOverflow
from ipse.model.layout import FRACTION_BITS, Segment, StateLayout

Int32Vector = NDArray[np.int32]
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class LoRAAdapter:
    """One linear's personal middle matrix: ``y = W x + s U R V x`` with shared ``U``, ``V``."""

    name: str
    r: NDArray[np.float64]
    """(rank, rank) float64, rows index U, columns index V."""


@dataclass(frozen=True, slots=True)
class PersonalEmbeddings:
    """What is added to the final hidden state before the head."""

    output: NDArray[np.float64]
    """(hidden,) float64."""


@dataclass(frozen=True, slots=True)
class PreferenceMatrix:
    """Learned preferences: how loudly each block speaks.

    The proposal's ``preference_weights *= (1 + g)`` is stored as ``log_gates += log(1 + g)``, which makes
    it a sum like everything else.
    """

    log_gates: NDArray[np.float64]
    """(layers, 2) float64: attention, ffn."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """(layers, 2) float64, 1.0 in a new fork."""
        return np.exp(self.log_gates)


@dataclass(frozen=True, slots=True)
class UserAdapterLayers:
    """The proposal's ``UserAdapterLayers`` (R15, R17-R20)."""

    attention_adapters: tuple[LoRAAdapter, ...]
    ffn_adapters: tuple[LoRAAdapter, ...]
    user_embeddings: PersonalEmbeddings
    preference_weights: PreferenceMatrix


@dataclass(frozen=True, slots=True)
class PersonalState:
    """A fork's numbers at one height.

    Attributes:
        layout: which number is what.
        z: (d,) int32, read-only, fixed point with ``FRACTION_BITS`` fraction bits.
    """

    layout: StateLayout
    z: Int32Vector

    def __post_init__(self) -> None:
        if self.z.dtype != np.int32 or self.z.shape != (self.layout.size,):
            raise BaseMismatch(
                f"Expected a state of {self.layout.size} int32 numbers, got {self.z.dtype} {self.z.shape}.",
                "Open the fork with the base, basis and rank that it was made with.",
            )
        self.z.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PersonalState)
            and self.layout.digest == other.layout.digest
            and bool(np.array_equal(self.z, other.z))
        )

    def __hash__(self) -> int:
        return hash((self.layout.digest, self.z.tobytes()))

    def values(self) -> NDArray[np.float32]:
        """(d,) float32: the numbers that the forward pass uses."""
        return (self.z * 2.0**-FRACTION_BITS).astype(np.float32)

    @property
    def user_layers(self) -> UserAdapterLayers:
        """The state as the proposal's types."""

        def block(segment: Segment) -> NDArray[np.float64]:
            values: NDArray[np.float64] = self.z[segment.slice].astype(np.float64) * 2.0**-FRACTION_BITS
            return values.reshape(segment.shape)

        def adapters(kind: str) -> tuple[LoRAAdapter, ...]:
            return tuple(LoRAAdapter(s.name, block(s)) for s in self.layout.segments if s.kind == kind)

        return UserAdapterLayers(
            attention_adapters=adapters("attention"),
            ffn_adapters=adapters("ffn"),
            user_embeddings=PersonalEmbeddings(block(self.layout["output"])),
            preference_weights=PreferenceMatrix(block(self.layout["gates"])),
        )


def zero_state(layout: StateLayout) -> PersonalState:
    """A new fork: it answers exactly as its base."""
    return PersonalState(layout, np.zeros(layout.size, dtype=np.int32))


def apply(state: PersonalState, update: Int32Vector) -> PersonalState:
    """``z + u``, exactly.

    Args:
        update: (d,) int32, in the same fixed point.

    Raises:
        StateOverflow: if any sum leaves int32; the given state is untouched.
    """
    return fold(state, (update,))


def fold(state: PersonalState, updates: Iterable[Int32Vector]) -> PersonalState:
    """``z + u_1 + ... + u_n`` by int64 sums, checked at the end against int32.

    Order does not matter: an int64 sum of fewer than 2**32 int32 vectors cannot overflow on the way.
    """
    total = state.z.astype(np.int64)
    for update in updates:
        if update.dtype != np.int32 or update.shape != state.z.shape:
            raise BaseMismatch(
                f"Expected an update of {state.layout.size} int32 numbers, got {update.dtype} {update.shape}.",
                "The record belongs to a fork on another base, basis or rank.",
            )
        total += update
    if total.size and (int(total.max()) > _INT32.max or int(total.min()) < _INT32.min):
        raise StateOverflow(
            "The update would push a personal number past its range of +-2048.",
            "Roll the fork back, or lower the learning rate; nothing was applied.",
        )
    return PersonalState(state.layout, total.astype(np.int32))
