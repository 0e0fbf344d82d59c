# SPDX-License-Identifier: Apache-2.0
"""Regenerates what is generated and committed: protobuf code and frozen test vectors.

``python tools/generate.py proto`` writes the Python code of every ``.proto`` beside it. ``python
tools/generate.py vectors`` runs every ``tests/vectors/make_*.py DIRECTORY``, each of which writes its files into
the directory it is given. With ``--check`` nothing is written: the exit code is 1 if a committed file
differs from what the sources make of it, so that neither can drift from its source unseen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
VECTORS = ROOT / "tests" / "vectors"


def make_proto(into: Path) -> None:
    """Run protoc on every schema of the package; ``into`` gets the same tree as ``src``."""
    schemas = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.proto"))
    if schemas:
        plugin = Path(sys.executable).parent / "protoc-gen-mypy"  # its stubs carry our comments, protoc's own do not
        options = [f"-I{SOURCES}", f"--python_out={into}", f"--plugin={plugin}", f"--mypy_out=quiet:{into}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *schemas], check=True)


def make_vectors(into: Path) -> None:
    """Run every maker of vectors; ``into`` gets the same files as ``tests/vectors``."""
    for maker in sorted(VECTORS.glob("make_*.py")):
        subprocess.run([sys.executable, str(maker), str(into)], check=True, cwd=ROOT)


def main() -> int:
    """Generate into a scratch directory, then compare with what is committed, or replace it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("proto", "vectors"))
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything would change")
    arguments = parser.parse_args()
    home, make = (SOURCES, make_proto) if arguments.what == "proto" else (VECTORS, make_vectors)
    different = 0
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch))
        for fresh in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
            kept = home / fresh.relative_to(scratch)
            if kept.exists() and kept.read_bytes() == fresh.read_bytes():
                continue
            different += 1
            print(f"{'differs' if arguments.check else 'written'}: {kept.relative_to(ROOT).as_posix()}")
            if not arguments.check:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(fresh.read_bytes())
    if arguments.check and different:
        print(f"hint: `python tools/generate.py {arguments.what}`, read the difference, then commit it.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
