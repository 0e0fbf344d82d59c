# SPDX-License-Identifier: Apache-2.0
"""A fork: one owner's model, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from ipse.model.state import PersonalState, UserAdapterLayers
from ipse.wire.ids import BaseId, ForkId, OwnerId


@dataclass(frozen=True, slots=True)
class ModelFork:
    """The proposal's ``ModelFork`` (HIP-6, R12-R16): a base reference, a personal state, and no copy of the base.

    Attributes:
        fork_id: unique.
        owner: as the application names them; no key comes from it.
        base_model: first 8 bytes of the base's weight digest, 16 hex characters.
        fork_height: count of updates in the state (an undone one no longer counts).
        state: the personal state.
    """

    fork_id: ForkId
    owner: OwnerId
    base_model: BaseId
    fork_height: int
    state: PersonalState

    @property
    def user_layers(self) -> UserAdapterLayers:
        """The state as adapters, embeddings and preferences."""
        return self.state.user_layers
