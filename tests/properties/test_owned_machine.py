# SPDX-License-Identifier: Apache-2.0
"""All that can happen to a fork that somebody owns, in any order, against a plain list of updates.

It learns, takes back, lets devices in and out, gets a new root, is published, leaves in a bundle for another
installation and goes on there, dies in the middle, is erased. After each step state, prior and height are the sums of
the updates that count, and at the end every record, signature, head and log entry verifies.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ipse.errors import IpseError
from ipse.forks import openfork
from ipse.forks.audit import audit_fork, audit_log, home_log
from ipse.forks.carry import carried_out, received, take_in
from ipse.forks.erase import erase
from ipse.forks.home import KEY_NAME, Home, now_ms
from ipse.forks.members import let_in, put_out
from ipse.forks.openfork import OpenFork
from ipse.forks.publish import publish
from ipse.forks.recall import Recall
from ipse.forks.rotation import rotate
from ipse.forks.takeback import rollback, undo
from ipse.ledger.chain import check_chain
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.record import RecordKind
from ipse.vault.identity import Identity
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey
from ipse.wire.ids import ForkId
from tests.forks.tiny import LAYOUT, append, blank, numbers, tiny_fork, turn

DEVICES = [Identity(RootKey(bytes([n]) * 32)).public for n in (1, 2)]


class OwnedMachine(RuleBasedStateMachine):
    """One fork, wherever it is, and the list of what it learned."""

    def __init__(self) -> None:
        super().__init__()
        self.every, openfork.SNAPSHOT_EVERY = openfork.SNAPSHOT_EVERY, 4
        self.root = Path(tempfile.mkdtemp())
        self.rng = np.random.default_rng(0)
        self.folder = self.root / "here-0"
        self.copies = 0
        self.home = Home.open(self.folder)
        self.begin()

    def teardown(self) -> None:
        self.audited()
        openfork.SNAPSHOT_EVERY = self.every
        self.home.close()
        shutil.rmtree(self.root)

    # -- the oracle ------------------------------------------------------------------------------

    def begin(self) -> None:
        """A fork that nothing happened to yet."""
        self.fork: OpenFork = tiny_fork(self.home)
        self.updates: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.counted = [frozenset[int]()]
        """Which records with numbers count after each record."""
        self.inside: set[bytes] = set()

    @property
    def fork_id(self) -> ForkId:
        return self.fork.row.fork_id

    @property
    def size(self) -> int:
        return len(self.counted) - 1

    def happened(self, counted: frozenset[int]) -> None:
        self.counted.append(counted)

    def reopen(self, folder: Path | None = None) -> None:
        self.home.close()
        self.folder = folder or self.folder
        self.home = Home.open(self.folder, create=False)
        self.fork = self.home.open_fork(self.fork_id, LAYOUT)

    # -- what can happen -------------------------------------------------------------------------

    @rule()
    def learns(self) -> None:
        (coded, change), (coded_prior, change_prior) = numbers(self.rng), numbers(self.rng, 1)
        append(self.fork, turn(f"words {self.size}", coded, coded_prior))
        number = self.size + 1
        self.updates[number] = (change, change_prior)
        self.happened(self.counted[-1] | {number})

    @precondition(lambda self: self.counted[-1])
    @rule(data=st.data())
    def undone(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(sorted(self.counted[-1])))
        undo(self.fork, Recall(self.fork), target, blank(RecordKind.UNDO))
        self.happened(self.counted[-1] - {target})

    @precondition(lambda self: self.size)
    @rule(data=st.data())
    def rolled_back(self, data: st.DataObject) -> None:
        target = data.draw(st.integers(0, self.size))
        if self.counted[target] == self.counted[-1]:
            return  # it may be refused as changing nothing
        rollback(self.fork, Recall(self.fork), target, blank(RecordKind.ROLLBACK))
        self.happened(self.counted[target])

    @precondition(lambda self: self.size)
    @rule(device=st.sampled_from(DEVICES))
    def device_comes_or_goes(self, device: object) -> None:
        assert isinstance(device, type(DEVICES[0]))
        history = self.home.sealed(self.fork_id)
        if device.short_id in self.inside:
            put_out(history, device.short_id, now_ms())
        else:
            let_in(history, device, "a device", now_ms())
        self.inside ^= {device.short_id}
        self.happened(self.counted[-1])
        self.fork.reload()

    @rule()
    def gets_a_new_root(self) -> None:
        self.home.close()
        rotate(self.folder, nobody_to_ask, nobody_to_ask)
        if self.size:
            self.happened(self.counted[-1])
        self.reopen()

    @rule()
    def is_published(self) -> None:
        publish(self.home)

    @precondition(lambda self: self.size)
    @rule()
    def moves_to_another_installation(self) -> None:
        """With its root, by a bundle; another log and other server keys are there, and it is published there."""
        bundle = carried_out(self.home, self.fork_id)
        folder = self.new_folder("there")
        folder.mkdir(mode=0o700)
        shutil.copy(self.folder / KEY_NAME, folder / KEY_NAME)
        with Home.open(folder) as other:
            arrival = take_in(other, received(other, bundle))
            assert (arrival.new, arrival.added) == (True, self.size)
            publish(other)
        self.reopen(folder)

    @rule()
    def dies(self) -> None:
        """What is on the disk at this moment is all that the next start has."""
        folder = self.new_folder("after")
        shutil.copytree(self.folder, folder)
        self.reopen(folder)

    @precondition(lambda self: self.size > 3)
    @rule()
    def is_erased(self) -> None:
        gone = self.fork_id
        erase(self.home.store, gone, now_ms())
        for attempt in (lambda: self.home.open_fork(gone, LAYOUT), lambda: self.home.sealed(gone)):
            try:
                attempt()
            except IpseError:
                continue
            raise AssertionError("an erased fork opens")
        self.begin()

    def new_folder(self, name: str) -> Path:
        self.copies += 1
        return self.root / f"{name}-{self.copies}"

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def it_is_the_sum_of_what_counts(self) -> None:
        zero = np.zeros(LAYOUT.size, np.int64)
        counted = self.counted[-1]
        for fork in (self.fork, self.home.open_fork(self.fork_id, LAYOUT)):
            at = fork.folded
            assert at.head.seq == self.size
            assert at.height == len(counted)
            assert np.array_equal(at.z, sum((self.updates[n][0] for n in counted), zero))
            assert np.array_equal(at.prior, sum((self.updates[n][1] for n in counted), zero))
            assert {member.short_id for member in fork.access.members[1:]} == self.inside

    @invariant()
    def a_stranger_finds_it_whole(self) -> None:
        head, access = check_chain((r.data for r in self.home.store.records(self.fork_id)), self.fork_id)
        assert head.seq == self.size
        assert access.owner in (None, self.home.identity.public)

    def audited(self) -> None:
        """Every head that is in the log of the installation where it is now, and the log itself."""
        publish(self.home)
        public = PublicLog(self.home.store)
        log = home_log(public)
        assert log is not None
        audit_log(public, log)
        if self.size:
            audit_fork(self.home.store, self.fork_id, history=self.home.sealed(self.fork_id))


TestOwned = OwnedMachine.TestCase
TestOwned.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.slow
def test_the_owned_fork_is_like_the_list_in_long_runs_too() -> None:
    run_state_machine_as_test(OwnedMachine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None))
