# SPDX-License-Identifier: Apache-2.0
"""Forks as GGUF: read back with llama.cpp's own package, and run by llama.cpp where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")

from ipse.errors import UnsupportedArchitecture  # noqa: E402  # after the package that it is about
from ipse.model.adapter import low_rank_part, worn  # noqa: E402
from ipse.model.gguf_file import ARCHITECTURES, write_gguf  # noqa: E402
from ipse.model.state import PersonalState  # noqa: E402
from tests.model.llamacpp import logits, write_base  # noqa: E402
from tests.model.tiny_families import (  # noqa: E402
    FAMILIES,
    everywhere,
    random_model,
    random_state,
    random_tokens,
    stack,
    tiny,
)

NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "qkv_proj": "attn_qkv",
    "o_proj": "attn_output",
    "dense": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "gate_up_proj": "ffn_up",
    "down_proj": "ffn_down",
    "fc1": "ffn_up",
    "fc2": "ffn_down",
}


def unturned(b: np.ndarray, heads: int) -> np.ndarray:
    """Rotary pairs of neighbours back to two halves of each head, row by row."""
    width = len(b) // heads
    out = np.empty_like(b)
    for head in range(heads):
        for pair in range(width // 2):
            for half in range(2):
                out[head * width + half * (width // 2) + pair] = b[head * width + 2 * pair + half]
    return out


def written(family: str, state: PersonalState, path: Path) -> Path:
    base = tiny(family)
    adapter = low_rank_part(state, base.basis, base.body)
    return write_gguf(adapter, base.model.config.to_dict(), path, name="a fork")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_read_back_as_it_is_under_peft(family: str, tmp_path: Path) -> None:
    base = tiny(family)
    state = random_state(base.layout, 4)
    reader = gguf.GGUFReader(written(family, state, tmp_path / "fork.gguf"))
    kind = base.model.config.model_type
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["adapter.lora.alpha"] == base.basis.rank
    assert fields["general.architecture"] == ARCHITECTURES[kind]
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    adapter = low_rank_part(state, base.basis, base.body)
    for module, part in adapter.low_rank.items():
        _, _, layer, *_, last = module.split(".")
        a, b = (tensors.pop(f"blk.{layer}.{NAMES[last]}.weight.lora_{side}") for side in "ab")
        if kind in ("llama", "mistral") and last in ("q_proj", "k_proj"):
            b = unturned(b, 4 if last == "q_proj" else 2)
        np.testing.assert_array_equal(a, part.a.numpy())
        np.testing.assert_array_equal(b, part.b.numpy())
    assert not tensors


def test_a_family_that_llama_cpp_has_no_names_for_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    base = tiny("llama")
    adapter = low_rank_part(random_state(base.layout, 4), base.basis, base.body)
    with pytest.raises(UnsupportedArchitecture):
        write_gguf(adapter, base.model.config.to_dict() | {"model_type": "new"}, tmp_path / "f.gguf", name="a fork")
    odd = type(adapter)({"model.layers.0.odd_proj": next(iter(adapter.low_rank.values()))})
    with pytest.raises(UnsupportedArchitecture):
        write_gguf(odd, base.model.config.to_dict(), tmp_path / "f.gguf", name="a fork")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def llama_cpp() -> Any:
    return pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


def test_llama_cpp_answers_as_the_fork_where_low_rank_is_all_of_it(llama_cpp: Any, tmp_path: Path) -> None:
    base = tiny("llama")
    z = random_state(base.layout, 4).z.copy()
    for name in ("output", "gates"):
        z[base.layout[name].slice] = 0
    state = PersonalState(base.layout, z)
    model = write_base(random_model("llama"), tmp_path / "base.gguf")
    lora = written("llama", state, tmp_path / "fork.gguf")
    tokens = random_tokens(1, 12)
    where = everywhere(1, 12)
    listed = tokens[0].tolist()
    bare = base.runner.select(tokens, None, *where)
    torch.testing.assert_close(logits(llama_cpp, model, listed), bare, rtol=1e-3, atol=1e-3)
    fork = base.runner.select(tokens, stack([state]), *where)
    torch.testing.assert_close(logits(llama_cpp, model, listed, lora), fork, rtol=1e-3, atol=1e-3)
    assert (fork - bare).abs().max() > 0.3


def test_llama_cpp_answers_as_the_low_rank_part_of_any_fork(llama_cpp: Any, tmp_path: Path) -> None:
    base = tiny("llama")
    state = random_state(base.layout, 4)
    model = write_base(random_model("llama"), tmp_path / "base.gguf")
    lora = written("llama", state, tmp_path / "fork.gguf")
    tokens = random_tokens(1, 12)
    own = random_model("llama")
    with worn(own, low_rank_part(state, base.basis, base.body)), torch.no_grad():
        expected = own(input_ids=tokens).logits[0]
    torch.testing.assert_close(logits(llama_cpp, model, tokens[0].tolist(), lora), expected, rtol=1e-3, atol=1e-3)
