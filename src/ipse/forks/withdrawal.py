# SPDX-License-Identifier: Apache-2.0
"""Which records count: the one law behind undo, redo and rollback.

    A record counts unless a later record that counts takes it out.
    An UNDO takes out the record that it names.
    A ROLLBACK takes out every record after the one that it names, and before itself.

Read from the newest record back, the law decides each record once, and everything else follows from it:

- After a rollback to record N exactly those records count that counted when N was the newest: what was undone
  after N counts again, what was undone before N stays out, and so it is when N itself was rolled back or undone
  meanwhile. To roll back to before a rollback is therefore to take it back.
- An undo of an undo gives the record back; an undo of a rollback gives back all that it took out and takes out
  what it gave back. What came later stays.
- A record that does not count cannot be undone. After a rollback that is any record it took out.
- An undo of a record before a rollback's target takes out that record as at any other time.

Both kinds of record hold a name and no numbers, so they stay small, and nothing ever leaves the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An UNDO or ROLLBACK record, by numbers.

    Attributes:
        seq: its own number.
        target_seq: of an undo, the record taken out; of a rollback, the last record that is not (0: all are).
        rollback: which of the two it is.
    """

    seq: int
    target_seq: int
    rollback: bool


def withdrawn(withdrawals: Sequence[Withdrawal]) -> dict[int, int]:
    """The records that do not count, each with the newest record that takes it out.

    Args:
        withdrawals: all of a history, or of its beginning, oldest first.

    >>> withdrawn([Withdrawal(3, 1, False), Withdrawal(6, 2, True)])  # the undo is taken out, so record 1 counts
    {3: 6, 4: 6, 5: 6}
    """
    out: dict[int, int] = {}
    for one in reversed(withdrawals):
        if one.seq in out:
            continue
        taken = range(one.target_seq + 1, one.seq) if one.rollback else (one.target_seq,)
        for seq in taken:
            out.setdefault(seq, one.seq)
    return out
