# SPDX-License-Identifier: Apache-2.0
"""A frozen Llama with another LoRA for every user of the batch: the shape in which many users learn at once.

A claim that a fork is as good as a LoRA needs that LoRA taught to every user: thousands of runs of one
optimiser step each. So users are batched: the frozen products are ordinary ones over the whole batch, and only
the two skinny products of the adapter differ by user::

    y = W x + scale * B_u (A_u x)            x (T, d_in), A_u (r, d_in), B_u (d_out, r) of user u

Covered: the Llama shape (grouped queries, rotary positions, SiLU gate, RMS norms), no biases. Anything else
is refused. This is not the runner that serves forks (`ipse.model`): here every user has full-size factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from ipse.errors import UnsupportedArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MODULES = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


@dataclass(frozen=True, slots=True)
class Site:
    """One frozen product and the adapters on it, one for each projection in it.

    Attributes:
        name: ``layers.<i>.qkv`` and so on, as in the state layout.
        d_in: width of its input.
        parts: (projection, d_out) of each adapter.
    """

    name: str
    d_in: int
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One layer. Matrices are (d_out, d_in), float32 or bfloat16; norms (h,) float32."""

    attention_norm: Tensor
    ffn_norm: Tensor
    linears: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all layers of one forward share."""

    cos: Tensor
    """(T, 1, head_dim)"""
    sin: Tensor
    """(T, 1, head_dim / 2)"""
    mask: Tensor
    """(T, T) additive, causal"""


Adapters = Mapping[str, tuple[Tensor, Tensor]]
"""Site name -> (A (U, parts * r, d_in), B (U, d_out, parts * r), zero outside the blocks of its parts); U users."""


@dataclass(frozen=True)
class FrozenLlama:
    """Weights that never change, with the forward pass over them.

    Attributes:
        embedding: (V, h) float32; head: (V, h) in the matrix dtype.
        part_sizes: for each fused linear, (projection, d_out) of the projections in it.
    """

    embedding: Tensor
    blocks: tuple[Block, ...]
    norm: Tensor
    head: Tensor
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    rope_theta: float
    part_sizes: Mapping[str, tuple[tuple[str, int], ...]]

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrices; norms, the residual stream and the loss stay float32."""
        return self.head.dtype

    def sites(self) -> tuple[Site, ...]:
        """Where adapters go: on every projection, as PEFT has it."""
        return tuple(
            Site(f"layers.{index}.{name}", block.linears[name].shape[1], parts)
            for index, block in enumerate(self.blocks)
            for name, parts in self.part_sizes.items()
        )

    def logits(self, tokens: Tensor, adapters: Adapters | None, scale: float, rows: Tensor, columns: Tensor) -> Tensor:
        """Logits at chosen places of a full causal pass.

        Args:
            tokens: (U * n, T) int64, right-padded; the n rows of one user stand together.
            adapters: of the U users, or None for the bare model.
            scale: alpha / r.
            rows, columns: (N,) int64, the places.

        Returns:
            (N, V) float32, differentiable in the adapters.
        """
        x = functional.embedding(tokens, self.embedding)
        shared = self._shared(tokens.shape[1])
        for index, block in enumerate(self.blocks):
            x = x + self._attention(f"layers.{index}.", block, x, adapters, scale, shared)
            x = x + self._ffn(f"layers.{index}.", block, x, adapters, scale)
        return functional.linear(self._normed(x[rows, columns], self.norm), self.head).float()

    def _shared(self, length: int) -> _Shared:
        inverse = self.rope_theta ** -(torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim)
        angle = torch.outer(torch.arange(length, dtype=torch.float32), inverse)[:, None]
        mask = torch.full((length, length), float("-inf"), dtype=self.dtype).triu(1)
        return _Shared(torch.cat([angle, angle], -1).cos().to(self.dtype), angle.sin().to(self.dtype), mask)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        normed: Tensor = _RmsNorm.apply(x, weight, self.epsilon, self.dtype)  # type: ignore[no-untyped-call]
        return normed

    def _attention(
        self, prefix: str, block: Block, x: Tensor, adapters: Adapters | None, scale: float, shared: _Shared
    ) -> Tensor:
        rows, length, _ = x.shape
        fused = _adapted(self._normed(x, block.attention_norm), block.linears["qkv"], adapters, prefix + "qkv", scale)
        fused = fused.view(rows, length, self.heads + 2 * self.kv_heads, self.head_dim)
        turned, value = torch.split(fused, [self.heads + self.kv_heads, self.kv_heads], dim=2)
        turned = _Rotate.apply(turned, shared.cos, shared.sin)  # type: ignore[no-untyped-call]
        query, key = torch.split(turned, [self.heads, self.kv_heads], dim=2)
        groups, scaling = self.heads // self.kv_heads, 1 / math.sqrt(self.head_dim)
        # Plain products, not the fused kernel: its backward on a CPU took half of the whole step.
        query = (query * scaling).view(rows, length, self.kv_heads, groups, self.head_dim)
        query = query.permute(0, 2, 3, 1, 4).reshape(rows * self.kv_heads, groups * length, self.head_dim)
        key = key.permute(0, 2, 3, 1).reshape(rows * self.kv_heads, self.head_dim, length)
        value = value.transpose(1, 2).reshape(rows * self.kv_heads, length, self.head_dim)
        scores = torch.bmm(query, key).view(-1, groups, length, length) + shared.mask
        shares = torch.softmax(scores, dim=-1).view(-1, groups * length, length)
        mixed = torch.bmm(shares, value).view(rows, self.heads, length, self.head_dim)
        mixed = mixed.transpose(1, 2).reshape(rows, length, self.heads * self.head_dim)
        return _adapted(mixed, block.linears["o"], adapters, prefix + "o", scale)

    def _ffn(self, prefix: str, block: Block, x: Tensor, adapters: Adapters | None, scale: float) -> Tensor:
        normed = self._normed(x, block.ffn_norm)
        both = _adapted(normed, block.linears["gate_up"], adapters, prefix + "gate_up", scale)
        return _adapted(_GatedSilu.apply(both), block.linears["down"], adapters, prefix + "down", scale)  # type: ignore[no-untyped-call]


