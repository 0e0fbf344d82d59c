# SPDX-License-Identifier: Apache-2.0
"""The data keys of one fork, opened with one identity as they are asked for."""

from __future__ import annotations

from collections.abc import Callable

from ipse.errors import InputError, VerificationError
from ipse.ledger.envelope import read_envelope
from ipse.vault.datakeys import WrappedKey, unwrap, unwrap_previous
from ipse.vault.identity import Identity
from ipse.vault.keys import ForkKey
from ipse.wire.ids import ForkId


class KeyChain:
    """Opens the data key of any record.

    A key is unwrapped where it is wrapped for this identity. Where it is not, because the identity came later, it is
    reached from the newest key back, each sealing the one before it.
    """

    def __init__(
        self,
        fork_id: ForkId,
        identity: Identity,
        first: ForkKey,
        read: Callable[[int], bytes],
        newest: Callable[[], int],
    ) -> None:
        """Nothing is opened yet.

        Args:
            first: data key 0, by this identity's root.
            read: the bytes of a record by number.
            newest: number of the newest data key, 0 if there is none.
        """
        self._fork_id, self._identity, self._first = fork_id, identity, first
        self._read, self._newest = read, newest
        self._known: dict[int, ForkKey] = {}

    def add(self, key: ForkKey) -> None:
        """A key that was made here."""
        self._known[key.number] = key

    def key(self, number: int) -> ForkKey:
        """The data key that the record of this number brought; 0 is the one of before data keys.

        Raises:
            WrongKey: it is not for this identity.
            VerificationError: the record that should bring it does not.
        """
        if number not in self._known:
            if number and self._is_mine(number):
                self.add(unwrap(self._identity, self._fork_id, number, self._wrapped(number)))
            else:
                self._walk_back(number)
        return self._known[number]

    def first(self) -> ForkKey:
        """The first data key of the fork, from which its heads are blinded.

        Raises:
            InputError: the fork has no data key yet.
            WrongKey, VerificationError: as ``key``.
        """
        number = self._newest()
        if number and read_envelope(self._read(1)).wrapped_key is not None:
            number = 1  # as in every fork that never had a record without
        while number and (previous := self._wrapped(number).previous_number):
            number = previous
        if not number:
            raise InputError(f"Fork {self._fork_id} has no data key yet.", "Say something to it first.")
        return self.key(number)

    def _is_mine(self, number: int) -> bool:
        mine = self._identity.public.short_id
        return any(recipient == mine for recipient, _ in self._wrapped(number).wraps)

    def _walk_back(self, number: int) -> None:
        at = self._newest()
        if not at:
            self.add(self._first)
            return
        if at not in self._known:
            self.add(unwrap(self._identity, self._fork_id, at, self._wrapped(at)))
        while at > number:
            wrapped = self._wrapped(at)
            if wrapped.previous_number not in self._known:
                self.add(unwrap_previous(self._known[at], wrapped))
            at = wrapped.previous_number
        if at != number:
            raise VerificationError(f"No data key of fork {self._fork_id} is that of record {number}.")

    def _wrapped(self, number: int) -> WrappedKey:
        wrapped = read_envelope(self._read(number)).wrapped_key
        if wrapped is None or wrapped.previous_number >= number:
            raise VerificationError(f"Record {number} of fork {self._fork_id} does not bring the data key it should.")
        return wrapped
