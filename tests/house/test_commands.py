# SPDX-License-Identifier: Apache-2.0
"""Every command helps, is documented, and is spelt in the documents as the program spells it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from ipse.cli.main import cli
from ipse.cli.slash import COMMANDS
from tests.house.repository import ROOT, documents, shell_lines


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the tree with the words that call it."""
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


def ipse(*words: str, hide_torch: bool = False) -> subprocess.CompletedProcess[str]:
    hidden = "sys.modules['torch'] = sys.modules['transformers'] = None;" if hide_torch else ""
    code = f"import sys; {hidden} sys.argv = ['ipse', *{words!r}]; from ipse.cli.main import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


TREE = list(commands(cli))


@pytest.mark.parametrize(("path", "command"), TREE, ids=[" ".join(path) or "ipse" for path, _ in TREE])
def test_every_command_and_every_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, path
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts}"


@pytest.mark.parametrize("path", [path for path, command in TREE if path and not isinstance(command, click.Group)])
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    assert any(f"ipse {' '.join(path)}" in text for _, text in documents())


def test_every_command_line_in_a_document_is_one_that_the_program_knows() -> None:
    known = dict(TREE)
    unknown = []
    for page, text in documents():
        for line in shell_lines(text):
            words = line.split()
            if not words or words[0] != "ipse":
                continue
            path = tuple(words[1:3]) if tuple(words[1:3]) in known else tuple(words[1:2])
            options = {opt for p in known[path].params for opt in p.opts} | {"--help"} if path in known else set()
            used = {word.split("=")[0] for word in words if word.startswith("--")}
            if path not in known or not used <= options:
                unknown.append(f"{page.name}: {line}")
    assert unknown == []


def test_every_setting_and_every_slash_command_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src" / "ipse").rglob("*.py"))
    assert [name for name in sorted(set(re.findall(r"\bIPSE_[A-Z_]+\b", source))) if name not in page] == []
    assert [name for name in COMMANDS if f"`/{name}" not in page] == []


def test_version_and_help_work_without_torch() -> None:
    version = ipse("--version", hide_torch=True)
    assert version.returncode == 0
    assert re.search(r"\d+\.\d+\.\d+", version.stdout)
    assert ipse("--help", hide_torch=True).returncode == 0


def test_an_unknown_command_is_one_clear_error() -> None:
    done = ipse("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr
    assert "Traceback" not in done.stderr
