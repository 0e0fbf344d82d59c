# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to the bytes of a bundle on their way: a failed check, and no fork."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.forks.carry import carried_out, received, take_in
from ipse.forks.home import Home, now_ms
from ipse.forks.members import let_in
from ipse.forks.publish import publish
from ipse.ledger import bundle as bundles
from ipse.ledger.bundle import read_bundle
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, load_root_key, write_root_key
from ipse.wire import bundle_pb2 as pb
from tests.forks.tiny import Life
from tests.ledger.bundles import OWNER, contents, history, published


@pytest.fixture(scope="module")
def sent() -> Iterator[tuple[bytes, Home]]:
    """A bundle with everything in it, and the installation that it is for."""
    with tempfile.TemporaryDirectory() as folder:
        with Home.open(Path(folder) / "here") as here:
            life = Life(here)
            life.learn("a", "b")
            let_in(here.sealed(life.fork.row.fork_id), Identity(RootKey(bytes(32))).public, "phone", now_ms())
            publish(here)
            data = carried_out(here, life.fork.row.fork_id)
            root = load_root_key(here.keys.key_path)
        write_root_key(Path(folder) / "there" / "root.key", root)
        with Home.open(Path(folder) / "there") as there:
            yield data, there


@st.composite
def damage(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """Some blows: what is done, how far into the bytes, and with which bytes."""
    kinds = st.sampled_from(["put", "insert", "cut", "drop", "double"])
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=40)), min_size=1, max_size=4))


def damaged(data: bytes, blows: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, piece in blows:
        at = int(where * len(data))
        if kind == "put":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + len(piece) :]
        else:
            data = data[:at] + data[at : at + 500] + data[at:]
    return data


@settings(max_examples=400)
@given(blows=damage())
def test_a_damaged_bundle_is_a_failed_check_and_never_a_fork(
    sent: tuple[bytes, Home], blows: list[tuple[str, float, bytes]]
) -> None:
    data, there = sent
    bad = damaged(data, blows)
    assume(bad != data)
    with pytest.raises(VerificationError):
        take_in(there, received(there, bad))
    assert there.forks() == []


@given(data=st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"ipse bundle 1\n" + rest))
def test_no_bytes_raise_anything_but_a_failed_check(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_bundle(data, OWNER)


WHOLE = bundles._content(published(history(), 2, into=contents(history())), OWNER.public).SerializeToString()


@settings(max_examples=400)
@given(blows=damage())
def test_what_a_member_seals_and_signs_is_checked_like_anything_else(blows: list[tuple[str, float, bytes]]) -> None:
    content = damaged(WHOLE, blows)
    sealed = bundles._sealed(content, OWNER, [OWNER.public], secrets.token_bytes)
    try:
        read_bundle(sealed, OWNER)
    except VerificationError:
        return
    accepted = pb.Bundle.FromString(content)
    assert list(accepted.records) == list(pb.Bundle.FromString(WHOLE).records), "every record, signed and in its place"
