# SPDX-License-Identifier: Apache-2.0
"""Forks as PEFT loads them, and adapters from anywhere: PEFT itself is the oracle."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from ipse.errors import InputError, IpseError, VerificationError
from ipse.model.adapter import whole_fork, worn
from ipse.model.peft_files import CONFIG_FILE, WEIGHTS_FILE, read_peft, write_peft
from ipse.model.state import PersonalState
from tests.model.tiny_families import FAMILIES, everywhere, random_model, random_state, random_tokens, stack, tiny


def exported(family: str, state: PersonalState, directory: Path) -> None:
    base = tiny(family)
    write_peft(whole_fork(state, base.basis, base.body, base.model), directory, base_name="org/base")


def without(state: PersonalState, *segments: str) -> PersonalState:
    z = state.z.copy()
    for name in segments:
        z[state.layout[name].slice] = 0
    return PersonalState(state.layout, z)


def answers(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=tokens).logits
    return logits.flatten(0, 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # a head without bias, or one that is tied, cannot be merged into
def test_a_fork_answers_the_same_under_plain_peft(family: str, tmp_path: Path) -> None:
    base = tiny(family)
    state = random_state(base.layout, 11)
    exported(family, state, tmp_path)
    tokens = random_tokens(2, 12)
    ours = base.runner.select(tokens, stack([state, state]), *everywhere(2, 12))
    plain = random_model(family)
    bare = answers(plain, tokens)
    theirs = answers(PeftModel.from_pretrained(plain, str(tmp_path)).eval(), tokens)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    assert (theirs - bare).abs().max() > 0.3


@pytest.mark.parametrize("left", [("gates",), ("output",), ("gates", "output")], ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_part_that_never_moved_costs_nothing(left: tuple[str, ...], tmp_path: Path) -> None:
    base = tiny("llama")
    state = without(random_state(base.layout, 12), *left)
    exported("llama", state, tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert (config["modules_to_save"] is None) == ("gates" in left)
    assert config["lora_bias"] == ("lm_head" in config["target_modules"]) == ("output" not in left)
    model = PeftModel.from_pretrained(random_model("llama"), str(tmp_path)).eval()
    ours = base.runner.select(random_tokens(1, 12), stack([state]), *everywhere(1, 12))
    torch.testing.assert_close(answers(model, random_tokens(1, 12)), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_only_the_blocks_whose_gate_moved_are_copied(tmp_path: Path) -> None:
    base = tiny("llama")
    z = random_state(base.layout, 3).z.copy()
    z[base.layout["gates"].slice] = [0, 0, 0, 300_000]  # the ffn of the second block
    state = PersonalState(base.layout, z)
    exported("llama", state, tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["modules_to_save"] == ["model.layers.1.mlp.down_proj"]
    model = PeftModel.from_pretrained(random_model("llama"), str(tmp_path)).eval()
    ours = base.runner.select(random_tokens(1, 12), stack([state]), *everywhere(1, 12))
    torch.testing.assert_close(answers(model, random_tokens(1, 12)), ours, rtol=1e-4, atol=1e-4)


def test_an_export_names_no_path(tmp_path: Path) -> None:
    exported("llama", random_state(tiny("llama").layout, 1), tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}
    assert str(tmp_path) not in (tmp_path / "out" / CONFIG_FILE).read_text()


def trained(directory: Path, family: str = "llama", seed: int = 0, **how: Any) -> Any:
    """A LoRA that PEFT made, as if trained; the model that wears it."""
    settings: dict[str, Any] = {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    model = get_peft_model(random_model(family), LoraConfig(**(settings | how))).eval()
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0.0, 0.2)
    model.save_pretrained(str(directory))
    return model


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"down_proj": 5}},
        {"modules_to_save": ["o_proj"]},
        {"lora_bias": True},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_peft_saved_is_read_as_peft_means_it(how: dict[str, Any], tmp_path: Path) -> None:
    model = trained(tmp_path, **how)
    tokens = random_tokens(2, 12)
    own = random_model("llama")
    bare = answers(own, tokens)
    with worn(own, read_peft(tmp_path)):
        ours = answers(own, tokens)
    torch.testing.assert_close(ours, answers(model, tokens), rtol=1e-4, atol=1e-4)
    assert torch.equal(answers(own, tokens), bare)  # and taken off again, nothing is left


@pytest.mark.parametrize(
    ("setting", "value"),
    [("use_dora", True), ("fan_in_fan_out", True), ("peft_type", "IA3"), ("alora_invocation_tokens", [1])],
)
def test_what_is_no_plain_lora_is_refused(setting: str, value: Any, tmp_path: Path) -> None:
    trained(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | {setting: value}))
    with pytest.raises(InputError):
        read_peft(tmp_path)


def test_a_real_dora_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, use_dora=True)
    with pytest.raises(InputError, match="DoRA"):
        read_peft(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | {"use_dora": False}))
    with pytest.raises(InputError, match="DoRA"):
        read_peft(tmp_path)


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> Any:
        return (Path.touch, (self.sprung,))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(InputError, match=r"\.bin"):
        read_peft(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_an_empty_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=CONFIG_FILE):
        read_peft(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        pytest.param(" " * 5_000_000, id="huge"),
        '{"peft_type": 3}',
        pytest.param("[" * 100_000, id="deep"),
        '{"peft_type": "LORA", "r": "many"}',
    ]
    + [f'{{"peft_type": "LORA", "r": 3, "lora_alpha": {a}}}' for a in ("NaN", "0", "true", "1e99", '"7"', "null")]
    + ['{"peft_type": "LORA", "r": 3, "rank_pattern": [1]}', '{"peft_type": "LORA", "r": 4}'],
)
def test_a_broken_configuration_is_a_failed_check(text: str, tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(VerificationError):
        read_peft(tmp_path)


def test_a_configuration_that_is_not_text_is_a_failed_check(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VerificationError):
        read_peft(tmp_path)


def test_a_regular_expression_out_of_a_file_is_never_run(tmp_path: Path) -> None:
    trained(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | {"rank_pattern": {"(a+)+$": 3}}))
    with pytest.raises(InputError, match="regular expression"):
        read_peft(tmp_path)


def test_tensors_that_do_not_fit_together_are_a_failed_check(tmp_path: Path) -> None:
    trained(tmp_path)
    good = load_file(tmp_path / WEIGHTS_FILE)
    name = next(n for n in good if n.endswith("lora_A.weight"))
    other = name.replace("lora_A", "lora_B")
    nan = good[name].clone()
    nan[0, 0] = float("nan")
    for change in (
        {name: None},
        {other: None},
        {name: nan},
        {name: good[name][:2]},
        {name: good[name].to(torch.int32)},
        {name: good[name].ravel()},
        {other.replace(".weight", ".bias"): torch.ones(1)},
        {name.replace(".lora_A.weight", ".weight"): torch.ones(2, 2)},
    ):
        tensors = {n: t for n, t in (good | change).items() if t is not None}
        save_file(tensors, tmp_path / WEIGHTS_FILE)
        with pytest.raises(VerificationError):
            read_peft(tmp_path)


def test_no_damage_to_the_weights_surfaces_as_anything_but_a_deliberate_error(tmp_path: Path) -> None:
    trained(tmp_path)
    good = (tmp_path / WEIGHTS_FILE).read_bytes()
    rng = random.Random(5)
    refused = 0
    for cut in (0, 1, 7, 8, 9, 200, len(good) - 1):
        (tmp_path / WEIGHTS_FILE).write_bytes(good[:cut])
        with pytest.raises(VerificationError):
            read_peft(tmp_path)
    for _ in range(200):
        data = bytearray(good)
        data[rng.randrange(1200)] ^= 1 << rng.randrange(8)  # the header
        (tmp_path / WEIGHTS_FILE).write_bytes(data)
        try:
            read_peft(tmp_path)
        except IpseError:
            refused += 1
    assert refused > 50
