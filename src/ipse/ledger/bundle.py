# SPDX-License-Identifier: Apache-2.0
"""Bundles: a whole fork in one file, sealed to who may open it, signed by who made it, checked before it is believed.

    ipse bundle 1                                   the form
    suite, recipients, the file key for each        wire/bundle.proto; bound to the body as associated data
    body                                            sealed under the file key: signature, and in it
        manifest                                    fork, owner, base, layout, times
        records                                     all of them, as they were stored
        head                                        of the fork's own tree over all of them, signed now
        published heads                             blinding value and proof, if some are in a public log
        exporter                                    a member of the fork

``read_bundle`` opens the file and then trusts nothing of it: the chain, every signature and member by the law of
access.py, the head over exactly these records, the exporter among the members, each published head in its log. It
needs no store and no torch; what comes out is bytes and what was found. Whether the records open is for who has the
data keys (forks/carry.py), and so is who may bring the fork in (vault/ownership.py).

A bundle opens the door, not the records: these stay sealed under the fork's data keys, which only members have. So
none is made for somebody who is no member.

Not protected: whom it is sealed to, and how long it is, can be seen. A bundle is of its time: an old one is as genuine
as a new one, and says nothing of what came later. The log's keys in it are what its exporter says they are; compare
them with ones that you have from elsewhere.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ipse.errors import InputError, VerificationError, WrongKey
from ipse.ledger.access import Access
from ipse.ledger.chain import check_chain
from ipse.ledger.checkpoint import Log
from ipse.ledger.forkhead import blinded, check_root, head_of, open_head
from ipse.ledger.keys import VerifierKey
from ipse.ledger.outline import clear_fields
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import leaf_hash
from ipse.ledger.treehead import TreeHead
from ipse.vault.identity import IDENTITY_ID_BYTES, Identity, PublicIdentity
from ipse.vault.keys import KEY_BYTES
from ipse.vault.seal import COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES, open_sealed, seal, sealing_context
from ipse.wire import bundle_pb2 as pb
from ipse.wire.digest import DIGEST_BYTES, NO_DIGEST, sha256
from ipse.wire.ids import BaseId, ForkId, OwnerId, Randomness, parse_base_id, parse_fork_id, parse_owner_id
from ipse.wire.lines import MAX_NUMBER

FORM = 1
SUITE = 1
MAX_BUNDLE_BYTES = 1024 * 1024 * 1024
MAX_RECIPIENTS = 1000
MAX_BASE_NAME_BYTES = 1024

Form = TypeVar("Form", bound=Message)

_AROUND_BYTES = 64 * 1024 * 1024
"""More than everything besides the records can take."""

_MARK = b"ipse bundle %d\n" % FORM
_ANY_MARK = re.compile(rb"ipse bundle ([1-9][0-9]{0,8})\n")
_LABEL = "bundle"
_NOBODYS = "Say something to it first, then export it."
_DAMAGED = "Get the file again from who made it, or export the fork again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of its fork besides the records.

    Attributes:
        base_name: for people; ``base_id`` and ``layout_digest`` (32 bytes) bind.
        created_ms, exported_ms: when fork and bundle were made, Unix time.
    """

    fork_id: ForkId
    owner: OwnerId
    base_id: BaseId
    base_name: str
    layout_digest: bytes
    created_ms: int
    exported_ms: int


@dataclass(frozen=True, slots=True)
class Published:
    """A head of the fork that is in a public log.

    Attributes:
        size: records that it covers.
        blinding: 32 bytes (forkhead.py).
        proof: of the blinded head's inclusion.
    """

    size: int
    blinding: bytes
    proof: TlogProof


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        records: the bytes of all of them, from the first.
        head: signed by the exporter, over all records.
        published: heads that are in ``log``.
    """

    manifest: Manifest
    records: tuple[bytes, ...]
    head: bytes
    published: tuple[Published, ...] = ()
    log: Log | None = None


@dataclass(frozen=True, slots=True)
class CarriedRecord:
    """One record of a bundle that was checked: number, operation id (16 bytes), digest (32 bytes), its bytes."""

    seq: int
    op_id: bytes
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle in which everything fits; made by ``read_bundle`` only.

    Attributes:
        digest: 32 bytes, SHA-256 over the whole file.
        records: at least one.
        head: of the fork's own tree over all records.
        access: who its members are after the last one.
        published: heads that are in ``log``, shown by their proofs.
        log: as the exporter knows it.
    """

    digest: bytes
    manifest: Manifest
    records: tuple[CarriedRecord, ...]
    head: TreeHead
    access: Access
    exporter: PublicIdentity
    published: tuple[Published, ...]
    log: Log | None


