# SPDX-License-Identifier: Apache-2.0
"""The command in this process, for the tests of this folder."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ipse.cli.main import main
from tests.cli.inprocess import Ipse, Outcome


@pytest.fixture
def ipse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ipse:
    """The real command, without a terminal and in this process: every case would else wait for torch."""
    monkeypatch.setenv("IPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("IPSE_BASE", "IPSE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str | Path, given: str | bytes = b"") -> Outcome:
        data = given.encode() if isinstance(given, str) else given
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Outcome(code, out, err.splitlines())

    return run
