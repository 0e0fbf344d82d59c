# SPDX-License-Identifier: Apache-2.0
"""A fork of the shipped base goes out and comes back, with PEFT and transformers as they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ipse.errors import BaseMismatch, InputError
from ipse.forks.home import Home
from ipse.forks.interact import UserModelLifecycle
from ipse.forks.portable import CARD_FILE, MEASURED_ON, export_gguf, export_peft, imported
from ipse.learning.general import GENERAL, general_examples
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.layout import ONE
from tests.model.tiny_families import random_model, save

SAID = ("Ahoy! The wind is fair today.", "I keep my boat in the harbour, matey.", "Fair winds to ye!")


@cache
def base() -> Base:
    return load_base()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def life(home: Home) -> UserModelLifecycle:
    """A fork that learned, and that was corrected once."""
    life = UserModelLifecycle(home, base(), "ada")
    for text in SAID:
        life.teach([Turn("user", text)], reply="Aye.")
    life.edit("Fair winds to thee too, captain!")
    return life


def test_an_exported_fork_answers_the_same_under_plain_peft(
    life: UserModelLifecycle, home: Home, tmp_path: Path
) -> None:
    at = home.open_fork(life.fork.fork_id, base().layout).folded
    done = export_peft(base(), at, life.fork.fork_id, tmp_path / "lora")
    plain = AutoModelForCausalLM.from_pretrained(base().directory, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(tmp_path / "lora")).eval()
    worst = 0.0
    for example in general_examples(base().tokenizer, GENERAL[:MEASURED_ON]):
        tokens = torch.tensor([example.tokens])
        where = torch.zeros_like(tokens[0]), torch.arange(tokens.shape[1])
        ours = base().runner.select(tokens, torch.from_numpy(life.state.values())[None], *where)
        with torch.no_grad():
            worst = max(worst, float((model(input_ids=tokens).logits[0] - ours).abs().max()))
    assert worst < 1e-4
    assert done.logit_difference < 1e-4  # what it says of itself is what PEFT gives
    assert done.fork_difference > 0.5
    assert done.left_out == ()
    assert set(done.files) == {file.name for file in (tmp_path / "lora").iterdir()}
    card = (tmp_path / "lora" / CARD_FILE).read_text()
    for fact in (base().reference.digest, base().basis.digest, at.head.digest.hex(), f"at height {at.height}"):
        assert fact in card
    assert str(tmp_path) not in card


def test_a_fork_that_went_out_and_came_back_is_the_same_fork(
    life: UserModelLifecycle, home: Home, tmp_path: Path
) -> None:
    at = home.open_fork(life.fork.fork_id, base().layout).folded
    export_peft(base(), at, life.fork.fork_id, tmp_path / "lora")
    found = imported(base(), tmp_path / "lora")
    assert found.kept > 1 - 1e-6
    assert found.ignored == ()
    back = UserModelLifecycle(home, base(), "bob")
    back.adopt(found.values, "LoRA lora")
    assert np.abs(back.state.z.astype(np.int64) - at.z).max() < 1e-4 * ONE
    assert back.fork.fork_height == 1
    assert back.why().seq == 1
    back.teach([Turn("user", SAID[0])])  # and goes on learning
    again = UserModelLifecycle(home, base(), "bob")
    assert again.state == back.state


def test_nothing_is_overwritten(life: UserModelLifecycle, home: Home, tmp_path: Path) -> None:
    at = home.open_fork(life.fork.fork_id, base().layout).folded
    there = tmp_path / "there"
    there.mkdir()
    (there / "notes.txt").write_text("mine")
    for target in (there, there / "notes.txt"):
        with pytest.raises(InputError):
            export_peft(base(), at, life.fork.fork_id, target)
    with pytest.raises(InputError):
        export_gguf(base(), at, life.fork.fork_id, there / "notes.txt")
    assert (there / "notes.txt").read_text() == "mine"
    assert len(list(there.iterdir())) == 1


def test_a_gguf_export_says_what_it_left_out_and_how_far_that_is(
    life: UserModelLifecycle, home: Home, tmp_path: Path
) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    at = home.open_fork(life.fork.fork_id, base().layout).folded
    done = export_gguf(base(), at, life.fork.fork_id, tmp_path / "ada.gguf")
    assert len(done.left_out) == 2
    assert 1e-3 < done.logit_difference < done.fork_difference / 4
    new = home.create_fork("new", base().layout, "b").folded
    nothing = export_gguf(base(), new, "f", tmp_path / "new.gguf")
    assert nothing.left_out == ()
    assert nothing.logit_difference < 1e-4


def test_an_adapter_of_another_base_is_refused(life: UserModelLifecycle, home: Home, tmp_path: Path) -> None:
    other = load_base(save(random_model("qwen2"), tmp_path / "other"), rank=4)
    at = home.open_fork(life.fork.fork_id, base().layout).folded
    export_peft(base(), at, life.fork.fork_id, tmp_path / "lora")
    with pytest.raises(BaseMismatch):
        imported(other, tmp_path / "lora")
