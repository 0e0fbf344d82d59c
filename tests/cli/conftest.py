# SPDX-License-Identifier: Apache-2.0
"""The command in this process, for the tests of this folder."""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.cli.main import main
from tests.cli.inprocess import Ipse, Outcome
from tests.cli.verifying import Made, make_home


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


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_home(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def made(_template: Made, tmp_path: Path) -> Made:
    """A copy of a home with published heads, to damage."""
    shutil.copytree(_template.data, tmp_path / "home")
    return replace(_template, data=tmp_path / "home")
