# SPDX-License-Identifier: Apache-2.0
"""``ipse verify record``: a file that somebody hands to somebody else, checked offline. Needs no home and no key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipse.cli.checks import record_json, record_rows, record_words, table_of
from ipse.cli.ledger import read_policy
from ipse.cli.opening import identity_in, log_of_keys
from ipse.cli.screen import Screen
from ipse.cli.settings import keys_option, policy_option
from ipse.errors import InputError, VerificationError

if TYPE_CHECKING:
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.policy import Policy
    from ipse.ledger.recordproof import RecordProof


@click.command(
    "record",
    epilog="""\b
Examples:
  ipse verify record proof.ipse
  ipse verify record proof.ipse --owner ada.identity --key VKEY --key VKEY
  ipse verify record proof.ipse --owner ada.identity --policy log.policy
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--owner",
    "owner_file",
    metavar="IDENTITY_FILE",
    type=click.Path(path_type=Path),
    help="Public identity of who must have signed the head of the fork.",
)
@keys_option
@policy_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens to standard error.")
def verify_record(
    file: Path,
    owner_file: Path | None,
    keys: tuple[str, ...],
    policy_file: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """A proof that 'ipse fork prove' made: is this record in that fork, whose head is in that log? Offline.

    The proof names who signed and which log; --owner and --key (or --policy) say who it must be.
    """
    from ipse.ledger.recordproof import MAX_PROOF_BYTES, RecordProof

    screen = Screen(as_json=as_json)
    proof = RecordProof.from_bytes(_read(file, MAX_PROOF_BYTES, "proof"))
    owner = None if owner_file is None else identity_in(owner_file)
    if owner is not None and owner != proof.signer:
        raise VerificationError(
            f"The head in the proof is signed by {proof.signer.name}, not by {owner.name}.",
            "Ask for a proof that is signed by the identity you know, or for the identity that signed.",
        )
    policy = None if policy_file is None else read_policy(policy_file)
    log = log_of_keys(keys) or (None if policy is None else _log_in(policy, proof))
    shown = proof.verify(log, [line.key for line in policy.witnesses] if policy else ())
    if policy is not None and shown.checkpoint is not None:
        policy.check(shown.checkpoint)
    checked, unchecked = record_words(proof, shown, owner is not None, policy)
    facts = record_json(proof, shown)
    table = table_of(record_rows(proof, shown), checked, unchecked)
    screen.result(facts | {"checked": checked, "not_checked": unchecked}, table)


def _log_in(policy: Policy, proof: RecordProof) -> Log | None:
    """The log of a proof's checkpoint as the policy knows it; None if the policy has no log lines."""
    from ipse.ledger.note import Note

    if not policy.logs:
        return None
    origin = Note.from_bytes(proof.log_proof.checkpoint).text.partition("\n")[0]
    log = policy.log(origin)
    if log is None:
        raise VerificationError(f"The policy knows no log {origin[:80]!r}.", "Check whose proof it is.")
    return log


def _read(path: Path, most_bytes: int, what: str) -> bytes:
    from ipse.vault.files import read_file

    try:
        found = read_file(path, most_bytes + 1)
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.", "Check the path.") from error
    if found is None:
        raise InputError(f"{path} is not a file.", f"Give the file of the {what}.")
    if len(found[0]) > most_bytes:
        raise VerificationError(f"{path} is longer than any {what}.", "Check which file it is.")
    return found[0]
