# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every supported family, made here and saved to disk like real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor

from ipse.model.basis import Basis, layout_of
from ipse.model.families import AdaptedLinear, Anatomy, anatomy
from ipse.model.layout import ONE, StateLayout
from ipse.model.module import ModuleRunner
from ipse.model.state import PersonalState
from ipse.model.subspace import svd_basis

VOCABULARY = 67
WINDOW = 96
SLIDES = 8
"""A window of attention short enough that the tests' rows outgrow it."""

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_KINDS = ["sliding_attention", "full_attention"]

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama-tied-biased": ("LlamaConfig", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-attention-bias": ("LlamaConfig", {"attention_bias": True, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral-sliding": ("MistralConfig", {"sliding_window": SLIDES}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "qwen3-sliding": (
        "Qwen3Config",
        {"head_dim": 16, "use_sliding_window": True, "sliding_window": SLIDES, "layer_types": _KINDS},
    ),
    "gemma": ("GemmaConfig", {"head_dim": 16}),
    "gemma2": (
        "Gemma2Config",
        {"head_dim": 16, "sliding_window": SLIDES, "layer_types": _KINDS, "query_pre_attn_scalar": 16},
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 16, "sliding_window": SLIDES, "layer_types": _KINDS, "query_pre_attn_scalar": 16},
    ),
    "phi": ("PhiConfig", {"partial_rotary_factor": 0.5}),
    "phi3": ("Phi3Config", {"sliding_window": None}),
    "phi3-sliding": ("Phi3Config", {"sliding_window": SLIDES}),
}
FAMILIES = tuple(CONFIGS)


@dataclass(frozen=True)
class Tiny:
    """A model, and everything that a fork on it needs."""

    model: Any
    body: Anatomy
    basis: Basis
    layout: StateLayout
    runner: ModuleRunner


def random_model(family: str, seed: int = 0) -> Any:
    """A float32 model whose logits differ by about one between tokens."""
    name, extra = CONFIGS[family]
    config = getattr(transformers, name)(**(_COMMON | extra))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for path, parameter in model.named_parameters():
        if parameter.ndim == 2:
            spread = 0.5 if "embed" in path else 1.2 / parameter.shape[1] ** 0.5
            parameter.normal_(0.0, spread)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def weight_of(model: Any) -> Any:
    """Fused W of a linear, in float64."""

    def fused(linear: AdaptedLinear) -> Any:
        return torch.cat([model.get_submodule(m).weight.double() for m in linear.modules]).numpy()

    return fused


@cache
def tiny(family: str, rank: int = 4) -> Tiny:
    """One model per family, shared by the tests: a base is frozen."""
    model = random_model(family)
    body = anatomy(model.config.to_dict())
    basis = svd_basis(body.linears, weight_of(model), rank)
    layout = layout_of("0" * 16, basis, body.hidden_size, body.layers)
    return Tiny(model, body, basis, layout, ModuleRunner(model, body, basis, layout))


def random_state(layout: StateLayout, seed: int) -> PersonalState:
    """A state that changes the answers a lot."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0, 0.5, layout.size)
    values[layout["gates"].slice] *= 0.6
    return PersonalState(layout, np.rint(values * ONE).astype(np.int32))


def stack(states: list[PersonalState]) -> Tensor:
    """(B, d) float32."""
    return torch.from_numpy(np.stack([state.values() for state in states]))


def random_tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(3, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def everywhere(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """rows, cols that ask for the logits of every token."""
    return torch.arange(batch).repeat_interleave(length), torch.arange(length).repeat(batch)


def save(model: Any, directory: Path, **how: Any) -> Path:
    """Save a model as a user would have it: weights, configuration, tokenizer with a chat template."""
    model.save_pretrained(directory, **how)
    words = {"<pad>": 0, "<bos>": 1, "<end>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "<bos>", "<end>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"eos_token": "<end>", "bos_token": "<bos>", "tokenizer_class": "TokenizersBackend"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <end> {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    return directory
