# SPDX-License-Identifier: Apache-2.0
"""A stranger's audit of a log's files: no byte of them can be another one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.client.audit import audit_log
from ipse.client.logs import log_at
from ipse.errors import NetworkError, VerificationError
from ipse.ledger.checkpoint import Log
from ipse.ledger.log import LogWriter
from ipse.server.export import export_log
from ipse.store.store import Store
from tests.ledger.logs import LOG, blinded


@pytest.fixture(scope="module")
def exported() -> Iterator[tuple[Path, Log]]:
    """A log of 600 entries, appended in two pieces, as files."""
    with TemporaryDirectory() as root, Store.open(Path(root) / "home") as store:
        writer = LogWriter.open(store)
        writer.append(blinded(300))
        writer.append(blinded(600)[300:])
        export_log(writer.public, writer.log, Path(root) / "public")
        yield Path(root) / "public", writer.log


def names(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_whole_log_passes_and_every_file_is_counted(exported: tuple[Path, Log]) -> None:
    folder, log = exported
    told: list[tuple[int, int]] = []
    found = audit_log(log_at(str(folder)), log, progress=lambda done, whole: told.append((done, whole)))
    assert (found.head.origin, found.head.size, found.before, found.cosigned) == (log.origin, 600, None, ())
    assert found.files == 3 + 3 + 1
    assert told[-1] == (7, 7)
    assert found.signed_s > 0


def test_a_log_of_another_name_and_an_empty_one(exported: tuple[Path, Log], tmp_path: Path) -> None:
    folder, _ = exported
    with pytest.raises(VerificationError, match="The checkpoint at"):
        audit_log(log_at(str(folder)), LOG)
    with Store.open(tmp_path / "home") as store:
        writer = LogWriter.open(store)
        export_log(writer.public, writer.log, tmp_path / "public")
    assert audit_log(log_at(str(tmp_path / "public")), writer.log).head.size == 0


@given(data=st.data())
def test_any_changed_byte_in_any_file_is_found(exported: tuple[Path, Log], data: st.DataObject) -> None:
    folder, log = exported
    path = data.draw(st.sampled_from(names(folder)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "longer"]))
    if kind == "flip":
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    else:
        damaged = whole[:at] if kind == "cut" else whole + b"x"
    with TemporaryDirectory() as root:
        copy = Path(root) / "copy"
        shutil.copytree(folder, copy)
        (copy / path.relative_to(folder)).write_bytes(damaged)
        with pytest.raises(VerificationError):
            audit_log(log_at(str(copy)), log)


def test_any_file_that_is_missing_is_an_error_and_no_crash(exported: tuple[Path, Log], tmp_path: Path) -> None:
    folder, log = exported
    for path in names(folder):
        copy = tmp_path / path.relative_to(folder).as_posix().replace("/", "-")
        shutil.copytree(folder, copy)
        (copy / path.relative_to(folder)).unlink()
        with pytest.raises(NetworkError) as raised:
            audit_log(log_at(str(copy)), log)
        assert str(copy) in raised.value.message
