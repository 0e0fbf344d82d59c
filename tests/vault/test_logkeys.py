# SPDX-License-Identifier: Apache-2.0
"""The keys of a log: never overwritten, and kept when another log begins. The file itself is test_signerfile.py's."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from ipse.errors import InputError, VaultError
from ipse.vault.logkeys import load_log_key, new_origin, renew_log_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "log.key"


def test_a_log_has_a_random_name() -> None:
    assert re.fullmatch(r"ipse\.local/[a-z2-7]{16}", new_origin())
    assert new_origin() != new_origin()


def test_a_renewed_key_is_new_and_keeps_all_old_ones_beside_it(path: Path) -> None:
    made = [renew_log_key(path, origin) for origin in ("one.example", "two.example", "two.example")]
    assert load_log_key(path) == made[2]
    assert [load_log_key(path.with_name(f"log.key.{number}")) for number in (1, 2)] == made[:2]
    assert len({seed for each in made for seed in (each.ed25519, each.ml_dsa_44)}) == 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_name_that_cannot_be_leaves_the_key_as_it_is(path: Path) -> None:
    made = renew_log_key(path, "one.example")
    for origin in ("", "a b", "a+b", "x" * 256):
        with pytest.raises(InputError):
            renew_log_key(path, origin)
    assert load_log_key(path) == made
    assert [file.name for file in path.parent.iterdir()] == ["log.key"]


def test_a_missing_key_says_what_to_do(path: Path) -> None:
    with pytest.raises(VaultError, match="no log key") as caught:
        load_log_key(path)
    assert "ipse ledger new" in caught.value.hint


def test_a_folder_that_cannot_be_is_a_vault_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(VaultError, match="cannot be written"):
        renew_log_key(tmp_path / "home" / "log.key", "one.example")
