# SPDX-License-Identifier: Apache-2.0
"""What is in the packages that a stranger installs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.repository import ROOT

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl"))


def test_the_wheel_is_at_most_25_megabytes(wheel: Path) -> None:
    assert wheel.stat().st_size <= 25 * MEGABYTE


def test_the_wheel_contains_the_base_the_schema_and_the_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for ending in (
        "shipped/base/model.safetensors",
        "shipped/base/tokenizer.json",
        "shipped/base/config.json",
        "wire/dictionary1.zdict",
        "wire/record.proto",
        "wire/record_pb2.py",
        "wire/bundle.proto",
        "licenses/LICENSE",
        "licenses/NOTICE",
        "entry_points.txt",
    ):
        assert any(name.endswith(ending) for name in names), ending


def test_the_wheel_contains_nothing_but_the_package(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {root.split("-")[0] for root in roots} == {"ipse"}
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" in name or "/tests/" in name]


def test_the_package_without_extras_needs_no_torch(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    needed = [
        line.lower() for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert needed
    assert not [line for line in needed if any(big in line for big in ("torch", "transformers", "matplotlib"))]
