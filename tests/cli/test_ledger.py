# SPDX-License-Identifier: Apache-2.0
"""The log from the command line: served by a real process, and refused after an older copy was put back."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from pathlib import Path

import pytest

from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.store.store import FILE_NAME, Store
from tests.cli.inprocess import Ipse
from tests.cli.running import Running
from tests.ledger.logs import blinded


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "home") as store:
        LogWriter.open(store, origin="log.example/ada").append(blinded(3))
    return tmp_path / "home"


def test_a_served_log_grows_under_its_readers_and_ends_with_ctrl_c(home: Path) -> None:
    with Running("ledger", "serve", "--port", "0", "--json", "--data", str(home)) as server:
        server.wait_for(r"\}\n")
        told = json.loads(server.out)
        assert (told["origin"], told["size"]) == ("log.example/ada", 3)
        with Store.open(home) as store:
            writer = LogWriter.open(store)
            writer.append(blinded(5)[3:])
        with urllib.request.urlopen(f"{told['url']}/checkpoint", timeout=60) as answer:
            assert open_checkpoint(answer.read(), writer.log).head == writer.head
        server.process.send_signal(signal.SIGINT)
        assert server.gone() == 0
        assert server.err == ""


def test_a_port_that_is_taken_is_one_clear_error(home: Path, ipse: Ipse) -> None:
    with Running("ledger", "serve", "--port", "0", "--json", "--data", str(home)) as server:
        server.wait_for(r"\}\n")
        port = json.loads(server.out)["url"].rpartition(":")[2]
        outcome = ipse("ledger", "serve", "--port", port, "--data", home)
    assert outcome.code == 1
    assert outcome.errors == [f"error: Cannot listen on 127.0.0.1, port {port}: Address already in use."]


def test_show_says_that_an_older_copy_was_put_back_and_what_to_do(home: Path, tmp_path: Path, ipse: Ipse) -> None:
    shutil.copy(home / FILE_NAME, tmp_path / "older")
    with Store.open(home) as store:
        LogWriter.open(store).append(blinded(5)[3:])
    assert json.loads(ipse("ledger", "show", "--json", "--data", home).out)["refused"] is None
    shutil.copy(tmp_path / "older", home / FILE_NAME)
    outcome = ipse("ledger", "show", "--data", home)
    assert outcome.code == 0
    assert "size     3 entries" in outcome.out
    assert "an older copy was put back" in outcome.out
    assert "Nothing more is signed." in outcome.out
    assert ipse("ledger", "export", tmp_path / "public", "--data", home).code == 0
    assert ipse("ledger", "new", "--yes", "--data", home).code == 0
    assert "refused" not in ipse("ledger", "show", "--data", home).out


def test_a_log_whose_key_is_gone_says_so(home: Path, tmp_path: Path, ipse: Ipse) -> None:
    (home / "log.key").unlink()
    for words in (("show",), ("export", tmp_path / "public")):
        outcome = ipse("ledger", *words, "--data", home)
        assert outcome.code == 1
        assert outcome.errors == [f"error: There is no log key at {home / 'log.key'}."]
    assert not (home / "log.key").exists()
