# SPDX-License-Identifier: Apache-2.0
"""Every scripted session beside this file, run for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sessions import read_session, run_step

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SESSIONS, ids=[path.stem for path in SESSIONS])
def test_a_session_goes_as_written(path: Path, tmp_path: Path) -> None:
    for name in ("passphrase", "other"):
        (tmp_path / name).write_text(f"the {name} of this test\n")
        (tmp_path / name).chmod(0o600)
    variables = {"DATA": str(tmp_path / "data"), "TMP": str(tmp_path), "HERE": str(path.parent)}
    for step in read_session(path):
        wrong = run_step(step, variables)
        assert not wrong, "\n".join(wrong)
