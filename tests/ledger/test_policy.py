# SPDX-License-Identifier: Apache-2.0
"""The policy file of C2SP tlog-policy: its example, its quorums against a plain definition, and what is no policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.checkpoint import Log, TreeHead, cosign, sign_checkpoint
from ipse.ledger.keys import SignatureType, VerifierKey
from ipse.ledger.policy import Group, LogLine, Policy, WitnessLine
from ipse.ledger.tree import root_hash
from ipse.wire.digest import sha256
from tests.ledger.logs import KEYS, LOG, TIME_S, checkpoint, head, leaves, note_key

NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
WITNESSES = {
    name: note_key(f"{name}.example", SignatureType.ED25519_COSIGNATURE, 20 + at) for at, name in enumerate(NAMES)
}
VKEYS = {name: key.verifier().to_text() for name, key in WITNESSES.items()}
LOGS = "".join(f"log {key.to_text()}\n" for key in LOG.keys)
EXAMPLE = (
    LOGS
    + "\n"
    + "".join(f"witness {name} {VKEYS[name]}\n" for name in NAMES[:3])
    + "group X-witnesses 2 X1 X2 X3\n\n"
    + "".join(f"witness {name} {VKEYS[name]}\n" for name in NAMES[3:])
    + "group Y-witnesses any Y1 Y2 Y3\n\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)
"""The example of the specification, with keys."""


def cosigned(*names: str) -> bytes:
    data = checkpoint(5)
    for name in names:
        data = cosign(data, WITNESSES[name], time_s=TIME_S)
    return data


@pytest.mark.parametrize("count", range(64))
def test_the_example_of_the_specification_wants_two_of_x_and_one_of_y(count: int) -> None:
    names = [name for at, name in enumerate(NAMES) if count >> at & 1]
    policy = Policy.from_bytes(EXAMPLE.encode())
    if sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names):
        opened = policy.open(cosigned(*names))
        assert opened.head == head(5)
        assert [each.time_s for each in opened.cosignatures] == [TIME_S] * len(names)
    else:
        with pytest.raises(VerificationError, match="'X-and-Y' has not cosigned"):
            policy.open(cosigned(*names))


def test_a_quorum_of_one_witness_of_a_group_in_a_group_and_of_nobody() -> None:
    start = LOGS + f"witness X1 {VKEYS['X1']}\n"
    assert Policy.from_bytes(f"{start}quorum none\n".encode()).open(cosigned()).head == head(5)
    for end in ("quorum X1\n", "group a 1 X1\nquorum a\n", "group a all X1\ngroup b any a\nquorum b\n"):
        policy = Policy.from_bytes((start + end).encode())
        assert policy.open(cosigned("X1")).head == head(5)
        with pytest.raises(VerificationError):
            policy.open(cosigned("X2"))


def test_all_keys_of_a_log_must_have_signed_and_an_unknown_log_is_refused() -> None:
    policy = Policy.from_bytes(f"{LOGS}quorum none\n".encode())
    with pytest.raises(VerificationError, match="ML_DSA_44_COSIGNATURE is missing"):
        policy.open(sign_checkpoint(head(5), KEYS[:1]))
    other = sign_checkpoint(TreeHead("other.example", 5, head(5).root), KEYS, time_s=TIME_S)
    with pytest.raises(VerificationError, match=r"no log 'other\.example'"):
        policy.open(other)
    assert policy.log(LOG.origin) == LOG
    assert policy.log("other.example") is None


def test_one_of_several_logs_is_enough() -> None:
    key = note_key("second.example", SignatureType.ED25519, 60)
    policy = Policy.from_bytes(f"{LOGS}log {key.verifier().to_text()} https://second.example/\nquorum none\n".encode())
    assert policy.log("second.example") == Log("second.example", (key.verifier(),))
    second = sign_checkpoint(TreeHead("second.example", 1, root_hash(leaves(1))), [key])
    assert policy.open(second).head.origin == "second.example"
    assert policy.open(cosigned()).head.origin == LOG.origin


def test_spaces_tabs_comments_addresses_and_octets_are_as_the_specification_says() -> None:
    text = (
        b"# comment\n \t# another \xff\n\n \t log\t" + LOG.keys[0].to_text().encode() + b" https://\xc3\xa9.example/ \n"
        b"witness \xe2\x84\xaa " + VKEYS["X1"].encode() + b"\nwitness K " + VKEYS["X2"].encode() + b" http://x\n"
        b"group \xff\xfe all K \xe2\x84\xaa\nquorum \xff\xfe\n"
    )
    policy = Policy.from_bytes(text)
    assert [line.name for line in policy.witnesses] == ["\u212a", "K"]
    assert [line.url for line in policy.witnesses] == ["", "http://x"]
    assert policy.logs[0].url == "https://é.example/"
    assert Policy.from_bytes(policy.to_bytes()) == policy
    assert policy.to_bytes().splitlines()[-1] == b"quorum \xff\xfe"


def test_what_is_written_is_read_again() -> None:
    policy = Policy.from_bytes(EXAMPLE.encode())
    assert sorted(policy.to_bytes().splitlines()) == sorted(filter(None, EXAMPLE.encode().splitlines()))
    assert Policy.from_bytes(policy.to_bytes()) == policy
    assert policy.groups == (
        Group("X-witnesses", 2, NAMES[:3]),
        Group("Y-witnesses", 1, NAMES[3:]),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )


X1 = f"witness X1 {VKEYS['X1']}\n"
TWO = f"{X1}witness X2 {VKEYS['X2']}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no quorum"),
        (X1, "no quorum"),
        ("quorum none", "Line 1.*newline"),
        ("quorum none\nquorum none\n", "Line 2.*already"),
        ("quorum\n", "Line 1"),
        ("quorum none none\n", "Line 1"),
        ("Quorum none\n", "Line 1"),
        ("quorum X1\n" + X1, "Line 1.*nowhere before"),
        (X1 + "quorum x1\n", "Line 2.*nowhere before"),
        (X1 + X1 + "quorum X1\n", "Line 2.*already"),
        (f"{X1}witness X1 {VKEYS['X2']}\nquorum X1\n", "Line 2.*taken"),
        (f"witness none {VKEYS['X2']}\nquorum none\n", "Line 1.*taken"),
        (f"{X1}witness X2 {VKEYS['X1']}\nquorum X1\n", "Line 2.*already"),
        (f"witness X1 {LOG.keys[0].to_text()}\nquorum X1\n", "Line 1.*cosigns"),
        (f"witness {VKEYS['X1']}\nquorum none\n", "Line 1"),
        (f"witness X1 {VKEYS['X1']} a b\nquorum none\n", "Line 1"),
        (f"witness X1 {VKEYS['X1'][:-3]}\nquorum X1\n", "Line 1"),
        (f"log {LOG.keys[0].to_text()}\nlog {LOG.keys[0].to_text()} url\nquorum none\n", "Line 2.*already"),
        ("log\nquorum none\n", "Line 1"),
        ("log name+00000000+\nquorum none\n", "Line 1"),
        (X1 + "group a all\nquorum none\n", "Line 2"),
        (X1 + "group a\nquorum none\n", "Line 2"),
        (X1 + "group a 0 X1\nquorum none\n", "Line 2.*threshold"),
        (X1 + "group a 2 X1\nquorum none\n", "Line 2.*threshold"),
        (X1 + "group a 01 X1\nquorum none\n", "Line 2"),
        (X1 + "group a some X1\nquorum none\n", "Line 2"),
        (X1 + "group a any X1 X1\nquorum none\n", "Line 2.*twice"),
        (X1 + "group a any a\nquorum none\n", "Line 2.*nowhere"),
        (X1 + "group a any none\nquorum none\n", "Line 2.*nowhere"),
        (X1 + "group X1 any X1\nquorum none\n", "Line 2.*taken"),
        (X1 + "group none any X1\nquorum none\n", "Line 2.*taken"),
        (TWO + "group a any X1\ngroup b any X1 X2\nquorum b\n", "Line 4.*twice"),
        ("quorum\u00a0none\n", "Line 1"),
        ("quorum none\r\n", "Line 1.*control"),
        ("# \x00\nquorum none\n", "Line 1.*control"),
        ("# \x7f\nquorum none\n", "Line 1.*control"),
        ("quorum none\n" + "#" * 1_000_000, "longer"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(VerificationError, match=says):
        Policy.from_bytes(text.encode())


def test_a_policy_that_cannot_be_read_again_is_not_made() -> None:
    key = WITNESSES["X1"].verifier()
    makers: list[Callable[[], Policy]] = [
        lambda: Policy(witnesses=(WitnessLine("a b", key),)),
        lambda: Policy(witnesses=(WitnessLine("", key),)),
        lambda: Policy(witnesses=(WitnessLine("a", key, "two words"),)),
        lambda: Policy(witnesses=(WitnessLine("a\nquorum", key),)),
        lambda: Policy(logs=(LogLine(LOG.keys[0], "\x00"),)),
        lambda: Policy(quorum="a"),
    ]
    for make in makers:
        with pytest.raises(VerificationError):
            make()


def test_two_keys_of_one_name_and_key_id_are_refused() -> None:
    """A key id has 4 bytes: among some 80,000 keys two have the same."""
    seen: dict[bytes, VerifierKey] = {}
    for number in range(2**20):
        key = VerifierKey("a.example", SignatureType.ED25519_COSIGNATURE, sha256(number.to_bytes(4, "big")))
        other = seen.setdefault(key.key_id, key)
        if other != key:
            break
    with pytest.raises(VerificationError, match="same name and key id"):
        Policy(witnesses=(WitnessLine("a", key), WitnessLine("b", other)))


LINES = st.sampled_from([*EXAMPLE.encode().splitlines(), b"quorum none", b"quorum X1", b"group a any X1", b"\xff", b""])


@given(st.one_of(st.binary(max_size=300), st.lists(LINES, max_size=20).map(lambda lines: b"\n".join(lines) + b"\n")))
def test_any_bytes_are_a_policy_that_is_written_and_read_again_or_a_failed_check(data: bytes) -> None:
    try:
        policy = Policy.from_bytes(data)
    except VerificationError:
        return
    assert Policy.from_bytes(policy.to_bytes()) == policy


@given(st.data())
def test_a_quorum_is_reached_exactly_when_its_definition_says_so(data: st.DataObject) -> None:
    """Against a plain recursive definition, over random trees of groups."""
    witnesses = tuple(WitnessLine(name, WITNESSES[name].verifier()) for name in NAMES)
    free, groups = list(NAMES), []
    for number in range(data.draw(st.integers(0, 4))):
        members = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        groups.append(Group(f"g{number}", data.draw(st.integers(1, len(members))), tuple(members)))
        free = [name for name in free if name not in members] + [f"g{number}"]
    quorum = data.draw(st.sampled_from([*NAMES, *(group.name for group in groups)]))
    signers = data.draw(st.sets(st.sampled_from(NAMES)))
    by_name = {group.name: group for group in groups}

    def witnessed(name: str) -> bool:
        if name in by_name:
            return sum(map(witnessed, by_name[name].members)) >= by_name[name].threshold
        return name in signers

    policy = Policy((), witnesses, tuple(groups), quorum)
    assert policy.is_enough({WITNESSES[name].verifier() for name in signers}) == witnessed(quorum)
