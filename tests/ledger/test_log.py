# SPDX-License-Identifier: Apache-2.0
"""The log of an installation: what it signs, what it refuses, and what a check of it finds."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ipse.errors import ClockError, HeightConflict, InputError, StoreError, VaultError, VerificationError
from ipse.ledger.checkpoint import cosign, open_checkpoint, sign_checkpoint
from ipse.ledger.log import LogWriter, new_log, note_keys
from ipse.ledger.publiclog import PublicLog, check_log, seen_name, signed_at
from ipse.ledger.tiles import ENTRIES, Tile, bundles_of, decode_bundle, grown_tiles, tiles_of
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import EMPTY_ROOT, leaf_hash, root_hash, verify_consistency
from ipse.ledger.treehead import TreeHead
from ipse.store.store import Store
from ipse.vault.logkeys import load_log_key, renew_log_key
from tests.ledger.logs import KNOWN_WITNESSES, TIME_S, WITNESSES, blinded, tile_bytes

SIZE = 600
ENTRIES_600 = blinded(SIZE)
LEAVES = [leaf_hash(entry) for entry in ENTRIES_600]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def writer(store: Store) -> LogWriter:
    return LogWriter.open(store, origin="log.example/ipse", clock=lambda: TIME_S)


def test_a_new_log_is_empty_and_signed_with_both_keys(writer: LogWriter) -> None:
    checkpoint = writer.public.checkpoint()
    assert open_checkpoint(checkpoint, writer.log).head == TreeHead("log.example/ipse", 0, EMPTY_ROOT)
    assert [key.kind for key in writer.log.keys] == [1, 6]
    assert signed_at(checkpoint, writer.log) == TIME_S
    assert check_log(writer.public, writer.log) == writer.head


def test_a_log_keeps_its_name_and_keys(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600[:3])
    again = LogWriter.open(store, origin="other.example")
    assert again.log == writer.log
    assert again.head == writer.head


def test_appending_gives_the_number_of_the_first_entry_and_a_checkpoint_over_all(writer: LogWriter) -> None:
    at = 0
    for count in (1, 2, 255, 1, 300):
        done = writer.append(ENTRIES_600[at : at + count])
        assert done.index == at
        at += count
        head = open_checkpoint(done.checkpoint, writer.log).head
        assert head == writer.head == TreeHead("log.example/ipse", at, root_hash(LEAVES[:at]))
        assert writer.public.checkpoint() == done.checkpoint
    assert check_log(writer.public, writer.log) == writer.head
    assert [writer.public.entry(index) for index in range(at)] == ENTRIES_600[:at]


def test_only_entries_of_32_bytes_are_taken(writer: LogWriter) -> None:
    for wrong in ([], [bytes(31)], [bytes(32), b""], [bytes(33)]):
        with pytest.raises(InputError):
            writer.append(wrong)
    assert writer.reload().size == 0


def test_tiles_and_bundles_are_those_of_the_definition_also_of_earlier_sizes(writer: LogWriter) -> None:
    writer.append(ENTRIES_600)
    for size in (1, 255, 256, 257, 511, 513, SIZE):
        for tile in tiles_of(size):
            assert writer.public.tile(tile) == tile_bytes(tile, LEAVES)
        for tile in bundles_of(size):
            data = writer.public.tile(tile)
            assert data is not None
            start = tile.index * 256
            assert list(decode_bundle(data, tile.width)) == ENTRIES_600[start : start + tile.width]


def test_a_tile_that_is_not_there_yet_is_none(writer: LogWriter) -> None:
    writer.append(ENTRIES_600)
    far = 2**63 - 1
    for tile in (Tile(0, 2), Tile(0, 2, 89), Tile(0, 3, 1), Tile(1, 0, 3), Tile(2, 0, 1), Tile(0, far), Tile(63, far)):
        assert writer.public.tile(tile) is None
    for tile in (Tile(ENTRIES, 2), Tile(ENTRIES, 2, 89), Tile(ENTRIES, 3, 1), Tile(ENTRIES, far)):
        assert writer.public.tile(tile) is None


def test_growing_writes_the_tiles_that_are_new_and_no_others() -> None:
    for old in range(0, SIZE, 37):
        for size in range(old, SIZE, 41):
            grown = dict(grown_tiles(old, LEAVES[old:size], lambda tile: tile_bytes(tile, LEAVES)))
            assert list(grown) == list(tiles_of(size, old))
            assert all(data == tile_bytes(tile, LEAVES) for tile, data in grown.items())


def test_every_entry_is_proven_and_every_growth(writer: LogWriter) -> None:
    writer.append(ENTRIES_600[:300])
    writer.append(ENTRIES_600[300:])
    for index in (0, 1, 255, 256, 299, 300, 599):
        proof = TlogProof.from_bytes(writer.public.prove(index).to_bytes())
        assert proof.verify(LEAVES[index], writer.log).head == writer.head
        with pytest.raises(VerificationError):
            proof.verify(LEAVES[index - 1], writer.log)
    for old in (0, 1, 255, 256, 300, 599, 600):
        growth = writer.public.consistency(old)
        head = open_checkpoint(growth.checkpoint, writer.log).head
        verify_consistency(old, root_hash(LEAVES[:old]), head.size, head.root, growth.proof)


def test_there_is_no_proof_of_what_is_not_there(writer: LogWriter) -> None:
    writer.append(ENTRIES_600[:3])
    for index in (-1, 3, 2**63):
        with pytest.raises(InputError):
            writer.public.prove(index)
        with pytest.raises(InputError):
            writer.public.entry(index)
    for old in (-1, 4):
        with pytest.raises(InputError):
            writer.public.consistency(old)


def test_who_knows_an_older_head_is_told_and_may_try_again(writer: LogWriter, store: Store) -> None:
    other = LogWriter.open(store)
    writer.append(ENTRIES_600[:1])
    with pytest.raises(HeightConflict):
        other.append(ENTRIES_600[1:2])
    assert other.reload() == writer.head
    assert other.append(ENTRIES_600[1:2]).index == 1
    assert check_log(other.public, other.log).root == root_hash(LEAVES[:2])


def test_a_cosigned_checkpoint_takes_the_place_of_the_same_head_only(writer: LogWriter) -> None:
    first = writer.append(ENTRIES_600[:1]).checkpoint
    cosigned = cosign(first, WITNESSES[1], time_s=TIME_S)
    writer.replace_checkpoint(cosigned)
    assert writer.public.checkpoint() == cosigned
    kept = open_checkpoint(writer.public.prove(0).checkpoint, writer.log, KNOWN_WITNESSES)
    assert [each.key for each in kept.cosignatures] == [KNOWN_WITNESSES[1]]
    writer.append(ENTRIES_600[1:2])
    with pytest.raises(HeightConflict):
        writer.replace_checkpoint(cosigned)
    with pytest.raises(VerificationError):
        writer.replace_checkpoint(cosigned.replace(b"\n1\n", b"\n2\n"))
    assert open_checkpoint(writer.public.checkpoint(), writer.log).head == writer.head


def test_another_root_of_the_same_size_is_not_kept_even_if_it_is_signed(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600[:1])
    keys = note_keys(load_log_key(store.path.parent / "log.key"))
    with pytest.raises(VerificationError, match="different root hashes"):
        writer.replace_checkpoint(sign_checkpoint(TreeHead(writer.head.origin, 1, bytes(32)), keys))


# -- what was seen--------------------------------------------------------------------------------


def test_a_note_that_lags_is_brought_up_before_a_checkpoint_leaves(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600[:2])
    name = seen_name(writer.head.origin)
    note = store.path.parent / "seen" / name
    older = note.read_bytes()
    writer.append(ENTRIES_600[2:5])
    note.write_bytes(older)  # as if the process had died between commit and note
    public = PublicLog(store)
    assert public.rolled_back() == ""
    public.checkpoint()
    last = public.seen.last(name)
    assert last is not None
    assert (last.seq, last.digest) == (5, writer.head.root)
    note.unlink()
    writer.append(ENTRIES_600[5:6])
    assert note.exists()


def test_what_cannot_be_noted_is_in_the_log_and_not_handed_out(writer: LogWriter, store: Store) -> None:
    folder = store.path.parent / "seen"
    folder.mkdir(exist_ok=True)
    note = folder / seen_name(writer.head.origin)
    note.symlink_to("no/such/place")
    with pytest.raises(StoreError, match="cannot be written"):
        writer.append(ENTRIES_600[:2])
    with pytest.raises(StoreError, match="cannot be written"):
        writer.public.checkpoint()
    assert writer.reload().size == 2
    note.unlink()
    assert writer.append(ENTRIES_600[2:3]).index == 2
    assert check_log(writer.public, writer.log).root == root_hash(LEAVES[:3])


def test_nothing_is_signed_while_what_was_seen_cannot_be_read(writer: LogWriter, store: Store) -> None:
    (store.path.parent / "seen").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be read"):
        writer.append(ENTRIES_600[:2])
    assert writer.reload().size == 0


# -- another log -----------------------------------------------------------------------------------


def test_a_new_log_has_another_name_other_keys_and_nothing_in_it(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600)
    with pytest.raises(InputError):
        new_log(store, origin="log.example/ipse")
    assert LogWriter.open(store).head == writer.head
    new = new_log(store)
    assert new.head == TreeHead(new.log.origin, 0, EMPTY_ROOT)
    assert set(new.log.keys).isdisjoint(writer.log.keys)
    assert check_log(new.public, new.log).size == 0
    with pytest.raises(VaultError):
        writer.append(ENTRIES_600[:1])  # of the log that is given up
    new.append(ENTRIES_600[:1])
    assert LogWriter.open(store).head.root == root_hash(LEAVES[:1])


def test_a_log_without_its_key_or_with_another_one_is_refused(writer: LogWriter, store: Store) -> None:
    path = store.path.parent / "log.key"
    ours = load_log_key(path)
    path.unlink()
    with pytest.raises(VaultError, match="no log key"):
        LogWriter.open(store)
    assert not path.exists()
    renew_log_key(path, "other.example")
    with pytest.raises(VaultError, match=r"log\.example/ipse"):
        LogWriter.open(store)
    renew_log_key(path, ours.name)
    with pytest.raises(VerificationError):
        LogWriter.open(store)


def test_where_there_is_no_log_reading_says_so(store: Store) -> None:
    for call in (PublicLog(store).head, PublicLog(store).checkpoint, PublicLog(store).rolled_back):
        with pytest.raises(InputError, match="no log"):
            call()
    assert PublicLog(store).tile(Tile(0, 0, 1)) is None


# -- what happened behind the store's back is found -------------------------------------------------


def tampered(store: Store, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(store.path)) as other:
        assert other.execute(sql, values).rowcount == 1
        other.commit()


def flipped(data: bytes, randomness: random.Random) -> bytes:
    bad = bytearray(data)
    bad[randomness.randrange(len(bad))] ^= 1 << randomness.randrange(8)
    return bytes(bad)


def test_a_check_finds_every_flipped_bit_in_entries_tiles_and_head(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600)
    good = check_log(writer.public, writer.log)
    randomness = random.Random(5)
    with closing(sqlite3.connect(store.path)) as other:
        places = [("log_entry", "entry", f"number = {n}") for n in (0, 255, 256, 599)]
        places += [
            ("log_tile", "hashes", f"level = {level} AND number = {number}")
            for level, number in other.execute("SELECT level, number FROM log_tile")
        ]
        places += [("log_head", "root", "one = 1"), ("log_head", "checkpoint", "one = 1")]
        for table, column, where in places:
            (whole,) = other.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
            for _ in range(12):
                tampered(store, f"UPDATE {table} SET {column} = ? WHERE {where}", flipped(whole, randomness))
                with pytest.raises(VerificationError):
                    check_log(writer.public, writer.log)
            tampered(store, f"UPDATE {table} SET {column} = ? WHERE {where}", whole)
    assert check_log(writer.public, writer.log) == good


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM log_entry WHERE number = 599",
        "DELETE FROM log_entry WHERE number = 3",
        "DELETE FROM log_tile WHERE level = 0 AND number = 1",
        "DELETE FROM log_tile WHERE level = 1",
        "INSERT INTO log_entry VALUES (600, zeroblob(32))",
        "INSERT INTO log_tile VALUES (2, 0, zeroblob(32))",
        "UPDATE log_entry SET number = 600 WHERE number = 599",
        "UPDATE log_tile SET hashes = substr(hashes, 1, 32) WHERE level = 1",
        "UPDATE log_head SET size = 599",
        "UPDATE log_head SET origin = 'other.example'",
    ],
)
def test_a_check_finds_what_is_missing_or_too_much(writer: LogWriter, store: Store, sql: str) -> None:
    writer.append(ENTRIES_600)
    tampered(store, sql)
    with pytest.raises(VerificationError):
        check_log(writer.public, writer.log)


def test_a_whole_forged_log_is_found_by_its_signatures(writer: LogWriter, store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "forger") as forged:
        forger = LogWriter.open(forged, origin="log.example/ipse")
        forger.append(ENTRIES_600)
        check_log(forger.public, forger.log)
        with pytest.raises(VerificationError):
            check_log(forger.public, writer.log)


def test_nothing_is_signed_on_top_of_damaged_tiles(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600)
    tampered(store, "UPDATE log_tile SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND number = 2")
    with pytest.raises(VerificationError, match="do not lead to the root hash"):
        writer.append(ENTRIES_600[:1])
    assert writer.reload().size == SIZE


def test_no_proof_leaves_that_does_not_verify(writer: LogWriter, store: Store) -> None:
    writer.append(ENTRIES_600)
    tampered(store, "UPDATE log_entry SET entry = zeroblob(32) WHERE number = 7")
    with pytest.raises(VerificationError):
        writer.public.prove(7)
    writer.public.prove(8)
    tampered(store, "DELETE FROM log_entry WHERE number = 7")
    with pytest.raises(VerificationError, match="Entry 7 of the log is missing"):
        writer.public.prove(7)
    tampered(store, "DELETE FROM log_tile WHERE level = 0 AND number = 1")
    with pytest.raises(VerificationError, match="tile/0/001 of the log is missing"):
        writer.public.prove(300)


def test_a_clock_that_was_set_back_signs_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        LogWriter.open(store, clock=lambda: 2_000).append([bytes(32)])
        late = LogWriter.open(store, clock=lambda: 1_999)
        with pytest.raises(ClockError, match="1970-01-01 00:33:19 UTC"):
            late.append([bytes(32)])
        assert late.public.head().size == 1
        assert LogWriter.open(store, clock=lambda: 2_000).append([bytes(32)]).index == 1
