# SPDX-License-Identifier: Apache-2.0
"""How long files and functions are, and which ones are too long.

A file past 400 lines or a function past 60 is a question to its author, and is listed. Past 600 or 120 it is a
fault, and the exit code says so. Generated code is not counted. Run: ``python tools/sizes.py [--all]``.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTED = ("src/ipse", "tools", "benchmarks", "tests")


@dataclass(frozen=True)
class Limit:
    """Where a length becomes a question, and where a fault; in lines."""

    asked: int
    refused: int


FILE = Limit(asked=400, refused=600)
FUNCTION = Limit(asked=60, refused=120)


@dataclass(frozen=True)
class Length:
    """One counted thing."""

    kind: str
    name: str
    lines: int

    @property
    def limit(self) -> Limit:
        return FILE if self.kind == "file" else FUNCTION


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Our own Python files, generated ones left out."""
    for folder in COUNTED:
        yield from sorted(path for path in (root / folder).rglob("*.py") if not path.name.endswith("_pb2.py"))


def lengths(path: Path, root: Path = ROOT) -> Iterator[Length]:
    """The file, and each function and method in it, decorators and docstrings included."""
    text = path.read_text(encoding="utf-8")
    place = path.relative_to(root).as_posix()
    yield Length("file", place, text.count("\n"))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Length("function", f"{place}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)


def main() -> int:
    """Print the distribution and what exceeds it; 1 if anything is past its hard limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="list the ten longest of each kind too")
    arguments = parser.parse_args()
    found = [length for path in sources() for length in lengths(path)]
    refused = False
    for kind in ("file", "function"):
        of_kind = sorted((x for x in found if x.kind == kind), key=lambda x: -x.lines)
        counts = [x.lines for x in of_kind]
        if not counts:
            continue
        ninetieth = counts[len(counts) // 10]
        print(f"{len(counts)} {kind}s: median {statistics.median(counts):.0f}, p90 {ninetieth}, max {counts[0]} lines")
        for length in of_kind[:10] if arguments.all else [x for x in of_kind if x.lines > x.limit.asked]:
            too_long = length.lines > length.limit.refused
            refused |= too_long
            mark = "TOO LONG" if too_long else "long" if length.lines > length.limit.asked else ""
            print(f"  {length.lines:5d}  {length.name}  {mark}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
