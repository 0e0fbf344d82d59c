# SPDX-License-Identifier: Apache-2.0
"""Names of things."""

from __future__ import annotations

import pytest

from ipse.errors import InputError
from ipse.wire.ids import base_id, new_fork_id, new_op_id, parse_base_id, parse_fork_id, parse_owner_id


def test_a_new_fork_id_parses_and_is_not_repeated() -> None:
    ids = {new_fork_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(parse_fork_id(fork_id) == fork_id and len(fork_id) == 28 for fork_id in ids)


def test_a_fork_id_is_the_base32_of_16_random_bytes() -> None:
    assert new_fork_id(bytes) == "f_" + "a" * 26


@pytest.mark.parametrize(
    "text", ["", "f_", "f_" + "a" * 25, "f_" + "a" * 27, "F_" + "a" * 26, "f_" + "1" * 26, "f_" + "a" * 26 + "\n"]
)
def test_what_is_not_a_fork_id_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_fork_id(text)


def test_an_alias_of_a_fork_id_is_refused() -> None:
    with pytest.raises(InputError):  # the same 128 bits, with a spare bit set
        parse_fork_id("f_" + "a" * 25 + "b")


@pytest.mark.parametrize("text", ["", " ann", "ann ", "a\nb", "a\0b", "é" * 65])
def test_what_cannot_name_an_owner_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_owner_id(text)


@pytest.mark.parametrize("text", ["ann", "user:42", "ann@example.org", "Zoë", "é" * 64])
def test_ordinary_names_of_owners_are_taken_as_they_are(text: str) -> None:
    assert parse_owner_id(text) == text


def test_a_base_id_is_the_first_8_bytes_of_the_weight_digest() -> None:
    assert parse_base_id(base_id(bytes(range(32)))) == "0001020304050607"
    for text in ("", "0" * 15, "0" * 17, "A" * 16, "0" * 16 + "\n"):
        with pytest.raises(InputError):
            parse_base_id(text)


def test_an_operation_id_is_16_bytes() -> None:
    assert len(new_op_id()) == 16
    assert new_op_id() != new_op_id()
