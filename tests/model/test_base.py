# SPDX-License-Identifier: Apache-2.0
"""Loading a base: from disk like a user's own, damaged in every way we could think of, and by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ipse.errors import BaseDamaged, BaseMismatch, BaseNotFound, InputError, UnsupportedArchitecture
from ipse.model.base import BASIS_FILE, load_base
from ipse.model.lean import LeanRunner
from ipse.model.module import ModuleRunner
from ipse.model.weights import find_weight_files, weight_digest
from tests.model.tiny_families import FAMILIES, everywhere, random_model, random_state, random_tokens, save, stack


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return save(random_model("llama"), tmp_path / "llama")


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_and_answers_as_transformers_does(family: str, tmp_path: Path) -> None:
    model = random_model(family)
    base = load_base(save(model, tmp_path / family), rank=3)
    tokens = random_tokens(2, 12)
    ours = base.runner.select(tokens, None, *everywhere(2, 12))
    torch.testing.assert_close(ours, model(input_ids=tokens).logits.flatten(0, 1), rtol=1e-4, atol=1e-4)
    assert base.reference.name == family
    assert base.reference.base_id == base.reference.digest[:16] == base.layout.base_id
    assert base.window == 96


@pytest.mark.parametrize("family", ["llama", "llama-attention-bias", "llama-tied-biased", "mistral", "qwen2", "qwen3"])
def test_the_lean_forward_and_the_module_tree_agree(family: str, tmp_path: Path) -> None:
    where = save(random_model(family), tmp_path / family)
    lean, module = load_base(where, rank=3, path="lean"), load_base(where, rank=3, path="module")
    assert isinstance(lean.runner, LeanRunner)
    assert isinstance(module.runner, ModuleRunner)
    assert lean.layout.digest == module.layout.digest
    tokens = random_tokens(2, 12)
    p = stack([random_state(lean.layout, seed) for seed in range(2)])
    rows, cols = everywhere(2, 12)
    torch.testing.assert_close(
        lean.runner.select(tokens, p, rows, cols), module.runner.select(tokens, p, rows, cols), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("family", ["mistral-sliding", "qwen3-sliding", "gemma", "phi"])
def test_what_the_lean_forward_does_not_cover_runs_on_the_module_tree(family: str, tmp_path: Path) -> None:
    where = save(random_model(family), tmp_path / family)
    assert isinstance(load_base(where, rank=2).runner, ModuleRunner)
    with pytest.raises(UnsupportedArchitecture):
        load_base(where, rank=2, path="lean")


def test_the_shipped_base_loads_without_a_name() -> None:
    base = load_base()
    assert base.reference.name == "ipse-base"
    assert base.config.family == "llama"
    assert base.module().config.model_type == "llama"
    bare = base.runner.select(random_tokens(1, 5), None, torch.tensor([0]), torch.tensor([4]))
    assert bare.shape == (1, base.config.vocabulary_size)


def test_the_digest_does_not_change_with_precision_or_path_of_loading(tmp_path: Path) -> None:
    where = save(random_model("llama").bfloat16(), tmp_path / "m")
    bases = [load_base(where, rank=3, dtype=d, path=p) for d in ("float32", "bfloat16") for p in ("lean", "module")]
    assert len({base.reference.digest for base in bases}) == 1
    assert len({base.layout.digest for base in bases}) == 1  # the basis too: it is taken from what is stored
    assert bases[1].dtype == torch.float32


def test_the_basis_of_a_float32_base_does_not_change_with_the_precision_of_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = save(random_model("gemma2"), tmp_path / "m")
    digests = set()
    for number, dtype in enumerate(("float32", "bfloat16")):
        monkeypatch.setenv("IPSE_CACHE", str(tmp_path / f"cache{number}"))  # computed anew each time
        digests.add(load_base(where, rank=3, dtype=dtype).basis.digest)
    assert len(digests) == 1


def test_shards_and_one_file_have_one_digest(tmp_path: Path) -> None:
    model = random_model("qwen3")
    whole = save(model, tmp_path / "whole")
    parts = save(model, tmp_path / "parts", max_shard_size="20KB")
    assert len(find_weight_files(parts)) > 1
    assert weight_digest(find_weight_files(whole)) == weight_digest(find_weight_files(parts))
    base = load_base(parts, rank=2)
    assert base.layout.digest == load_base(whole, rank=2).layout.digest


def test_pickled_weights_have_the_digest_of_the_same_safetensors(tmp_path: Path) -> None:
    for family in ("llama", "gemma"):
        where = save(random_model(family), tmp_path / family)
        before = load_base(where, rank=2)
        torch.save(load_file(where / "model.safetensors"), where / "pytorch_model.bin")
        (where / "model.safetensors").unlink()
        after = load_base(where, rank=2)
        assert after.reference.digest == before.reference.digest
        assert after.layout.digest == before.layout.digest


def test_any_changed_weight_gives_another_base(llama: Path) -> None:
    before = weight_digest(find_weight_files(llama))
    tensors = load_file(llama / "model.safetensors")
    tensors["model.norm.weight"][3] += 1e-6
    save_file(tensors, llama / "model.safetensors", {"format": "pt"})
    assert weight_digest(find_weight_files(llama)) != before


def test_the_digest_is_cached_by_path_size_and_time(llama: Path, own_cache: Path) -> None:
    files = find_weight_files(llama)
    digest = weight_digest(files)
    (note,) = (own_cache / "digests").iterdir()
    note.write_text("ab" * 32)
    assert weight_digest(files) == "ab" * 32  # read, not computed
    note.write_text("nonsense")
    assert weight_digest(files) == digest


@pytest.mark.parametrize("path", ["lean", "module"])
@pytest.mark.parametrize("keep", [0, 5, 200, -1, -5000])
def test_truncated_weights_are_refused(llama: Path, path: str, keep: int) -> None:
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(BaseDamaged):
        load_base(llama, rank=2, path=path)


def test_a_truncated_file_is_refused_even_when_its_whole_self_was_seen_before(llama: Path) -> None:
    load_base(llama, rank=2)
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(BaseDamaged, match="truncated"):
        load_base(llama, rank=2)


@pytest.mark.parametrize("path", ["lean", "module"])
@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 64, "head_dim": 8}, {"vocab_size": 70}, {"intermediate_size": 50}, {"num_hidden_layers": 3}],
)
def test_weights_of_another_shape_than_stated_are_refused(llama: Path, path: str, changes: dict[str, Any]) -> None:
    edit_config(llama, **changes)
    with pytest.raises(BaseDamaged):
        load_base(llama, rank=2, path=path)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("gone", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight"])
def test_a_missing_tensor_is_refused_and_never_made_up(tmp_path: Path, family: str, gone: str) -> None:
    where = save(random_model(family), tmp_path / "m")
    tensors = load_file(where / "model.safetensors")
    del tensors[gone]
    save_file(tensors, where / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseDamaged, match=gone):
        load_base(where, rank=2)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    where = save(random_model("llama"), tmp_path / "m", max_shard_size="20KB")
    find_weight_files(where)[1].unlink()
    with pytest.raises(BaseDamaged, match="not there"):
        load_base(where, rank=2)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "llama"}', '{"model_type": "llama", "hidden_size": "x"}']
)
def test_a_broken_configuration_is_refused(llama: Path, text: str) -> None:
    (llama / "config.json").write_text(text)
    with pytest.raises(BaseDamaged):
        load_base(llama, rank=2)


def test_a_configuration_that_leaves_defaults_out_is_filled_in(llama: Path) -> None:
    want = load_base(llama, rank=2)
    config = json.loads((llama / "config.json").read_text())
    for key in ("rms_norm_eps", "tie_word_embeddings", "head_dim", "hidden_act", "rope_parameters"):
        config.pop(key, None)
    (llama / "config.json").write_text(json.dumps(config))
    assert load_base(llama, rank=2).layout.digest == want.layout.digest


def test_an_unsupported_architecture_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    transformers.GPT2Config(n_layer=1).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UnsupportedArchitecture, match="gpt2"):
        load_base(tmp_path / "gpt2")


def test_what_is_not_there_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ref in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere", "a/b/c", ""):
        with pytest.raises(BaseNotFound):
            load_base(ref)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseNotFound, match=r"config\.json"):
        load_base(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text(transformers.LlamaConfig().to_json_string())
    with pytest.raises(BaseNotFound, match="no weights"):
        load_base(tmp_path / "empty")


def test_a_hub_id_that_is_not_cached_is_not_found_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(BaseNotFound) as refused:
        load_base("someone/some-model")
    assert "someone/some-model" in refused.value.message
    assert "Connect once" in refused.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "tpu"},
        {"device": "cuda:99"},
        {"device": "cuda:x"},
        {"dtype": "float16"},
        {"rank": 0},
        {"rank": 999},
        {"path": "fast"},
        {"basis": "no/such/file"},
    ],
)
def test_what_is_not_to_be_had_is_an_input_error(llama: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        load_base(llama, **wrong)


def test_a_basis_beside_the_weights_is_taken_if_its_rank_fits(llama: Path, tmp_path: Path) -> None:
    own = load_base(save(random_model("llama", seed=9), tmp_path / "other"), rank=3).basis
    own.save(llama / BASIS_FILE)
    assert load_base(llama).basis.digest == own.digest
    assert load_base(llama, rank=3).basis.digest == own.digest
    assert load_base(llama, rank=2).basis.rank == 2
    assert load_base(llama, basis="svd", rank=3).basis.digest != own.digest
    assert load_base(llama).reference == load_base(llama, rank=2).reference  # the basis is no part of the weights


def test_a_basis_file_is_taken_or_refused(llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "given.safetensors"
    given = load_base(llama, rank=3).basis
    given.save(file)
    assert load_base(llama, basis=file).basis.digest == given.digest
    with pytest.raises(BaseMismatch, match="rank"):
        load_base(llama, basis=file, rank=4)
    with pytest.raises(BaseMismatch):
        load_base(save(random_model("qwen3"), tmp_path / "qwen3"), basis=file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BaseDamaged):
        load_base(llama, basis=file)


def test_sampling_defaults_come_from_the_base(llama: Path) -> None:
    stated = {"temperature": 0.6, "top_p": 0.8, "do_sample": True, "max_new_tokens": 40}
    (llama / "generation_config.json").write_text(json.dumps(stated))
    assert load_base(llama, rank=2).sampling_defaults == {"temperature": 0.6, "top_p": 0.8, "max_new_tokens": 40}
    (llama / "generation_config.json").unlink()
    assert load_base(llama, rank=2).sampling_defaults == {}


def test_angles_that_depend_on_the_longest_row_limit_the_window(tmp_path: Path) -> None:
    model = random_model("phi3")
    where = save(model, tmp_path / "m")
    factors = [1.0] * 4
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": factors,
        "long_factor": factors,
        "original_max_position_embeddings": 32,
    }
    edit_config(where, rope_parameters=rope, original_max_position_embeddings=32)
    assert load_base(where, rank=2).window == 32
