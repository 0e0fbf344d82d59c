# SPDX-License-Identifier: Apache-2.0
"""The log's key file: made whole, for its owner alone, never overwritten, and refused when a bit is wrong."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from ipse.errors import InputError, VaultError
from ipse.vault.logkeys import LogKey, create_log_key, load_log_key, new_log_key, renew_log_key

KEY = LogKey("log.example/ipse", bytes(range(32)), bytes(range(32, 64)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "log.key"


def test_a_key_is_there_again_and_for_its_owner_alone(path: Path) -> None:
    create_log_key(path, KEY)
    assert load_log_key(path) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_is_random_and_so_is_its_name() -> None:
    one, two = new_log_key(), new_log_key()
    assert re.fullmatch(r"ipse\.local/[a-z2-7]{16}", one.origin)
    assert len({one.ed25519, one.ml_dsa_44, two.ed25519, two.ml_dsa_44}) == 4
    assert one.origin != two.origin
    assert new_log_key("log.example").origin == "log.example"


def test_a_key_shows_no_secret() -> None:
    assert repr(KEY) == "LogKey(origin='log.example/ipse')"


def test_a_key_file_is_never_overwritten(path: Path) -> None:
    create_log_key(path, KEY)
    with pytest.raises(VaultError, match="already"):
        create_log_key(path, new_log_key())
    assert load_log_key(path) == KEY


def test_a_renewed_key_keeps_all_old_ones_beside_it(path: Path) -> None:
    assert renew_log_key(path, KEY) is None
    keys = [KEY, new_log_key(), new_log_key()]
    assert [renew_log_key(path, key) for key in keys[1:]] == [path.with_name("log.key.1"), path.with_name("log.key.2")]
    assert load_log_key(path) == keys[2]
    assert [load_log_key(path.with_name(f"log.key.{n}")) for n in (1, 2)] == keys[:2]


def test_a_key_that_others_may_use_is_refused_with_the_command_that_helps(path: Path) -> None:
    create_log_key(path, KEY)
    path.chmod(0o640)
    with pytest.raises(VaultError, match="Other users") as caught:
        load_log_key(path)
    assert caught.value.hint == f"Run: chmod 600 {path}"


def test_every_flipped_bit_and_every_cut_is_noticed(path: Path) -> None:
    create_log_key(path, KEY)
    good = path.read_bytes()
    for at in range(len(good)):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]):
            path.write_bytes(bad)
            with pytest.raises(VaultError):
                load_log_key(path)


def test_what_is_no_key_file_is_one_error(path: Path) -> None:
    with pytest.raises(VaultError, match="no log key"):
        load_log_key(path)
    path.mkdir(parents=True)
    with pytest.raises(VaultError):
        load_log_key(path)
    path.rmdir()
    path.write_bytes(b"ipse-log-v2\n")
    path.chmod(0o600)
    with pytest.raises(VaultError, match="ipse-log-v2") as caught:
        load_log_key(path)
    assert caught.value.hint == "Update Ipse."


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "ä", "x" * 256])
def test_what_cannot_name_a_log_is_refused(origin: str) -> None:
    with pytest.raises(InputError):
        new_log_key(origin)


def test_a_folder_that_cannot_be_is_a_vault_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    for write in (create_log_key, renew_log_key):
        with pytest.raises(VaultError, match="cannot be written"):
            write(tmp_path / "home" / "log.key", KEY)
