# SPDX-License-Identifier: Apache-2.0
"""A lean forward of our own for Llama-shaped bases: fewer operations, fused weights, its own cache.

What makes a mixed batch cheap is that the basis is shared: ``V`` is a few extra rows of the frozen weight; only
the r x r middle differs by user::

    [y | z] = x [W | V]^T        one product for the whole batch        (B, T, d_out + r)
    z_b     = z_b R_b^T          one small product per user             (B, T, r)
    y       = y + z (s U)^T      one skinny product for the whole batch (B, T, d_out)

Supported: Llama, Mistral, Qwen2 and Qwen3 configurations with ordinary rotary embeddings. Everything else
runs on :class:`ipse.model.module.ModuleRunner`; both are tested equal to 1e-4 in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipse.model.attention import SHORT, causal_attention, causal_mask
from ipse.model.frozen_ops import (
    FrozenLinear,
    adapted_linear,
    answered_linear,
    folded,
    frozen_product,
    gated_silu,
    gated_sum,
    rms_norm,
)
from ipse.model.layout import StateLayout
from ipse.model.packed import FrozenMatrix
from ipse.model.runner import Cache

if TYPE_CHECKING:
    from ipse.model.basis import Basis

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True, slots=True)
class _Personal:
    """The personal numbers of each row of a batch, cut up once, in the base's precision."""

    middles: Mapping[str, Tensor]
    """By name of the linear: R (B, r, r), or what :func:`ipse.model.frozen_ops.folded` makes of it."""
    output: Tensor
    """(B, h)"""
    gates: list[tuple[Tensor, ...]]
    """By layer: factors (B, 1, 1) of what attention and feed-forward add."""
    differentiable: bool


@dataclass(frozen=True, slots=True)
class _Linear:
    """One fused linear and its place in the state."""

    frozen: FrozenLinear
    name: str
    """Of its segment."""

    def __call__(self, x: Tensor, personal: _Personal | None) -> Tensor:
        """(B, T, d_in) -> (B, T, d_out)"""
        if personal is None:
            return self.frozen.matrix(x)
        if personal.differentiable:
            return adapted_linear(x, personal.middles[self.name], self.frozen)
        return answered_linear(x, personal.middles[self.name], self.frozen)


@dataclass(frozen=True, slots=True)
class _Layer:
    norm_attention: Tensor
    norm_ffn: Tensor
    norm_q: Tensor | None
    norm_k: Tensor | None
    qkv: _Linear
    o: _Linear
    gate_up: _Linear
    down: _Linear


class LeanCache:
    """Keys and values by position: (B, kv heads, capacity + 1, head_dim) each for every layer.

    The slot past the capacity takes the pads of ragged chunks and is never read.
    """

    def __init__(self, layers: int, batch: int, heads: int, capacity: int, width: int, like: Tensor) -> None:
        self.k = list(like.new_zeros(layers, batch, heads, capacity + 1, width))
        self.v = list(like.new_zeros(layers, batch, heads, capacity + 1, width))
        self.capacity = capacity
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=like.device)
        self.longest = 0
        """Largest of ``lengths``, kept on the host so that no step has to ask the device."""
        self.even = True
        """All rows are equally long: a slice write will do."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of one forward share."""

    cos: Tensor
    sin: Tensor
    """(B or 1, 1, T, head_dim), see :func:`ipse.model.attention.turn`"""
    mask: Tensor | None
    """(B or 1, 1, 1, T, S) additive; None where nothing is to be masked, or plain causal is over the chunk itself."""
    short: Tensor | None
    """The mask of :func:`ipse.model.attention.causal_attention`, for a chunk that attends to itself alone by it."""
    start: int
    positions: Tensor | None
    """(B, T) slots to write where rows differ, or None: write at start..start+T."""
    stop: int
    """Slots in use after this chunk."""