def make_bundle(
    contents: Contents, exporter: Identity, recipients: Sequence[PublicIdentity], rng: Randomness = secrets.token_bytes
) -> bytes:
    """The file. What is put in is checked as a reader will check it.

    Args:
        recipients: who can open it; at least one, and members of the fork.

    Raises:
        InputError: nobody could open it, somebody is named twice or is no member, or it would be longer than is read.
        VerificationError: something in it does not fit, or the public key of a recipient is none.
    """
    ids = [recipient.id for recipient in recipients]
    if not 0 < len(set(ids)) == len(ids) <= MAX_RECIPIENTS:
        raise InputError(f"A bundle is sealed to 1 to {MAX_RECIPIENTS} different identities.")
    if sum(map(len, contents.records)) > MAX_BUNDLE_BYTES - _AROUND_BYTES:
        raise InputError(f"The bundle would be longer than {MAX_BUNDLE_BYTES} bytes.", "Copy the data folder instead.")
    bundle = _content(contents, exporter.public)
    checked = _checked(bundle, exporter.public, NO_DIGEST)
    for recipient in recipients:
        if recipient not in checked.access.members:
            raise InputError(
                f"{recipient.name} is not a member of fork {checked.manifest.fork_id}, and could read no record of it.",
                "Let its owner add it first: `ipse key devices add FILE`; then export again.",
            )
    return _sealed(bundle.SerializeToString(), exporter, recipients, rng)


def read_bundle(data: bytes, identity: Identity) -> CheckedBundle:
    """Open a bundle and check all of it; see the head of this file for what that is.

    Raises:
        WrongKey: it is sealed to others; names them.
        VerificationError: it is no bundle, it was altered, or what it says does not fit.
    """
    envelope, head = _envelope(data)
    ids = [recipient.identity for recipient in envelope.recipients]
    plain = _opened(envelope, head, identity)
    body = _parsed(pb.BundleBody, plain)
    bundle = _parsed(pb.Bundle, body.content)
    keys = bundle.exporter
    exporter = PublicIdentity(keys.ed25519, keys.ml_dsa_65, keys.x_wing)
    exporter.verify(_LABEL, _signed(body.content, ids), body.signature)
    return _checked(bundle, exporter, sha256(data))


def recipients_of(data: bytes) -> tuple[str, ...]:
    """Names of the identities that a bundle says it is sealed to. Its form is checked, and nothing is opened.

    Raises:
        VerificationError: it is no bundle, or damaged where that can be seen from outside.
    """
    return tuple("i_" + each.identity.hex() for each in _envelope(data)[0].recipients)


# -- inside -------------------------------------------------------------------------------------------------------


def _content(contents: Contents, exporter: PublicIdentity) -> pb.Bundle:
    manifest = contents.manifest
    bundle = pb.Bundle(
        manifest=pb.BundleManifest(
            fork_id=manifest.fork_id,
            owner=manifest.owner,
            base_id=manifest.base_id,
            base_name=manifest.base_name,
            layout_digest=manifest.layout_digest,
            created_ms=manifest.created_ms,
            exported_ms=manifest.exported_ms,
        ),
        records=contents.records,
        head=contents.head,
    )
    for each in contents.published:
        bundle.published.add(size=each.size, blinding=each.blinding, proof=each.proof.to_bytes())
    if contents.log is not None:
        bundle.log.origin = contents.log.origin
        bundle.log.keys.extend(key.to_text() for key in contents.log.keys)
    bundle.exporter.ed25519, bundle.exporter.ml_dsa_65 = exporter.ed25519, exporter.ml_dsa_65
    bundle.exporter.x_wing = exporter.x_wing
    return bundle


