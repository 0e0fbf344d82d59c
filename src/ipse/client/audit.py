# SPDX-License-Identifier: Apache-2.0
"""A stranger's audit of a whole log, from its address or its folder and its verifier keys alone.

Every entry is read, the tree is computed anew, and every tile and the root hash of the signed checkpoint must be what
the entries give. With a policy the quorum of witnesses must have cosigned. With a state file the log must continue what
it showed at the last look (auditor.py).

The state is compared and kept before the entries are read: a checkpoint that was signed binds the log, whether or not
it can show what is below it. Time and requests grow with the log, memory by 32 bytes for 256 entries.

Not shown: that others are shown the same log, unless witnesses say so; and what the entries mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipse.client.auditor import Auditor
from ipse.client.logs import LogFiles
from ipse.errors import VerificationError
from ipse.ledger.checkpoint import Checkpoint, Log, open_checkpoint
from ipse.ledger.note import Note
from ipse.ledger.policy import Policy
from ipse.ledger.tiles import TILE_WIDTH, bundles_of, encode_tile, tiles_of
from ipse.ledger.tree import CompactRange, leaf_hash, root_hash
from ipse.ledger.treehead import TreeHead

_BROKEN = "Do not trust it: what it serves is not what it signed. Keep its checkpoint."


@dataclass(frozen=True, slots=True)
class AuditedLog:
    """A log whose entries are what it signed.

    Attributes:
        head: origin, size and root hash.
        signed_s: the latest time that a key of the log claims for the checkpoint, seconds since 1970; 0 if none does.
        cosigned: names, in the policy, of the witnesses whose cosignature was checked.
        before: entries that the state file knew; None without one, or at the first look.
        files: tiles and bundles that were read.
    """

    head: TreeHead
    signed_s: int
    cosigned: tuple[str, ...]
    before: int | None
    files: int


def audit_log(
    files: LogFiles,
    log: Log | None,
    *,
    policy: Policy | None = None,
    state: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditedLog:
    """Read a whole log and check it.

    Args:
        log: origin and keys; None to take them from the policy.
        policy: whose quorum must have cosigned.
        state: where the last accepted checkpoint is remembered; made at the first look.
        progress: told (files read, files in all).

    Raises:
        VerificationError: names the first thing that does not fit, and the place.
        NetworkError: something is not to be had.
        StoreError: the state cannot be read or written.
    """
    data = files.checkpoint()
    try:
        log = _log_of(data, log, policy)
        checkpoint = open_checkpoint(data, log, [line.key for line in policy.witnesses] if policy else ())
        if policy is not None:
            policy.check(checkpoint)
        head, before = checkpoint.head, None
        if state is not None:
            auditor = Auditor(state, log)
            last = auditor.last()
            before = None if last is None else last.head.size
            auditor.accept(data, files.hashes(head.size))
    except VerificationError as error:
        hint = error.hint or "Check whose log it is, and its keys."
        raise VerificationError(f"The checkpoint at {files.place}: {error.message}", hint) from error
    try:
        count = _check_entries(files, head, progress or (lambda done, whole: None))
    except VerificationError as error:
        raise VerificationError(error.message, error.hint or _BROKEN) from error
    signed_s = max(each.time_s for each in Note.from_bytes(data).verify(log.keys))
    return AuditedLog(head, signed_s, cosigners(checkpoint, policy), before, count)


def cosigners(checkpoint: Checkpoint, policy: Policy | None) -> tuple[str, ...]:
    """Names, in the policy, of those who cosigned a checkpoint."""
    keys = {each.key for each in checkpoint.cosignatures}
    return () if policy is None else tuple(line.name for line in policy.witnesses if line.key in keys)


def _log_of(data: bytes, log: Log | None, policy: Policy | None) -> Log:
    origin = Note.from_bytes(data).text.partition("\n")[0]
    known = log if log is not None else policy and policy.log(origin)
    if not known:
        raise VerificationError(f"It is of {origin[:80]!r}, whose keys are not known.", "Give them with --key.")
    return known


def _check_entries(files: LogFiles, head: TreeHead, progress: Callable[[int, int], None]) -> int:
    """Compute the tree from the entries, compare every tile; how many files that took."""
    bundles, tiles = list(bundles_of(head.size)), list(tiles_of(head.size))
    count, done, tree = len(bundles) + len(tiles), 0, CompactRange()
    levels: list[list[bytes]] = [[]]
    for bundle in bundles:
        leaves = [leaf_hash(entry) for entry in files.entries(bundle.index, bundle.width)]
        tree = tree.extend(leaves)
        _check_tile(files, tiles[bundle.index].path(), files.tile(tiles[bundle.index]), leaves)
        if bundle.width == TILE_WIDTH:
            levels[0].append(root_hash(leaves))
        done += 2
        progress(done, count)
    for tile in tiles[len(bundles) :]:
        start = tile.index * TILE_WIDTH
        hashes = levels[tile.level - 1][start : start + tile.width]
        _check_tile(files, tile.path(), files.tile(tile), hashes)
        if len(levels) == tile.level:
            levels.append([])
        if tile.width == TILE_WIDTH:
            levels[tile.level].append(root_hash(hashes))
        done += 1
        progress(done, count)
    if tree.root() != head.root:
        raise VerificationError(
            f"The {head.size} entries at {files.place} do not lead to the root hash that the log signed."
        )
    return count


def _check_tile(files: LogFiles, path: str, data: bytes, hashes: Sequence[bytes]) -> None:
    if data != encode_tile(hashes):
        raise VerificationError(f"{path} at {files.place} is not what the entries give.")
