# SPDX-License-Identifier: Apache-2.0
"""How ``ipse verify`` tells what it found: a table of what was checked and what was NOT, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ipse.cli.screen import printable
from ipse.cli.told import when

if TYPE_CHECKING:
    from ipse.forks.audit import AuditedFork
    from ipse.ledger.policy import Policy
    from ipse.ledger.recordproof import ProvenRecord, RecordProof
    from ipse.ledger.treehead import TreeHead


def record_words(
    proof: RecordProof, shown: ProvenRecord, known_owner: bool, policy: Policy | None
) -> tuple[list[str], list[str]]:
    """What was checked of a proof, and what was not."""
    from ipse.client.audit import cosigners

    checked, unchecked = [], []
    if shown.record is not None:
        checked.append("the record in the file: its form, its fork, its number, its digest")
    checked.append(f"it is record {proof.seq} in the fork's tree of {shown.head.size} records")
    checked.append("the head of that tree is signed with Ed25519 and ML-DSA-65 by one identity")
    if shown.signed:
        checked.append("the record is signed by the same identity")
    checked.append(f"the head, blinded, is entry {proof.log_proof.index} under the root hash of the checkpoint")
    if known_owner:
        checked.append("that identity is the one that you gave")
    else:
        unchecked.append(f"whose identity {proof.signer.name} is: --owner IDENTITY_FILE")
    if shown.checkpoint is None:
        unchecked.append(
            "whose log the checkpoint is of, and its signatures: --key VKEY or --policy FILE with log lines"
        )
    else:
        checked.append("the checkpoint: signed with all keys of the log that you gave")
    if policy is not None and shown.checkpoint is not None:
        checked.append(cosigned(cosigners(shown.checkpoint, policy), policy))
    else:
        unchecked.append("whether others are shown the same log: --policy FILE with witnesses tells")
    if shown.record is None:
        unchecked.append("anything about the record but its digest and its number: the file does not have it")
    elif not shown.signed:
        unchecked.append("the signature of the record itself: who signed the head did not sign it")
    unchecked.append("that who signed the head is the owner, or a device, of that fork by its records")
    unchecked.append("what the record says: it is sealed")
    return checked, unchecked


def record_rows(proof: RecordProof, shown: ProvenRecord) -> list[tuple[str, str]]:
    """The first lines about a proof."""
    rows = [("ok", f"record {proof.seq} of {proof.fork_id}, which had {shown.head.size} when it was published")]
    if shown.record is not None:
        kind, at = shown.record.kind.name.lower(), when(shown.record.timestamp_ms)
        rows.append(("record", f"{kind}, of {printable(shown.record.owner)}, {at} by its writer's clock"))
    rows.append(("digest", proof.digest.hex()))
    rows.append(("signed by", proof.signer.name))
    rows.append(("log", log_line(shown.log_head)))
    return rows


def record_json(proof: RecordProof, shown: ProvenRecord) -> dict[str, Any]:
    """A proof as JSON."""
    record = shown.record
    return {
        "fork": proof.fork_id,
        "record": proof.seq,
        "digest": proof.digest,
        "kind": None if record is None else record.kind.name.lower(),
        "owner": None if record is None else record.owner,
        "timestamp_ms": None if record is None else record.timestamp_ms,
        "head": asdict(shown.head),
        "signer": proof.signer.name,
        "entry": proof.log_proof.index,
        "log": asdict(shown.log_head),
    }


def cosigned(names: Sequence[str], policy: Policy) -> str:
    """That a policy's quorum was reached, and by whom."""
    return f"the quorum {policy.quorum!r} of the policy: cosigned by {', '.join(names) or 'nobody, and nobody need be'}"


def log_line(head: TreeHead) -> str:
    """A log and its size."""
    return f"{printable(head.origin)}, {entries(head.size)}"


def entries(count: int) -> str:
    """So many entries, in words."""
    return "1 entry" if count == 1 else f"{count} entries"


def fork_rows(found: AuditedFork) -> list[tuple[str, str]]:
    """The first lines about a fork."""
    heads = f"heads published: {found.heads}, in {printable(found.log)}" if found.heads else "no head published"
    rows = [
        ("ok", f"{found.fork_id} of {printable(found.owner)}, records: {found.records}, {heads}"),
        ("head", found.head.hex()),
    ]
    if found.identity:
        went_on = f", who went on from {found.first_identity}" if found.first_identity != found.identity else ""
        rows.append(("owner", f"{found.identity}{went_on}"))
    return rows + [("device", device) for device in found.devices]


def fork_json(found: AuditedFork) -> dict[str, Any]:
    """A fork as JSON."""
    facts = asdict(found)
    facts["fork"] = facts.pop("fork_id")
    return facts | {"checked": found.checked, "not_checked": found.not_checked}


def table_of(rows: Iterable[tuple[str, str]], checked: Iterable[str], unchecked: Iterable[str]) -> Table:
    """A table of its own; see ``fill``."""
    table = Table.grid(padding=(0, 2))
    fill(table, rows, checked, unchecked)
    return table


def fill(table: Table, rows: Iterable[tuple[str, str]], checked: Iterable[str], unchecked: Iterable[str]) -> None:
    """Add these rows, then a row for each thing that was checked, and one for each that was not."""
    for name, what in (*rows, *(("checked", each) for each in checked), *(("NOT checked", each) for each in unchecked)):
        table.add_row(name, what)
