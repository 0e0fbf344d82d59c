# SPDX-License-Identifier: Apache-2.0
"""Whose checkpoints are believed: the policy file of C2SP tlog-policy. ::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> any|all|<number> <name>...
    quorum <name>|none

A checkpoint is good if its log is one of these and the quorum has cosigned it. Witnesses and groups are named within
the file; a name is used once at most, so that nobody counts twice. A group counts as one.

>>> policy = Policy.from_bytes(b"# no log is known yet, and no witness is asked for\\nquorum none\\n")
>>> policy.quorum
'none'

Stricter than the specification in one thing: log lines of one name are *one* log with several keys, and all of them
must have signed (checkpoint.py). Names are octets there; here they are text that gives back the same octets.

Not said by a policy: how old a cosignature may be. Its time is in the checkpoint that ``open`` returns.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field

from ipse.errors import VerificationError
from ipse.ledger.checkpoint import Checkpoint, Log, open_checkpoint
from ipse.ledger.keys import VerifierKey
from ipse.ledger.note import Note
from ipse.wire.lines import parse_decimal

MAX_POLICY_BYTES = 1_000_000
NO_QUORUM = "none"

_FORBIDDEN = re.compile(b"[\x00-\x08\x0b-\x1f\x7f]")
_WORDS = re.compile(r"[^ \t]+")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A key of a log; the name of the key is the log's origin. ``url`` may be empty."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """A key that cosigns, and what it is called in this policy. ``url`` (where to ask it) may be empty."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as having cosigned if at least ``threshold`` of its members have: witnesses, or groups before it."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Logs, witnesses, and how many of these are enough. Made of what cannot be, it raises VerificationError."""

    logs: tuple[LogLine, ...] = ()
    witnesses: tuple[WitnessLine, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NO_QUORUM

    def __post_init__(self) -> None:
        checks = _Checks()
        for log in self.logs:
            checks.log(log)
        for witness in self.witnesses:
            checks.witness(witness)
        for group in self.groups:
            checks.group(group)
        checks.quorum(self.quorum)

    def log(self, origin: str) -> Log | None:
        """The log of this origin with all of its keys, if it is one of these."""
        keys = tuple(line.key for line in self.logs if line.key.name == origin)
        return Log(origin, keys) if keys else None

    def open(self, data: bytes) -> Checkpoint:
        """Check that these bytes are a checkpoint of one of the logs, cosigned by the quorum.

        Raises:
            VerificationError: they are not.
        """
        origin = Note.from_bytes(data).text.partition("\n")[0]
        log = self.log(origin)
        if log is None:
            raise VerificationError(f"The policy knows no log {origin[:80]!r}.", "Check whose checkpoint it is.")
        checkpoint = open_checkpoint(data, log, [line.key for line in self.witnesses])
        self.check(checkpoint)
        return checkpoint

    def check(self, checkpoint: Checkpoint) -> None:
        """Pass only if the quorum has cosigned. The checkpoint must have been opened with these witnesses' keys.

        Raises:
            VerificationError: too few have.
        """
        if not self.is_enough({each.key for each in checkpoint.cosignatures}):
            raise VerificationError(
                f"The quorum {self.quorum!r} has not cosigned this checkpoint.",
                "Ask the log for one that more witnesses have cosigned.",
            )

    def is_enough(self, cosigned: Set[VerifierKey]) -> bool:
        """Whether the quorum is reached if these keys have cosigned."""
        counts = {line.name: line.key in cosigned for line in self.witnesses}
        for group in self.groups:  # members stand before their group
            counts[group.name] = sum(counts[member] for member in group.members) >= group.threshold
        return self.quorum == NO_QUORUM or counts[self.quorum]

    def to_bytes(self) -> bytes:
        """The file, without comments."""
        lines: list[tuple[str, ...]] = [("log", line.key.to_text(), line.url) for line in self.logs]
        lines += [("witness", line.name, line.key.to_text(), line.url) for line in self.witnesses]
        lines += [("group", group.name, _threshold(group), *group.members) for group in self.groups]
        lines += [("quorum", self.quorum)]
        return "".join(" ".join(filter(None, line)) + "\n" for line in lines).encode(errors="surrogateescape")

    @classmethod
    def from_bytes(cls, data: bytes) -> Policy:
        """Read a policy file.

        Raises:
            VerificationError: it is none; names the line.
        """
        if len(data) > MAX_POLICY_BYTES:
            raise VerificationError(f"The policy is longer than {MAX_POLICY_BYTES} bytes.")
        *lines, rest = data.split(b"\n")
        reading = _Reading()
        for number, line in enumerate([*lines, rest] if rest else lines, 1):
            try:
                if number > len(lines):
                    raise VerificationError("The last line does not end with a newline.")
                reading.line(line)
            except VerificationError as error:
                raise VerificationError(f"Line {number} of the policy: {error.message}", error.hint) from error
        if reading.quorum is None:
            raise VerificationError("The policy has no quorum line.", "Write 'quorum none' to ask for no witness.")
        return cls(tuple(reading.logs), tuple(reading.witnesses), tuple(reading.groups), reading.quorum)


@dataclass(slots=True)
class _Checks:
    """What each part of a policy must not repeat, and may refer to."""

    log_keys: set[bytes] = field(default_factory=set)
    witness_keys: set[bytes] = field(default_factory=set)
    key_ids: dict[tuple[str, bytes], VerifierKey] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)

    def log(self, line: LogLine) -> None:
        self._word(line.url or "-")
        self._key(line.key, self.log_keys, "log")

    def witness(self, line: WitnessLine) -> None:
        if not line.key.kind.cosigns:
            raise VerificationError("The key is not one that cosigns.", "A witness has a key of type 4 or 6.")
        self._word(line.url or "-")
        self._key(line.key, self.witness_keys, "witness")
        self._name(line.name)

    def group(self, group: Group) -> None:
        if not 1 <= group.threshold <= len(group.members):
            raise VerificationError(f"{group.threshold} of {len(group.members)} members is no threshold.")
        for member in group.members:
            if member not in self.names:
                raise VerificationError(f"{member[:80]!r} is defined nowhere before.")
            if member in self.members:
                raise VerificationError(f"{member[:80]!r} is a member already; nobody counts twice.")
            self.members.add(member)
        self._name(group.name)

    def quorum(self, name: str) -> None:
        if name != NO_QUORUM and name not in self.names:
            raise VerificationError(f"The quorum {name[:80]!r} is defined nowhere before.")

    def _key(self, key: VerifierKey, known: set[bytes], what: str) -> None:
        if key.public in known:
            raise VerificationError(f"There is a {what} with this public key already.")
        known.add(key.public)
        if self.key_ids.setdefault((key.name, key.key_id), key) != key:
            raise VerificationError("Another key has the same name and key id.")

    def _name(self, name: str) -> None:
        self._word(name)
        if name == NO_QUORUM or name in self.names:
            raise VerificationError(f"The name {name[:80]!r} is taken.")
        self.names.add(name)

    def _word(self, text: str) -> None:
        raw = text.encode(errors="surrogateescape")
        if not text or not _WORDS.fullmatch(text) or b"\n" in raw or _FORBIDDEN.search(raw):
            raise VerificationError("A name or an address is empty, or has spaces or control characters.")


@dataclass(slots=True)
class _Reading:
    """The lines of a policy so far."""

    logs: list[LogLine] = field(default_factory=list)
    witnesses: list[WitnessLine] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    checks: _Checks = field(default_factory=_Checks)

    def line(self, raw: bytes) -> None:
        if _FORBIDDEN.search(raw):
            raise VerificationError("There is a control character in it.")
        words: list[str] = _WORDS.findall(raw.decode(errors="surrogateescape"))
        if not words or words[0].startswith("#"):
            return
        match words:
            case ["log", key, *url] if len(url) <= 1:
                log = LogLine(VerifierKey.from_text(key), *url)
                self.checks.log(log)
                self.logs.append(log)
            case ["witness", name, key, *url] if len(url) <= 1:
                witness = WitnessLine(name, VerifierKey.from_text(key), *url)
                self.checks.witness(witness)
                self.witnesses.append(witness)
            case ["group", name, threshold, *members]:
                group = Group(name, _parse_threshold(threshold, len(members)), tuple(members))
                self.checks.group(group)
                self.groups.append(group)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise VerificationError("There is a quorum line already.")
                self.checks.quorum(name)
                self.quorum = name
            case _:
                raise VerificationError("It is no line of a log, witness, group or quorum.")


def _parse_threshold(text: str, members: int) -> int:
    return {"any": 1, "all": members}.get(text) or parse_decimal(text)


def _threshold(group: Group) -> str:
    if group.threshold == len(group.members):
        return "all"
    return "any" if group.threshold == 1 else str(group.threshold)
