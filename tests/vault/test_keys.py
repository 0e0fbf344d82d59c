# SPDX-License-Identifier: Apache-2.0
"""Keys: derivation against RFC 5869, and the key file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ipse.errors import VaultError, VerificationError, WrongKey
from ipse.vault.keys import (
    RootKey,
    check_value,
    confirm_key,
    create_root_key,
    derive,
    fork_key,
    hkdf_sha256,
    load_root_key,
)
from ipse.wire.ids import new_fork_id

ROOT = RootKey(bytes(range(32)))
FORK = new_fork_id(bytes)

# RFC 5869, appendix A.1 to A.3: input key, salt, info, length, output key.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    ("0b" * 22, "", "", 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
]


@pytest.mark.parametrize(("secret", "salt", "info", "length", "expected"), RFC_5869)
def test_hkdf_gives_the_outputs_of_rfc_5869(secret: str, salt: str, info: str, length: int, expected: str) -> None:
    made = hkdf_sha256(bytes.fromhex(secret), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=length)
    assert made.hex() == expected


def test_keys_differ_by_root_label_context_and_length() -> None:
    keys = [
        derive(ROOT, "fork"),
        derive(ROOT, "forks"),
        derive(ROOT, "fork", b"s"),
        derive(ROOT, "fork", b"\0"),
        derive(RootKey(bytes(32)), "fork"),
    ]
    assert len(set(keys)) == len(keys)
    assert len(derive(ROOT, "fork", length=16)) == 16


@pytest.mark.parametrize("label", ["", "a\0b"])
def test_a_label_that_could_be_read_two_ways_is_a_mistake(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        derive(ROOT, label)


def test_the_fork_key_never_changes_for_the_same_root_and_fork() -> None:
    """Frozen: if this fails, no fork made before can be opened."""
    key = fork_key(ROOT, FORK)
    assert key.secret.hex() == "48dd7e240b8801f432402f4d9225d6d7b3cf887f14cdcf8a2b96511a686ec937"
    assert check_value(key).hex() == "b5985ba3b5e94abe988a25eaa86a922b"


def test_the_text_form_of_a_key_shows_no_key() -> None:
    for key in (ROOT, fork_key(ROOT, FORK)):
        for shown in (repr(key), str(key), f"{key}"):
            assert key.secret.hex()[:8] not in shown
            assert repr(key.secret)[2:10] not in shown
            assert "hidden" in shown


def test_the_wrong_key_is_told_by_its_check_value() -> None:
    confirm_key(fork_key(ROOT, FORK), check_value(fork_key(ROOT, FORK)))
    with pytest.raises(WrongKey, match=FORK):
        confirm_key(fork_key(RootKey(bytes(32)), FORK), check_value(fork_key(ROOT, FORK)))
    assert issubclass(WrongKey, VerificationError)


def test_a_created_key_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    assert load_root_key(_created(path)) == load_root_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["root.key"]


def test_two_created_keys_differ(tmp_path: Path) -> None:
    assert create_root_key(tmp_path / "a") != create_root_key(tmp_path / "b")


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = _created(tmp_path / "root.key")
    before = path.read_bytes()
    with pytest.raises(VaultError, match="already"):
        create_root_key(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["root.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_use_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    path = _created(tmp_path / "root.key")
    path.chmod(mode)
    with pytest.raises(VaultError) as caught:
        load_root_key(path)
    assert caught.value.hint == f"Run: chmod 600 {path}"


def test_a_missing_key_file_is_a_vault_error(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="no key file"):
        load_root_key(tmp_path / "root.key")


def test_a_folder_or_a_pipe_is_not_a_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(VaultError):
            load_root_key(tmp_path / name)


def test_a_place_that_cannot_be_written_is_a_vault_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VaultError, match="cannot be written"):
        create_root_key(tmp_path / "file" / "root.key")


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", "hello", "a:b:c", "ipse-root-v2:aa:bb\n", "\xff\xfe", "x" * 5000, "ipse-root-v1::"],
)
def test_a_file_that_holds_no_root_key_is_a_vault_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "root.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(VaultError):
        load_root_key(path)


def test_every_wrong_character_of_a_key_is_noticed(tmp_path: Path) -> None:
    path = _created(tmp_path / "root.key")
    lines = path.read_text().splitlines()
    for at in range(len(lines[-1])):
        wrong = "b" if lines[-1][at] != "b" else "c"
        path.write_text("\n".join([*lines[:-1], lines[-1][:at] + wrong + lines[-1][at + 1 :]]))
        with pytest.raises(VaultError):
            load_root_key(path)


def test_a_file_with_two_keys_is_refused(tmp_path: Path) -> None:
    path = _created(tmp_path / "root.key")
    path.write_text(path.read_text() * 2)
    with pytest.raises(VaultError):
        load_root_key(path)


def _created(path: Path) -> Path:
    create_root_key(path)
    return path
