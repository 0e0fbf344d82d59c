# SPDX-License-Identifier: Apache-2.0
"""Where the repository is, and which files belong to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OURS = ("src", "tests", "docs", "examples", "benchmarks", "tools", ".ci")
_MADE = ("__pycache__", ".egg-info")

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
"""A fenced block of Markdown: language, body."""


@cache
def files() -> tuple[Path, ...]:
    """The tracked files and those about to be; without git (an unpacked archive), what lies in our folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.iterdir() if path.is_file()]
        paths += [path for folder in _OURS for path in (ROOT / folder).rglob("*")]
    return tuple(sorted(p for p in paths if p.is_file() and not any(made in p.as_posix() for made in _MADE)))


def texts() -> list[tuple[str, str]]:
    """(path, content) of each file that is text."""
    found = []
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found.append((path.relative_to(ROOT).as_posix(), content.decode("utf-8", errors="replace")))
    return found


def documents() -> list[tuple[Path, str]]:
    """Every Markdown page."""
    return [(path, path.read_text(encoding="utf-8")) for path in files() if path.suffix == ".md"]


def shell_lines(text: str) -> Iterator[str]:
    """Every command line of a page's shell blocks, comments and prompts taken off."""
    for language, body in BLOCK.findall(text):
        if language in ("sh", "bash", "console"):
            for line in body.splitlines():
                yield line.split("  #")[0].strip().removeprefix("$ ")
