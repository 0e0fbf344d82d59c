# SPDX-License-Identifier: Apache-2.0
"""Export and import by command: what a damaged adapter gives, and the form for llama.cpp."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.inprocess import Ipse

TALK = Path(__file__).parent / "talk.json"


@pytest.fixture
def data(ipse: Ipse, tmp_path: Path) -> Path:
    assert ipse("replay", TALK, "--fork", "ada", "--data", tmp_path / "data").code == 0
    return tmp_path / "data"


def adapter(folder: Path, **tensors: np.ndarray) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    save_file(
        {name.replace("__", "."): tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def test_a_fork_as_gguf_says_in_one_line_what_is_missing_and_how_far_that_is(
    ipse: Ipse, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    done = ipse("export", "--format", "gguf", tmp_path / "ada.gguf", "--fork", "ada", "--data", data)
    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.startswith("Left out")]
    assert "the output embedding and the gates" in line
    assert "Its logits are within" in line
    again = ipse("export", "--format", "gguf", tmp_path / "ada.gguf", "--fork", "ada", "--data", data)
    assert (again.code, len(again.errors)) == (2, 1)


def test_without_the_gguf_package_the_error_says_what_to_install(
    ipse: Ipse, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # as where it is not installed
    done = ipse("export", "--format", "gguf", tmp_path / "ada.gguf", "--fork", "ada", "--data", data)
    assert done.code == 1
    assert done.err[-1] == "hint: Run: pip install 'ipse[gguf]'"
    assert not (tmp_path / "ada.gguf").exists()


def test_json_says_files_sizes_and_the_difference(ipse: Ipse, data: Path, tmp_path: Path) -> None:
    done = ipse("export", tmp_path / "lora", "--fork", "ada", "--data", data, "--json")
    told = json.loads(done.out)
    assert told["files"] == {file.name: file.stat().st_size for file in (tmp_path / "lora").iterdir()}
    assert told["logit_difference"] < 1e-4
    assert told["fork_difference"] > 0.5


def test_whatever_is_wrong_with_an_adapter_is_one_error_and_no_fork(ipse: Ipse, tmp_path: Path) -> None:
    q = "base_model__model__model__layers__0__self_attn__q_proj__lora_"
    ones = {f"{q}A__weight": np.ones((2, 256), np.float32), f"{q}B__weight": np.ones((256, 2), np.float32)}
    far = {name.replace("layers__0", "layers__31"): tensor for name, tensor in ones.items()}
    nan = {name: np.full_like(tensor, np.nan) for name, tensor in ones.items()}
    cut = adapter(tmp_path / "cut", **ones)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    cases = {
        cut: 1,
        adapter(tmp_path / "nan", **nan): 1,
        adapter(tmp_path / "far", **far): 1,
        adapter(tmp_path / "wide", **ones | {f"{q}A__weight": np.ones((2, 512), np.float32)}): 1,
        adapter(tmp_path / "none"): 2,
        tmp_path / "absent": 2,
    }
    for folder, code in cases.items():
        done = ipse("import", "--peft", folder, "--fork", "eve", "--data", tmp_path / "data")
        assert (done.code, len(done.errors), len(done.err)) == (code, 1, 2), (folder, done.err)
    listed = json.loads(ipse("fork", "list", "--data", tmp_path / "data", "--json").out)
    assert listed["forks"] == []


def test_what_is_ignored_is_said(ipse: Ipse, tmp_path: Path) -> None:
    found = simple(tmp_path / "lora")
    file = found / "adapter_model.safetensors"
    save_file(load_file(file) | {"model.embed_tokens.weight": np.ones((4, 256), np.float32)}, file)
    done = ipse("import", "--peft", found, "--fork", "eve", "--data", tmp_path / "data")
    assert done.code == 0
    assert "Ignored: model.embed_tokens (whole)." in done.out
    assert "Most of it lies outside this base's basis" in done.out


def simple(folder: Path) -> Path:
    """A LoRA of the first query alone, as PEFT names it."""
    q = "base_model__model__model__layers__0__self_attn__q_proj__lora_"
    a, b = np.eye(2, 256, dtype=np.float32), np.ones((256, 2), np.float32)
    return adapter(folder, **{f"{q}A__weight": a, f"{q}B__weight": b})


def test_without_a_name_it_makes_a_first_fork_and_never_hides_one_that_is_there(ipse: Ipse, tmp_path: Path) -> None:
    command = ("import", "--peft", simple(tmp_path / "lora"), "--data", tmp_path / "data")
    assert "Imported into a new fork of me as record 1;" in ipse(*command).out
    again = ipse(*command)
    assert (again.code, again.errors) == (2, ["error: There is a fork of me already."])
    assert json.loads(ipse(*command, "--fork", "me", "--json").out)["record"] == 2
    (fork,) = json.loads(ipse("fork", "list", "--data", tmp_path / "data", "--json").out)["forks"]
    assert fork["records"] == 2


def test_an_export_of_nobody_or_over_something_is_one_error(ipse: Ipse, data: Path, tmp_path: Path) -> None:
    for owner, target in (("nobody", tmp_path / "new"), ("ada", data)):
        done = ipse("export", target, "--fork", owner, "--data", data)
        assert (done.code, len(done.errors), len(done.err)) == (2, 1, 2)
    assert not (tmp_path / "new").exists()