class LeanRunner:
    """The Runner for Llama-shaped bases."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        basis: Basis,
        layout: StateLayout,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._device, self._dtype = device, dtype
        self._kept: tuple[Tensor | None, _Personal | None] | None = None
        self._layout = layout
        hidden = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._kv_heads = int(config.get("num_key_value_heads") or self._heads)
        self._width = int(config.get("head_dim") or hidden // self._heads)
        self._eps = float(config["rms_norm_eps"])
        self._window = int(config["max_position_embeddings"])

        def get(name: str) -> Tensor:
            return weights[name].to(device=device, dtype=dtype)

        def stack(*names: str) -> Tensor:
            return torch.cat([get(n) for n in names])

        self._embed = get("model.embed_tokens.weight")
        self._norm = get("model.norm.weight")
        tied = "lm_head.weight" not in weights
        self._head = self._embed if tied else get("lm_head.weight")
        self._read_out = FrozenMatrix(self._head)
        parts = {p.name: p for p in basis.linears}

        def linear(name: str, *modules: str) -> _Linear:
            prefix, part = name.rsplit(".", 1)[0], parts[name]
            full = [f"model.{prefix}.{m}" for m in modules]
            weight = stack(*(f"{m}.weight" for m in full))
            bias = stack(*(f"{m}.bias" for m in full)) if f"{full[0]}.bias" in weights else None
            v = torch.from_numpy(part.v.copy()).to(weight)
            u = torch.from_numpy(part.u * basis.scale).to(weight)
            return _Linear(FrozenLinear(weight, bias, u, v), name)

        self._layers: list[_Layer] = []
        for i in range(int(config["num_hidden_layers"])):
            p, own = f"layers.{i}", f"model.layers.{i}"
            has_norm = f"{own}.self_attn.q_norm.weight" in weights
            self._layers.append(
                _Layer(
                    norm_attention=get(f"{own}.input_layernorm.weight"),
                    norm_ffn=get(f"{own}.post_attention_layernorm.weight"),
                    norm_q=get(f"{own}.self_attn.q_norm.weight") if has_norm else None,
                    norm_k=get(f"{own}.self_attn.k_norm.weight") if has_norm else None,
                    qkv=linear(f"{p}.qkv", *(f"self_attn.{m}_proj" for m in "qkv")),
                    o=linear(f"{p}.o", "self_attn.o_proj"),
                    gate_up=linear(f"{p}.gate_up", "mlp.gate_proj", "mlp.up_proj"),
                    down=linear(f"{p}.down", "mlp.down_proj"),
                )
            )
        cos, sin = _rotary(_rope_theta(config), self._window, self._width)
        self._cos, self._sin = cos.to(device, dtype), sin.to(device, dtype)

    @staticmethod
    def supports(config: Mapping[str, Any]) -> bool:
        """Whether this configuration is one that the lean forward computes correctly."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, Mapping) else "default"
        window = config.get("sliding_window")
        slides = window is not None and window < int(config.get("max_position_embeddings", 0))
        slides = slides and bool(config.get("use_sliding_window", True))
        return (
            config.get("model_type") in FAMILIES
            and config.get("hidden_act", "silu") == "silu"
            and kind == "default"
            and not (isinstance(rope, Mapping) and rope.get("partial_rotary_factor", 1.0) != 1.0)
            and not slides
            and not config.get("quantization_config")
        )

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def head(self) -> Tensor:
        return self._head

    # -- the Runner protocol ----------------------------------------------------------------------

    def select(self, tokens: Tensor, personal: Tensor | None, rows: Tensor, cols: Tensor) -> Tensor:
        length = tokens.shape[1]
        short = self._short(length)
        step = _Step(self._cos[None, None, :length], self._sin[None, None, :length], None, short, 0, None, length)
        parts = self._cut(personal)
        keep, place = _wanted(rows, cols, len(tokens))
        hidden = self._body(tokens, parts, step, None, keep)
        return self._logits(hidden[rows, place], parts, rows)

    def new_cache(self, batch: int, capacity: int) -> LeanCache:
        return LeanCache(len(self._layers), batch, self._kv_heads, capacity, self._width, self._embed)

    @torch.inference_mode()
    def extend(self, tokens: Tensor, lengths: Tensor, personal: Tensor | None, cache: Cache) -> Tensor:
        assert isinstance(cache, LeanCache)
        batch, chunk = tokens.shape
        start, stop = cache.longest, min(cache.longest + chunk, cache.capacity)
        positions: Tensor | None = None
        if cache.even:
            cos, sin = self._cos[None, None, start:stop], self._sin[None, None, start:stop]
            at = torch.arange(start, stop, device=self._device)[None]
        else:
            offsets = torch.arange(chunk, device=self._device)[None]
            pads = offsets >= lengths[:, None]
            positions = at = (cache.lengths[:, None] + offsets).masked_fill_(pads, cache.capacity)
            turned = at.clamp(max=self._window - 1)
            cos, sin = self._cos[turned][:, None], self._sin[turned][:, None]
        mask = None
        if start > 0 and not (chunk == 1 and cache.even):
            seen = torch.arange(stop, device=self._device)[None, None] <= at[:, :, None]  # (B, T, S)
            mask = torch.zeros(seen.shape, dtype=self._dtype, device=self._device)
            mask = mask.masked_fill_(~seen, float("-inf"))[:, None, None]
        kept = self._kept  # a reply asks with the same tensor for every token: cut it up once
        if kept is None or kept[0] is not personal:
            self._kept = kept = (personal, self._cut(personal))
        parts = kept[1]
        keep = (lengths - 1)[:, None] if chunk > 1 else None
        last = self._body(tokens, parts, _Step(cos, sin, mask, None, start, positions, stop), cache, keep)[:, 0]
        if batch > 1 and chunk > 1:
            cache.even = cache.even and bool((lengths == chunk).all())
        cache.lengths = cache.lengths + lengths
        cache.longest = int(cache.lengths.max()) if chunk > 1 else stop
        return self._logits(last, parts, None)

    # -- inside -----------------------------------------------------------------------------------

    def _short(self, length: int) -> Tensor | None:
        """The mask for attention over one short chunk, where that is the faster way."""
        if self._device.type != "cpu" or length > SHORT:
            return None
        return causal_mask(length, self._heads // self._kv_heads, self._embed)

    def _cut(self, personal: Tensor | None) -> _Personal | None:
        """(B, d) cut into its segments; one split, so that one backward joins the gradients."""
        if personal is None:
            return None
        differentiable = torch.is_grad_enabled()
        pieces = personal.split(list(self._layout.groups), dim=1)
        parts = {s.name: p.view(-1, *s.shape) for s, p in zip(self._layout.segments, pieces, strict=True)}
        opened = parts["gates"].exp().to(self._dtype)[..., None, None]  # (B, L, 2, 1, 1)
        middles = {
            linear.name: parts[linear.name].to(self._dtype)
            if differentiable
            else folded(parts[linear.name], linear.frozen)
            for layer in self._layers
            for linear in (layer.qkv, layer.o, layer.gate_up, layer.down)
        }
        gates = [pair.unbind(1) for pair in opened.unbind(1)]
        return _Personal(middles, parts["output"].to(self._dtype), gates, differentiable)

    def _body(
        self, tokens: Tensor, personal: _Personal | None, step: _Step, cache: LeanCache | None, keep: Tensor | None
    ) -> Tensor:
        """(B, T) -> final normed hidden state (B, T, h); of the positions (B, P) in ``keep`` alone, if given.

        What the others would be after the last attention, nobody asks.
        """
        x = F.embedding(tokens, self._embed)
        gates = None if personal is None else personal.gates
        for i, layer in enumerate(self._layers):
            out = self._attention(x, layer, personal, step, cache, i)
            if keep is not None and i == len(self._layers) - 1:
                x, out = _taken(x, keep), _taken(out, keep)
            out = layer.o(out, personal)
            x = x + out if gates is None else gated_sum(x, out, gates[i][0])
            out = layer.down(gated_silu(layer.gate_up(rms_norm(x, layer.norm_ffn, self._eps), personal)), personal)
            x = x + out if gates is None else gated_sum(x, out, gates[i][1])
        return rms_norm(x, self._norm, self._eps)

    def _attention(
        self, x: Tensor, layer: _Layer, personal: _Personal | None, step: _Step, cache: LeanCache | None, index: int
    ) -> Tensor:
        batch, length, _ = x.shape
        heads, kv, width = self._heads, self._kv_heads, self._width
        qkv = layer.qkv(rms_norm(x, layer.norm_attention, self._eps), personal)
        qkv = qkv.view(batch, length, heads + 2 * kv, width)
        if layer.norm_q is not None and layer.norm_k is not None:
            q, k, v = qkv.split([heads, kv, kv], dim=2)
            qkv = torch.cat([rms_norm(q, layer.norm_q, self._eps), rms_norm(k, layer.norm_k, self._eps), v], dim=2)
        if step.short is not None:
            return causal_attention(qkv, step.cos, step.sin, step.short, heads)
        qk, v = qkv.transpose(1, 2).split([heads + kv, kv], dim=1)
        low, high = qk.chunk(2, dim=-1)
        qk = torch.addcmul(qk * step.cos, torch.cat([high, low], dim=-1), step.sin)
        q, k = qk.split([heads, kv], dim=1)  # (B, heads, T, width)
        if cache is not None:
            k, v = _remember(cache, index, k, v, step)
        if step.start == 0 and length > 1:
            out = F.scaled_dot_product_attention(q, k[:, :, :length], v[:, :, :length], is_causal=True, enable_gqa=True)
        else:
            # For one token a pair of small products beats the fused kernel on a CPU.
            grouped = q.reshape(batch, kv, heads // kv, length, width)
            scores = (grouped * width**-0.5).flatten(2, 3) @ k.transpose(2, 3)  # (B, kv, G*T, S)
            if step.mask is not None:
                scores = (scores.view(batch, kv, heads // kv, length, -1) + step.mask).flatten(2, 3)
            out = (torch.softmax(scores, dim=-1) @ v).view(batch, heads, length, width)
        return out.transpose(1, 2).reshape(batch, length, heads * width)

    def _logits(self, hidden: Tensor, personal: _Personal | None, rows: Tensor | None) -> Tensor:
        """(N, h) -> (N, vocabulary) float32; the output embedding of each row's owner is added first."""
        if personal is not None:
            hidden = hidden + (personal.output if rows is None else personal.output[rows])
        return frozen_product(hidden, self._read_out).float()


def _taken(x: Tensor, positions: Tensor) -> Tensor:
    """(B, T, h) at positions (B, P) -> (B, P, h)"""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


def _wanted(rows: Tensor, cols: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Positions by row (B, P), as many as the row that wants most, and where in its row each of (N,) is found.

    Rows that want fewer read position 0 as often again.
    """
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows, minlength=batch)
    before = counts.cumsum(0) - counts
    place = torch.empty_like(rows)
    place[order] = torch.arange(len(rows), device=rows.device) - before[rows[order]]
    positions = rows.new_zeros(batch, int(counts.max()))
    positions[rows, place] = cols
    return positions, place


def _remember(cache: LeanCache, index: int, k: Tensor, v: Tensor, step: _Step) -> tuple[Tensor, Tensor]:
    """Write the chunk's keys and values at their positions; return all that are in use."""
    keys, values = cache.k[index], cache.v[index]
    if step.positions is None:
        keys.narrow(2, step.start, step.stop - step.start).copy_(k)
        values.narrow(2, step.start, step.stop - step.start).copy_(v)
    else:
        rows = torch.arange(k.shape[0], device=k.device)[:, None]
        keys[rows, :, step.positions] = k.transpose(1, 2)
        values[rows, :, step.positions] = v.transpose(1, 2)
    return keys.narrow(2, 0, step.stop), values.narrow(2, 0, step.stop)


def _rotary(theta: float, window: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (window, head_dim) by position, as :func:`ipse.model.attention.turn` takes them."""
    angles = torch.outer(
        torch.arange(window, dtype=torch.float32),
        theta ** (-torch.arange(0, width, 2, dtype=torch.float32) / width),
    )
    return torch.cat([angles, angles], dim=1).cos(), torch.cat([-angles, angles], dim=1).sin()


def _rope_theta(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or {}
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
