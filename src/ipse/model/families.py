# SPDX-License-Identifier: Apache-2.0
"""Where the adapted linears of each supported family stand in its module tree.

Every block of every supported family computes four products that Ipse adapts::

    qkv      hidden -> queries, keys, values      o        heads -> hidden
    gate_up  hidden -> ffn (one or two halves)    down     ffn -> hidden

A family may keep one of them in several modules (``q_proj``, ``k_proj``, ``v_proj``). Their weights, stacked
along d_out, are the ONE matrix ``W`` (d_out, d_in) that gets a basis and an ``R``: fewer personal numbers,
and one small product instead of three.

A log-gate scales what a block adds to the residual stream. In most families that is the output of ``o`` and
``down``. Gemma 2 and 3 put an RMS norm behind them, which would cancel any scale given before it: there the
gate acts on the output of that norm.

This file is a table, and needs neither torch nor a loaded model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipse.errors import BaseDamaged, UnsupportedArchitecture
from ipse.model.layout import Kind

HEAD = "lm_head"
"""Path of the head in all supported families; its input is the final hidden state."""


@dataclass(frozen=True, slots=True)
class AdaptedLinear:
    """One fused linear ``W`` (d_out, d_in) of the base.

    Attributes:
        name: ``layers.<i>.qkv`` and so on: the name of its segment in the state.
        kind: attention or ffn.
        modules: paths of the modules whose weights, stacked along d_out, are ``W``.
        rows: how many of the d_out rows each of them has.
        gate: (layer, column) of the log-gate that multiplies this linear's output directly, so that merging
            scales ``W``; None where no gate does.
    """

    name: str
    kind: Kind
    modules: tuple[str, ...]
    rows: tuple[int, ...]
    gate: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """A place where a block's output is multiplied by ``exp(gates[layer, column])``."""

    module: str
    layer: int
    column: int
    on_norm: bool
    """The module is an RMS norm with weight ``1 + w`` (Gemma), not a linear."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """All places of one base that a personal state touches.

    Attributes:
        family: ``model_type`` of the configuration.
        layers: count of blocks.
        hidden_size: h.
        linears: in the order of the state.
        gates: attention then ffn, block by block.
    """

    family: str
    layers: int
    hidden_size: int
    linears: tuple[AdaptedLinear, ...]
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class _Family:
    title: str
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    o: str = "self_attn.o_proj"
    gate_up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    norms: tuple[str, str] | None = None
    """Norms behind attention and ffn, where the family has them."""


_SANDWICH = ("post_attention_layernorm", "post_feedforward_layernorm")

FAMILIES: Mapping[str, _Family] = {
    "llama": _Family("Llama"),
    "mistral": _Family("Mistral"),
    "qwen2": _Family("Qwen2"),
    "qwen3": _Family("Qwen3"),
    "gemma": _Family("Gemma"),
    "gemma2": _Family("Gemma 2", norms=_SANDWICH),
    "gemma3_text": _Family("Gemma 3 (text)", norms=_SANDWICH),
    "phi": _Family("Phi", o="self_attn.dense", gate_up=("mlp.fc1",), down="mlp.fc2"),
    "phi3": _Family("Phi-3", qkv=("self_attn.qkv_proj",), gate_up=("mlp.gate_up_proj",)),
}


def check_family(config: Mapping[str, Any]) -> str:
    """The family of a configuration, if it is one that Ipse can adapt.

    Args:
        config: content of ``config.json``, or ``model.config.to_dict()``.

    Raises:
        UnsupportedArchitecture: for any other family, and for quantised weights.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        named = ", ".join(str(a) for a in config.get("architectures") or ()) or "no architecture named"
        raise UnsupportedArchitecture(
            f"Ipse cannot adapt a base of type {kind!r} ({named}).",
            f"Use a base of one of these families: {', '.join(f.title for f in FAMILIES.values())}.",
        )
    if config.get("quantization_config"):
        raise UnsupportedArchitecture(
            "Ipse cannot adapt quantised weights: a basis is taken from the weights themselves.",
            "Use the unquantised weights of the same model; dtype='bfloat16' halves their memory.",
        )
    return kind


def anatomy(config: Mapping[str, Any]) -> Anatomy:
    """Find the adapted linears and gates of a model from its configuration.

    Args:
        config: as for :func:`check_family`, with the defaults of its family filled in.

    Raises:
        UnsupportedArchitecture: as :func:`check_family`.
        BaseDamaged: when the configuration lacks its sizes.
    """
    kind = check_family(config)
    family = FAMILIES[kind]
    layers, hidden = _size(config, "num_hidden_layers"), _size(config, "hidden_size")
    ffn, heads = _size(config, "intermediate_size"), _size(config, "num_attention_heads")
    groups = _size(config, "num_key_value_heads", heads)
    width = _size(config, "head_dim", hidden // heads)
    linears: list[AdaptedLinear] = []
    gates: list[Gate] = []
    for i in range(layers):
        linears += _linears(family, i, hidden, ffn, (heads * width, groups * width, groups * width))
        places = family.norms or (family.o, family.down)
        gates += [Gate(f"model.layers.{i}.{m}", i, c, family.norms is not None) for c, m in enumerate(places)]
    return Anatomy(kind, layers, hidden, tuple(linears), tuple(gates))


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or value < 1:
        raise BaseDamaged(
            f"Expected {key} >= 1 in the base's configuration, got {config.get(key)!r}.", "Fetch config.json again."
        )
    return value


def _linears(family: _Family, layer: int, hidden: int, ffn: int, qkv: tuple[int, int, int]) -> list[AdaptedLinear]:
    def at(*modules: str) -> tuple[str, ...]:
        return tuple(f"model.layers.{layer}.{m}" for m in modules)

    name = f"layers.{layer}"
    direct = family.norms is None
    qkv_rows = qkv if len(family.qkv) == 3 else (sum(qkv),)
    # Phi has a plain ffn: one matrix of ffn rows. All others have a gate half and an up half.
    halves = 1 if family.gate_up == ("mlp.fc1",) else 2
    ffn_rows = (ffn,) * halves if len(family.gate_up) == halves else (halves * ffn,)
    return [
        AdaptedLinear(f"{name}.qkv", "attention", at(*family.qkv), qkv_rows),
        AdaptedLinear(f"{name}.o", "attention", at(family.o), (hidden,), (layer, 0) if direct else None),
        AdaptedLinear(f"{name}.gate_up", "ffn", at(*family.gate_up), ffn_rows),
        AdaptedLinear(f"{name}.down", "ffn", at(family.down), (hidden,), (layer, 1) if direct else None),
    ]
