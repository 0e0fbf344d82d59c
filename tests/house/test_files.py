# SPDX-License-Identifier: Apache-2.0
"""What is in the repository, and what must never be."""

from __future__ import annotations

import re

import pytest

from tests.house.repository import ROOT, files, texts
from tools.sizes import lengths, sources

TAGGED = (".py", ".pyi", ".proto", ".sh", ".toml")
TAG = "SPDX-License-Identifier: Apache-2.0"
BANNED_STEMS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
GENERATED = re.compile(r"_pb2\.pyi?$")

# Built from pieces, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join([r"/wo" + r"rk/\w", r"/ro" + r"ot/\w", r"/ho" + r"me/(?!you\b)\w", r"/Us" + r"ers/\w"])
)
DOWNLOADS = re.compile(
    "|".join(
        [
            r'"reso' + r'lved":',
            r"https?://[^\s\"'<>)]+\.(?:whl|tgz|tar\.gz|deb)\b",
            r"files\.python" + r"hosted",
            r"py" + r"pi\.org/simple",
            r"down" + r"load\.pytorch",
            r"file:///" + r"opt",
        ]
    )
)


def test_every_source_file_opens_with_the_licence_tag() -> None:
    untagged = []
    for name, text in texts():
        if name.endswith(TAGGED) and not GENERATED.search(name):
            head = text.splitlines()[:2]
            first = head[1] if head and head[0].startswith("#!") and len(head) > 1 else (head or [""])[0]
            if TAG not in first:
                untagged.append(name)
    assert untagged == []


def test_the_licence_is_the_whole_apache_text() -> None:
    text = " ".join((ROOT / "LICENSE").read_text().split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 10_000


def test_the_notice_attributes_every_corpus() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for corpus in (
        "Schema-Guided",
        "Topical-Chat",
        "Synthetic-Persona-Chat",
        "Taskmaster",
        "Storybook",
        "PersonalityChat",
    ):
        assert corpus in notice
    assert "CC BY-SA 4.0" in notice


def test_no_path_of_a_machine_and_no_download_address_is_in_a_file() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line) or DOWNLOADS.search(line)
    ]
    assert found == []


def test_no_file_is_over_twenty_megabytes() -> None:
    assert [path.name for path in files() if path.stat().st_size > 20 * 2**20] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path.relative_to(ROOT).as_posix() for path in files() if path.stem.lower() in BANNED_STEMS] == []


def test_no_two_files_differ_in_case_only() -> None:
    lowered: dict[str, str] = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        assert lowered.setdefault(name.lower(), name) == name


def test_no_file_and_no_function_is_past_its_hard_limit() -> None:
    found = [length for path in sources() for length in lengths(path)]
    assert [f"{x.name}: {x.lines} lines" for x in found if x.lines > x.limit.refused] == []


def test_the_constraints_pin_exact_versions_and_nothing_of_a_machine() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "NOTICE", "docs/claims.md"])
def test_the_house_has_its_papers(name: str) -> None:
    assert (ROOT / name).stat().st_size > 500