def _adapted(x: Tensor, weight: Tensor, adapters: Adapters | None, site: str, scale: float) -> Tensor:
    """``W x + scale * B (A x)`` with the A and B of each row's user; x (U * n, T, d_in)."""
    y = functional.linear(x, weight)
    if adapters is None:
        return y
    down, up = adapters[site]
    users = down.shape[0]
    skinny = torch.bmm(x.reshape(users, -1, x.shape[-1]), down.to(x.dtype).transpose(1, 2))  # (U, n * T, parts * r)
    adapted = torch.baddbmm(y.view(users, -1, y.shape[-1]), skinny, up.to(x.dtype).transpose(1, 2), alpha=scale)
    return adapted.view_as(y)


# The three functions below are what autograd would derive anyway, written so that the backward pass makes one
# tensor where autograd makes four: on a CPU those copies cost more than the matrix products.


class _RmsNorm(torch.autograd.Function):
    """``x / rms(x) * weight`` in float32, result in `dtype`."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
        normed = x * inverse
        context.save_for_backward(normed, inverse, weight)
        return (normed * weight).to(dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        normed, inverse, weight = context.saved_tensors
        scaled = gradients[0] * weight
        share = (scaled * normed).mean(-1, keepdim=True)
        return scaled.addcmul_(normed, share, value=-1).mul_(inverse), None, None, None


class _Rotate(torch.autograd.Function):
    """Rotary positions on (..., T, heads, head_dim); the transpose of a rotation is the rotation back."""

    @staticmethod
    def forward(context: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        context.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = context.saved_tensors
        return _rotated(gradients[0], cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    result = x * cos
    result[..., :half].addcmul_(x[..., half:], sin, value=-1)
    result[..., half:].addcmul_(x[..., :half], sin)
    return result


class _GatedSilu(torch.autograd.Function):
    """``silu(gate) * up`` of (..., 2 f) holding both."""

    @staticmethod
    def forward(context: Any, both: Tensor) -> Tensor:
        context.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (both,) = context.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        result = torch.empty_like(both)
        to_gate, to_up = result.chunk(2, dim=-1)
        open_ = torch.sigmoid(gate)
        torch.mul(gate, open_, out=to_up)  # silu(gate), for now
        torch.addcmul(open_, to_up, 1 - open_, out=to_gate)  # its derivative
        to_gate.mul_(up).mul_(gradients[0])
        to_up.mul_(gradients[0])
        return result


def freeze_llama(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> FrozenLlama:
    """Read the weights of a Hugging Face Llama.

    Args:
        model: a `LlamaForCausalLM` (or Mistral without a sliding window: the same modules).
        dtype: of the matrices; bfloat16 is several times faster where the processor has it.

    Raises:
        UnsupportedArchitecture: biases, query or key norms, scaled rotary positions, another activation.
    """
    config = model.config
    weights = {name: weight.detach().float() for name, weight in model.state_dict().items()}
    rope = getattr(config, "rope_parameters", None) or {"rope_type": "default", "rope_theta": config.rope_theta}
    count = config.num_hidden_layers
    expected = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    expected |= {f"model.layers.{i}.{n}.weight" for i in range(count) for names in _MODULES.values() for n in names}
    expected |= {f"model.layers.{i}.{n}layernorm.weight" for i in range(count) for n in ("input_", "post_attention_")}
    if set(weights) - {"lm_head.weight"} != expected - {"lm_head.weight"} or (
        config.hidden_act != "silu" or rope.get("rope_type") != "default"
    ):
        raise UnsupportedArchitecture(
            f"The LoRAs of many users are taught on plain Llama shapes, got {config.model_type}.",
            "Give such a base: --base DIRECTORY.",
        )
    blocks = tuple(
        Block(
            weights[f"model.layers.{i}.input_layernorm.weight"],
            weights[f"model.layers.{i}.post_attention_layernorm.weight"],
            {
                fused: torch.cat([weights[f"model.layers.{i}.{name}.weight"] for name in names]).to(dtype)
                for fused, names in _MODULES.items()
            },
        )
        for i in range(count)
    )
    parts = {
        fused: tuple((n.rsplit(".", 1)[1], weights[f"model.layers.0.{n}.weight"].shape[0]) for n in names)
        for fused, names in _MODULES.items()
    }
    embedding = weights["model.embed_tokens.weight"]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return FrozenLlama(
        embedding=embedding,
        blocks=blocks,
        norm=weights["model.norm.weight"],
        head=weights.get("lm_head.weight", embedding).to(dtype),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        epsilon=config.rms_norm_eps,
        rope_theta=float(rope["rope_theta"]),
        part_sizes=parts,
    )