def _sealed(content: bytes, exporter: Identity, recipients: Sequence[PublicIdentity], rng: Randomness) -> bytes:
    signature = exporter.sign(_LABEL, _signed(content, [recipient.id for recipient in recipients]))
    return _closed(pb.BundleBody(content=content, signature=signature).SerializeToString(), recipients, rng)


def _closed(plain: bytes, recipients: Sequence[PublicIdentity], rng: Randomness) -> bytes:
    """The file around a body."""
    key = rng(KEY_BYTES)
    envelope = pb.BundleEnvelope(suite=SUITE)
    for recipient in recipients:
        envelope.recipients.add(identity=recipient.id, wrapped_key=recipient.seal_to(key, _info(recipient.id)))
    size = COMMITMENT_BYTES + len(plain) + TAG_BYTES
    begin_of_body = pb.BundleEnvelope(body=bytes(size)).SerializeToString()[:-size]
    head = _MARK + envelope.SerializeToString() + begin_of_body
    # The nonce is constant because the key is new, and is used for nothing else.
    return head + seal(key, plain, nonce=bytes(NONCE_BYTES), context=head)


def _envelope(data: bytes) -> tuple[pb.BundleEnvelope, bytes]:
    """The outside of a bundle, and the bytes before its body."""
    mark = _ANY_MARK.match(data)
    if mark is None:
        raise VerificationError("This is no bundle.", "A bundle is what `ipse export --format bundle` writes.")
    if (form := int(mark[1])) != FORM:
        raise VerificationError(f"The bundle was made by a newer Ipse: form {form}, known {FORM}.", "Update Ipse.")
    if len(data) > MAX_BUNDLE_BYTES:
        raise VerificationError(f"The bundle is longer than {MAX_BUNDLE_BYTES} bytes.")
    envelope = _parsed(pb.BundleEnvelope, data[mark.end() :])
    if not envelope.body or not data.endswith(envelope.body):
        raise VerificationError("The bundle is damaged or cut off: it does not end with its body.", _DAMAGED)
    if envelope.suite != SUITE:
        raise VerificationError(
            f"The bundle was made by a newer Ipse: suite {envelope.suite}, known {SUITE}.", "Update Ipse."
        )
    ids = [recipient.identity for recipient in envelope.recipients]
    if not 0 < len(set(ids)) == len(ids) <= MAX_RECIPIENTS or any(len(each) != IDENTITY_ID_BYTES for each in ids):
        raise VerificationError("The bundle does not say whom it is sealed to.", _DAMAGED)
    return envelope, data[: -len(envelope.body)]


def _opened(envelope: pb.BundleEnvelope, head: bytes, identity: Identity) -> bytes:
    mine = identity.public
    wrapped = next((each.wrapped_key for each in envelope.recipients if each.identity == mine.id), None)
    if wrapped is None:
        names = ", ".join("i_" + each.identity.hex() for each in envelope.recipients[:8])
        more = len(envelope.recipients) - 8
        raise WrongKey(
            f"The bundle is sealed to {names}{f' and {more} more' if more > 0 else ''}, and not to {mine.name}.",
            "Use the key of one of them, or let it be exported for this one: `ipse export --format bundle --to FILE`.",
        )
    try:
        key = identity.open_sealed(wrapped, _info(mine.id))
        if len(key) != KEY_BYTES:
            raise VerificationError("Its file key has another length.")
        return open_sealed(key, envelope.body, nonce=bytes(NONCE_BYTES), context=head)
    except VerificationError as error:  # also WrongKey: it says that it is for this key
        raise VerificationError(f"The bundle was altered: {error.message}", _DAMAGED) from error


