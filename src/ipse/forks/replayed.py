# SPDX-License-Identifier: Apache-2.0
"""How a history tells that a rollback began an undo with replay, and what was learned anew for what.

Nothing is marked and no file is kept beside the history. The names of the operations say it, because they follow
from what was there before::

    the rollback    SHA-256("ipse replay from" || operation of the record to be gone || digest of the head before it)
    each one anew   SHA-256("ipse replay step" || operation of that rollback || operation that is done again)

16 bytes of each. The rollback goes to the record before the one to be gone, and names the digest of the head before
it as every record does, so anybody who can read it can compute its name anew. And as an operation is recorded once,
nothing is learned twice, however often a replay is killed and begun again, and by however many processes.
"""

from __future__ import annotations

from ipse.errors import InputError
from ipse.forks.openfork import OpenFork
from ipse.ledger.record import Record, RecordKind
from ipse.wire.digest import sha256
from ipse.wire.ids import OP_ID_BYTES


def rollback_op(gone: bytes, head: bytes) -> bytes:
    """The operation of the rollback that begins a replay without ``gone`` (16 bytes), at this head (32 bytes)."""
    return sha256(b"ipse replay from" + gone + head)[:OP_ID_BYTES]


def step_op(rollback: bytes, old: bytes) -> bytes:
    """The operation that does ``old`` again after this rollback; all 16 bytes."""
    return sha256(b"ipse replay step" + rollback + old)[:OP_ID_BYTES]


def removed_by(opened: OpenFork, seq: int) -> Record | None:
    """The record that a replay beginning with rollback ``seq`` leaves out; None if no replay begins there."""
    start = opened.at(seq)
    if start.kind != RecordKind.ROLLBACK:
        return None
    target = opened.find(start.target_op_id).seq if start.target_op_id else 0
    if target + 1 >= seq:
        return None
    gone = opened.at(target + 1)
    return gone if start.op_id == rollback_op(gone.op_id, start.previous_digest) else None


def learned_anew(opened: OpenFork, rollback: int, seq: int) -> int:
    """The number of the record that did record ``seq`` again after this rollback; 0 if there is none."""
    try:
        return opened.find(step_op(opened.at(rollback).op_id, opened.at(seq).op_id)).seq
    except InputError:
        return 0
