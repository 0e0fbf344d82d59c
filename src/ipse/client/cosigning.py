# SPDX-License-Identifier: Apache-2.0
"""Asking every witness of a policy to cosign a log's newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ipse.client.witness import ask
from ipse.errors import NetworkError
from ipse.ledger.checkpoint import Log, open_checkpoint
from ipse.ledger.policy import Policy, WitnessLine
from ipse.ledger.publiclog import PublicLog


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What came of it.

    Attributes:
        checkpoint: with the signature lines that were got.
        names: in the policy, of those that cosigned, now or before.
        failed: name -> why there is no cosignature.
    """

    checkpoint: bytes
    names: tuple[str, ...]
    failed: dict[str, str]


def cosigned(public: PublicLog, log: Log, policy: Policy) -> Cosigned:
    """The newest checkpoint, cosigned by whoever of the policy's witnesses would. Lines of one address are one witness.

    Who has cosigned it already is not asked again.

    Raises:
        VerificationError: a witness has seen a tree that this log does not contain, or answered what is no
            cosignature: publish nothing before a person has looked.
    """
    checkpoint = public.checkpoint()
    opened = open_checkpoint(checkpoint, log, [line.key for line in policy.witnesses])
    there = {each.key for each in opened.cosignatures}
    names: list[str] = []
    failed = {line.name: "the policy has no address for it" for line in policy.witnesses if not line.url}
    for url, lines in _by_address(policy).items():
        keys = [line.key for line in lines]
        try:
            if not there.issuperset(keys):
                checkpoint += ask(url, keys, checkpoint, log, prove=lambda old: public.consistency(old).proof)
            names += [line.name for line in lines]
        except NetworkError as error:
            failed |= dict.fromkeys((line.name for line in lines), error.message)
    return Cosigned(checkpoint, tuple(names), failed)


def _by_address(policy: Policy) -> dict[str, list[WitnessLine]]:
    found: dict[str, list[WitnessLine]] = {}
    for line in policy.witnesses:
        if line.url:
            found.setdefault(line.url, []).append(line)
    return found
