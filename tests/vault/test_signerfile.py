# SPDX-License-Identifier: Apache-2.0
"""The file of one who signs in public: whole, never overwritten, never read when others may read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipse.errors import InputError, VaultError
from ipse.vault.signerfile import Signer, create_signer, load_signer

NAME = "witness.example/one"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "witness.key"


def test_a_signer_is_made_once_and_read_again(path: Path) -> None:
    made = create_signer(path, NAME)
    assert load_signer(path) == made
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = path.read_bytes()
    with pytest.raises(VaultError, match="already"):
        create_signer(path, NAME)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_two_seeds_are_drawn_apart_and_shown_nowhere(path: Path) -> None:
    made = create_signer(path, NAME)
    assert made.ed25519 != made.ml_dsa_44
    assert made != create_signer(path.with_name("other"), NAME)
    assert repr(made) == f"Signer({NAME!r}, hidden)"


def test_keys_that_others_may_read_are_refused_with_the_command_that_helps(path: Path) -> None:
    create_signer(path, NAME)
    path.chmod(0o640)
    with pytest.raises(VaultError) as raised:
        load_signer(path)
    assert raised.value.hint == f"Run: chmod 600 {path}"


def test_every_changed_character_of_the_lines_and_every_cut_is_noticed(path: Path) -> None:
    create_signer(path, NAME)
    whole = path.read_bytes()
    start = whole.index(b"ipse-signer-v1")
    for at in range(start, len(whole) - 1):
        for changed in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(changed)
            with pytest.raises(VaultError):
                load_signer(path)
    path.write_bytes(whole + whole[start:])
    with pytest.raises(VaultError):
        load_signer(path)
    path.write_bytes(whole.replace(b"\n", b"\r\n"))  # an editor's doing
    assert load_signer(path).name == NAME


def test_what_is_no_file_of_keys_is_one_clear_error(path: Path) -> None:
    with pytest.raises(VaultError, match="no file of signing keys"):
        load_signer(path)
    path.mkdir(parents=True)
    with pytest.raises(VaultError):
        load_signer(path)
    with pytest.raises(VaultError):
        create_signer(path / ("x" * 300), NAME)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\tb", "é", "a" * 256, "a\x7f"])
def test_a_name_that_cannot_be_signed_with_is_refused(name: str, path: Path) -> None:
    with pytest.raises(InputError):
        create_signer(path, name)
    with pytest.raises(InputError):
        Signer(NAME, bytes(31), bytes(32))
    assert not path.exists()