def _checked(bundle: pb.Bundle, exporter: PublicIdentity, digest: bytes) -> CheckedBundle:
    manifest = _manifest(bundle.manifest)
    if not bundle.records:
        raise VerificationError("The bundle holds no records.", _DAMAGED)
    access, records = _chain(bundle.records, manifest)
    if len({record.op_id for record in records}) != len(records):
        raise VerificationError("The bundle holds one operation twice.", _DAMAGED)
    if access.owner is None:
        raise VerificationError(f"Fork {manifest.fork_id} has no signed record: nobody owns it.", _NOBODYS)
    if exporter not in access.members:
        raise VerificationError(
            f"The bundle was made by {exporter.name}, who is not a member of fork {manifest.fork_id}.",
            "Let its owner, or a device of the fork, export it.",
        )
    digests = [record.digest for record in records]
    head = open_head(bundle.head, manifest.fork_id, access.members)
    if head.size != len(records):
        raise VerificationError(f"Its head is of {head.size} records, and it holds {len(records)}.", _DAMAGED)
    check_root(head, digests)
    log = _log(bundle)
    published = tuple(_published(each, manifest.fork_id, digests, log) for each in bundle.published)
    return CheckedBundle(digest, manifest, records, head, access, exporter, published, log)


def _manifest(message: pb.BundleManifest) -> Manifest:
    try:
        manifest = Manifest(
            fork_id=parse_fork_id(message.fork_id),
            owner=parse_owner_id(message.owner),
            base_id=parse_base_id(message.base_id),
            base_name=message.base_name,
            layout_digest=message.layout_digest,
            created_ms=message.created_ms,
            exported_ms=message.exported_ms,
        )
    except InputError as error:
        raise VerificationError(f"The bundle's manifest is wrong: {error.message}", _DAMAGED) from error
    name = manifest.base_name
    if not name or len(name.encode()) > MAX_BASE_NAME_BYTES:
        raise VerificationError("The bundle's manifest does not name its base.", _DAMAGED)
    if len(manifest.layout_digest) != DIGEST_BYTES or max(manifest.created_ms, manifest.exported_ms) > MAX_NUMBER:
        raise VerificationError("The bundle's manifest has a digest or a time that cannot be.", _DAMAGED)
    return manifest


def _chain(records: Sequence[bytes], manifest: Manifest) -> tuple[Access, tuple[CarriedRecord, ...]]:
    """Who the members are after these records, and the records, each checked against those before it."""
    try:
        _, access = check_chain(records, manifest.fork_id)
    except VerificationError as error:
        raise VerificationError(error.message, _DAMAGED) from error
    carried = []
    for seq, data in enumerate(records, 1):
        try:
            clear = clear_fields(data)
        except VerificationError as error:
            raise VerificationError(f"Record {seq} of fork {manifest.fork_id}: {error.message}", error.hint) from error
        if clear.owner != manifest.owner:
            raise VerificationError(
                f"Record {seq} of fork {manifest.fork_id} is of {clear.owner[:60]!r}, not of {manifest.owner!r}.",
                _DAMAGED,
            )
        carried.append(CarriedRecord(seq, clear.op_id, clear.digest, data))
    return access, tuple(carried)


def _log(bundle: pb.Bundle) -> Log | None:
    if not bundle.published:
        return None
    if not bundle.log.keys:
        raise VerificationError("The bundle does not say in whose log its heads are.", _DAMAGED)
    return Log(bundle.log.origin, tuple(VerifierKey.from_text(text) for text in bundle.log.keys))


def _published(message: pb.PublishedHead, fork_id: ForkId, digests: Sequence[bytes], log: Log | None) -> Published:
    if log is None or not 0 < message.size <= len(digests):
        raise VerificationError(f"A published head of {message.size} records is none of this fork.", _DAMAGED)
    proof = TlogProof.from_bytes(message.proof)
    head = head_of(fork_id, digests[: message.size])
    proof.verify(leaf_hash(blinded(head, message.blinding)), log)
    return Published(message.size, message.blinding, proof)


def _signed(content: bytes, recipients: Iterable[bytes]) -> bytes:
    return sealing_context(sha256(content), *recipients)


def _info(recipient: bytes) -> bytes:
    return sealing_context("bundle file key", recipient)


def _parsed(form: type[Form], data: bytes) -> Form:
    try:
        return form.FromString(data)
    except DecodeError as error:
        raise VerificationError("The bundle is damaged or cut off.", _DAMAGED) from error
