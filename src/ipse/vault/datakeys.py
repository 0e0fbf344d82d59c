# SPDX-License-Identifier: Apache-2.0
"""Data keys: what the records of a day are sealed under, wrapped to everybody who may read them.

    data key            32 random bytes, new each day and whenever somebody is let in or put out
    ├── wrapped         to each member's X-Wing key (identity.py): 1168 bytes each
    └── previous        the data key before it, sealed under this one: 48 bytes

A data key is random and in no way follows from the root. So a fork can be erased though its owner's root lives on:
destroy the wraps, and nobody opens its records again. It is named by the number of the record that brings it.

Who has a data key has all that came before it. That is what lets a new device, or a new root, in with one wrap and
without touching data. It also is the limit of putting a device out: it keeps what it could read until then.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ipse.errors import VerificationError, WrongKey
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.keys import KEY_BYTES, ForkKey, derive
from ipse.vault.seal import NONCE_BYTES, open_part, seal_part, sealing_context
from ipse.wire.ids import ForkId, Randomness


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as a record carries it.

    Attributes:
        wraps: (short id of the member, the key sealed to it), the owner first.
        previous_number: of the data key before it; 0 is the one that follows from the root.
        previous: that key, sealed under this one; empty if there is none before it.
    """

    wraps: tuple[tuple[bytes, bytes], ...]
    previous_number: int = 0
    previous: bytes = b""


def new_data_key(
    fork_id: ForkId,
    number: int,
    members: Sequence[PublicIdentity],
    previous: ForkKey | None,
    rng: Randomness = secrets.token_bytes,
) -> tuple[ForkKey, WrappedKey]:
    """A fresh data key, and how the record of this number carries it.

    Args:
        number: of the record that brings it, from 1.
        members: everybody who may read from here on.
        previous: the data key until now; None in a fork without records.
    """
    key = ForkKey(fork_id, rng(KEY_BYTES), number)
    wraps = tuple((m.short_id, m.seal_to(key.secret, _info(fork_id, number, m.id))) for m in members)
    if previous is None:
        return key, WrappedKey(wraps)
    sealed = seal_part(
        derive(key, "previous data key"),
        previous.secret,
        nonce=bytes(NONCE_BYTES),  # the one thing that is ever sealed under this derived key
        context=_previous_context(fork_id, number, previous.number),
    )
    return key, WrappedKey(wraps, previous.number, sealed)


def unwrap(identity: Identity, fork_id: ForkId, number: int, wrapped: WrappedKey) -> ForkKey:
    """The data key, by the wrap for this identity.

    Raises:
        WrongKey: there is none for it, or it does not open.
    """
    mine = identity.public
    for recipient, sealed in wrapped.wraps:
        if recipient == mine.short_id:
            secret = identity.open_sealed(sealed, _info(fork_id, number, mine.id))
            return ForkKey(fork_id, _checked(secret), number)
    raise WrongKey(
        f"The data key of record {number} of fork {fork_id} is not wrapped for {mine.name}.",
        "Use the key of the fork's owner, or of a device that its owner let in.",
    )


def unwrap_previous(key: ForkKey, wrapped: WrappedKey) -> ForkKey:
    """The data key before this one.

    Raises:
        VerificationError: there is none, or it does not open.
    """
    if not wrapped.previous:
        raise VerificationError(f"There is no data key before that of record {key.number}.")
    secret = open_part(
        derive(key, "previous data key"),
        wrapped.previous,
        nonce=bytes(NONCE_BYTES),
        context=_previous_context(key.fork_id, key.number, wrapped.previous_number),
    )
    return ForkKey(key.fork_id, _checked(secret), wrapped.previous_number)


def _checked(secret: bytes) -> bytes:
    if len(secret) != KEY_BYTES:
        raise VerificationError(f"Expected a data key of {KEY_BYTES} bytes, got {len(secret)}.")
    return secret


def _info(fork_id: ForkId, number: int, member: bytes) -> bytes:
    return sealing_context("data key", fork_id, number, member)


def _previous_context(fork_id: ForkId, number: int, previous: int) -> bytes:
    return sealing_context("previous data key", fork_id, number, previous)
