# SPDX-License-Identifier: Apache-2.0
"""Vectors that nobody here wrote. They are not part of the repository: they lie beside it, or the test is skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def vectors(pattern: str) -> dict[str, Any]:
    """Name and content of the vector files of this pattern."""
    found = {path.relative_to(_FOLDER).as_posix(): json.loads(path.read_text()) for path in _FOLDER.glob(pattern)}
    if not found:
        pytest.skip(f"there are no third-party vectors {pattern} in ../shared/vectors")
    return dict(sorted(found.items()))
