# SPDX-License-Identifier: Apache-2.0
"""A history can be checked without its key."""

from __future__ import annotations

import pytest

from ipse.errors import VerificationError
from ipse.ledger.chain import ChainHead, check_chain
from ipse.ledger.record import record_digest
from ipse.vault.keys import fork_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import new_fork_id
from tests.ledger.samples import KEY, ROOT, chain

FORK = KEY.fork_id


def test_a_whole_chain_passes_and_gives_its_head() -> None:
    records = chain(5)
    assert check_chain([], FORK)[0] == ChainHead(0, NO_DIGEST)
    assert check_chain(records, FORK)[0] == ChainHead(5, record_digest(records[-1]))


def test_a_dropped_doubled_swapped_or_foreign_record_is_named() -> None:
    a, b, c, d = chain(4)
    foreign = chain(1, fork_key(ROOT, new_fork_id()))[0]
    for records, seq in (
        ([b, c, d], 1),
        ([a, c, d], 2),
        ([a, b, b, c], 3),
        ([a, c, b, d], 2),
        ([a, b, a], 3),
        ([foreign, b], 1),
        ([a, b, b""], 3),
        ([a, b, b"nonsense" * 10], 3),
    ):
        with pytest.raises(VerificationError, match=f"Record {seq} of fork {FORK}"):
            check_chain(records, FORK)


def test_an_altered_record_is_found_at_the_next_one() -> None:
    a, b, c = chain(3)
    altered = bytearray(b)
    altered[-1] ^= 1  # its MAC: without a key only the chain can tell
    with pytest.raises(VerificationError, match="Record 3"):
        check_chain([a, bytes(altered), c], FORK)


def test_a_cut_off_end_changes_the_head() -> None:
    records = chain(3)
    assert check_chain(records[:2], FORK) != check_chain(records, FORK)
