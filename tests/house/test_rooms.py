# SPDX-License-Identifier: Apache-2.0
"""The rooms: what each shows to the others, and who may know whom."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from tests.house.repository import ROOT

PACKAGE = ROOT / "src" / "ipse"

EXPORTED: dict[str, tuple[str, ...]] = {
    ".": ("Home", "Sampling", "StepSettings", "UserInput", "UserModelLifecycle", "generate", "load_base"),
}
"""Every name that the package (``.``) and each room's ``__init__`` show; a room that is not here shows its modules
only. Adding a name is a decision: write it down here."""

ROOMS = [".", *sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))]
AT_MOST = 8


def shown(room: str) -> tuple[str, ...]:
    """``__all__`` of a room, read without importing it."""
    for node in ast.parse((PACKAGE / room / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return tuple(names)
    return ()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_what_is_written_down_here_and_at_most_eight_names(room: str) -> None:
    names = shown(room)
    assert sorted(names) == sorted(EXPORTED.get(room, ()))
    assert len(names) <= AT_MOST


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for(room: str) -> None:
    assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))


def test_every_shown_name_is_there() -> None:
    for room in ROOMS:
        module = importlib.import_module(f"ipse.{room}".rstrip("."))
        assert [name for name in shown(room) if not hasattr(module, name)] == []


def test_imports_only_go_down() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-logo",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_whole_error_tree_is_drawn_in_its_docstring() -> None:
    source = (PACKAGE / "errors.py").read_text()
    tree = ast.parse(source)
    drawn = ast.get_docstring(tree) or ""
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [name for name in defined if name not in drawn] == []


@pytest.mark.parametrize(
    "module",
    [
        "ipse",
        "ipse.wire.update",
        "ipse.vault.seal",
        "ipse.store.store",
        "ipse.ledger.record",
        "ipse.ledger.recordproof",
        "ipse.ledger.tiles",
        "ipse.ledger.tlogproof",
        "ipse.client.audit",
        "ipse.client.auditor",
        "ipse.client.witness",
        "ipse.server.witness",
        "ipse.ledger.log",
        "ipse.server.tiles",
        "ipse.server.export",
        "ipse.forks.audit",
        "ipse.forks.prove",
    ],
)
def test_what_an_auditor_needs_imports_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
