# SPDX-License-Identifier: Apache-2.0
"""What the documents say exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.repository import BLOCK, ROOT, documents, shell_lines

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
MARKER = re.compile(r"<!-- (begin|end):([\w-]+) -->")
PROOF = re.compile(r"`((?:tests|benchmarks)/[\w./-]+?)(?:::(\w+))?`")
STATES = re.compile(r"tested|not measured yet|\d")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def claim_rows() -> list[list[str]]:
    rows = []
    for line in (ROOT / "docs" / "claims.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and not set(line) <= set("|- :") and cells[0] != "claim":
            rows.append(cells)
    return rows


def test_the_first_commands_of_the_readme_are_demo_and_test() -> None:
    assert list(shell_lines((ROOT / "README.md").read_text()))[:2] == ["make demo", "make test"]


def test_every_make_target_in_a_document_exists() -> None:
    targets = make_targets()
    unknown = [
        f"{path.name}: make {word}"
        for path, text in documents()
        for word in re.findall(r"(?:^\s*|`)make ([a-z][a-z-]+)", text, re.MULTILINE)
        if word not in targets
    ]
    assert unknown == []


def test_every_phony_target_is_a_target() -> None:
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\", " ").split()) <= make_targets()


def test_every_relative_link_leads_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT).as_posix()}: {target}"
        for path, text in documents()
        for target in LINK.findall(BLOCK.sub("", text))
        if not re.match(r"[a-z]+:|#", target) and not (path.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_every_source_file_that_a_document_names_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path, text in documents()
        for name in re.findall(r"`((?:src|tests|tools|benchmarks|examples|docs)/[\w./-]*\w\.\w+)(?:::\w+)?`", text)
        if not (ROOT / name).exists()
    ]
    assert missing == []


def test_recorded_blocks_of_the_readme_are_closed() -> None:
    open_block = ""
    for kind, name in MARKER.findall((ROOT / "README.md").read_text()):
        assert (kind, open_block) == (("begin", "") if kind == "begin" else ("end", name))
        open_block = name if kind == "begin" else ""
    assert open_block == ""


def test_claims_are_there_to_be_checked() -> None:
    assert len(claim_rows()) >= 15


@pytest.mark.parametrize("row", claim_rows(), ids=lambda row: row[0][:40])
def test_every_claim_has_a_limit_and_something_that_shows_it(row: list[str]) -> None:
    claim, limit, shown_by, measured = row
    assert limit, f"{claim}: say where it stops"
    assert STATES.search(measured), f"{claim}: say what was measured, or `not measured yet`"
    proofs = PROOF.findall(shown_by)
    assert proofs, f"{claim}: name a test or a benchmark"
    for name, function in proofs:
        path = ROOT / name
        assert path.exists(), f"{claim}: {name} does not exist"
        if function:
            assert f"def {function}(" in path.read_text(), f"{claim}: {name} has no {function}"


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in pages] == list(range(len(pages)))
    index = (folder / "README.md").read_text()
    assert [name for name in pages if name not in index] == []


def test_every_decision_says_what_was_decided_and_why() -> None:
    for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        text = Path(path).read_text()
        for heading in ("## The question", "## The decision", "## Why", "## What it costs"):
            assert heading in text, f"{path.name} lacks {heading}"
