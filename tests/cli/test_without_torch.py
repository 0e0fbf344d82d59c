# SPDX-License-Identifier: Apache-2.0
"""``pip install ipse`` alone: no torch, and still help, a list, a doctor, and one error that says what to install."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ipse.forks.audit import home_log
from ipse.forks.home import Home
from ipse.forks.publish import publish
from ipse.ledger.publiclog import PublicLog
from ipse.model.layout import build_layout
from ipse.store.store import FILE_NAME
from tests.cli.sessions import clean_environment
from tests.forks.tiny import append, tiny_fork, turn

LOCAL = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "jinja2",
    "bm25s",
    "plotext",
    "matplotlib",
)


def ipse(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that has none of what ``ipse[local]`` brings."""
    code = f"import sys; sys.modules.update(dict.fromkeys({LOCAL})); from ipse.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=clean_environment()
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bare") / "home"
    with Home.open(root) as opened:
        layout = build_layout("0" * 16, "0" * 64, 2, (("layers.0.o", "attention"),), hidden_size=4, layers=1)
        opened.create_fork("ada", layout, "a-base")
    return root


@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "chat --help", "demo --help", "fork history --help", "base fit-basis --help", "bench"],
)
def test_help_needs_no_torch(words: str) -> None:
    done = ipse(*words.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_forks_are_listed_and_examined_without_torch(home: Path) -> None:
    listed = ipse("fork", "list", "--data", str(home))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "ada" in listed.stdout
    examined = ipse("doctor", "--data", str(home))
    assert (examined.returncode, examined.stderr) == (0, "")
    assert "pip install 'ipse[local]'" in examined.stdout
    assert "1 with 0 records" in examined.stdout


def test_a_log_needs_neither_torch_nor_a_key(home: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(home / FILE_NAME, bare)
    logged = ipse("fork", "log", "--fork", "ada", "--data", str(bare))
    assert (logged.returncode, logged.stderr, logged.stdout) == (0, "", "Nothing yet.\n")


@pytest.mark.parametrize("words", ["key show", "key show --public", "key words --yes", "key devices"])
def test_the_key_is_looked_after_without_torch(words: str, home: Path) -> None:
    done = ipse(*words.split(), "--data", str(home))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_key_is_made_and_rotated_without_torch(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home, tmp_path / "copy")
    for words, folder in (("key init", tmp_path / "new"), ("key rotate", copy)):
        done = ipse(*words.split(), "--data", str(folder))
        assert (done.returncode, done.stderr) == (0, "")


def test_a_witness_needs_no_torch(tmp_path: Path) -> None:
    for words in ("init --name witness.example", "show"):
        done = ipse("witness", *words.split(), "--data", str(tmp_path / "witness"))
        assert (done.returncode, done.stderr) == (0, "")


def test_the_log_is_made_shown_and_exported_without_torch(tmp_path: Path) -> None:
    for words in (("new",), ("show",), ("export", str(tmp_path / "public"))):
        done = ipse("ledger", *words, "--data", str(tmp_path / "home"))
        assert (done.returncode, done.stderr) == (0, "")


def test_everything_is_verified_without_torch(tmp_path: Path) -> None:
    data = str(tmp_path / "home")
    with Home.open(tmp_path / "home") as opened:
        append(tiny_fork(opened), turn("a"))
        publish(opened)
        log = home_log(PublicLog(opened.store))
    assert log is not None
    keys = [word for key in log.keys for word in ("--key", key.to_text())]
    proof, public = str(tmp_path / "proof"), str(tmp_path / "public")
    for words in (
        ("verify", "--data", data),
        ("verify", "all", "--no-key", "--data", data),
        ("verify", "ledger", "--data", data),
        ("verify", "fork", "--fork", "ada", "--data", data),
        ("fork", "prove", "1", proof, "--fork", "ada", "--data", data),
        ("verify", "record", proof, *keys),
        ("ledger", "export", public, "--data", data),
        ("verify", "ledger", public, *keys, "--state", str(tmp_path / "state")),
    ):
        done = ipse(*words)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize(
    "words",
    [
        "chat",
        "generate Hello",
        "replay FILE",
        "fork show --fork ada",
        "fork history --fork ada",
        "base show",
        "bench short",
        "demo",
    ],
)
def test_what_needs_the_model_says_what_to_install(words: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "Hello!"}]')
    given = words.replace("FILE", str(tmp_path / "talk.json")).split()
    done = ipse(*given, "--data", str(tmp_path / "new" if words == "demo" else home))
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: This needs ")
    assert hint == "hint: Run: pip install 'ipse[local]'"
