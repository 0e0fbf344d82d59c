# SPDX-License-Identifier: Apache-2.0
"""The network of the shipped base, written for training on a CPU.

It computes what ``transformers.LlamaForCausalLM`` computes, with the projections that share an input fused
(query, key and value; gate and up) and every matrix product in bfloat16, which is where a CPU with AMX or
AVX512-bf16 has its speed. The residual stream and the weights themselves stay float32. Weights go in and out
as an ordinary Hugging Face directory, so nothing outside this package has to know the class.

Shapes: B rows, T tokens a row, D hidden, H query heads, K key-value heads, h = D / H.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

BF16 = torch.bfloat16


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like network."""

    vocabulary: int = 4096
    hidden: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    ffn: int = 688
    context: int = 512
    rope_theta: float = 10000.0
    epsilon: float = 1e-6

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    def config(self) -> LlamaConfig:
        """The same sizes as a Hugging Face configuration."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.context,
            rms_norm_eps=self.epsilon,
            rope_theta=self.rope_theta,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )

    @staticmethod
    def of(config: LlamaConfig) -> Shape:
        """Read the sizes off a Hugging Face configuration."""
        return Shape(
            vocabulary=config.vocab_size,
            hidden=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            ffn=config.intermediate_size,
            context=config.max_position_embeddings,
            epsilon=config.rms_norm_eps,
        )


def _normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm of float32 ``x``, handed on as bfloat16 for the next product."""
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight).to(BF16)


class Block(nn.Module):
    """One layer: attention, then the gated feed-forward, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = s = shape
        deep = 0.02 / math.sqrt(2 * s.layers)
        self.n1 = nn.Parameter(torch.ones(s.hidden))
        self.n2 = nn.Parameter(torch.ones(s.hidden))
        self.qkv = nn.Parameter(torch.randn((s.heads + 2 * s.kv_heads) * s.head, s.hidden) * 0.02)
        self.o = nn.Parameter(torch.randn(s.hidden, s.hidden) * deep)
        self.gu = nn.Parameter(torch.randn(2 * s.ffn, s.hidden) * 0.02)
        self.down = nn.Parameter(torch.randn(s.hidden, s.ffn) * deep)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) float32 -> (B, T, D) float32."""
        s = self.shape
        rows, tokens, _ = x.shape
        group = s.heads // s.kv_heads
        fused = F.linear(_normed(x, self.n1, s.epsilon), self.qkv.to(BF16))
        fused = fused.view(rows, tokens, s.heads + 2 * s.kv_heads, s.head)
        turned, v = fused.split([s.heads + s.kv_heads, s.kv_heads], 2)
        low, high = turned.float().chunk(2, -1)
        turned = (torch.cat([low, high], -1) * cos + torch.cat([-high, low], -1) * sin).to(BF16)
        q, k = turned.split([s.heads, s.kv_heads], 2)
        # Query heads that share a key head are stacked along the token axis: one product for the group. The
        # first half of the queries sees the first half of the keys only, so a quarter of the table is never made.
        n = rows * s.kv_heads
        q = q.transpose(1, 2).reshape(n, group, tokens, s.head) * s.head**-0.5
        k = k.transpose(1, 2).reshape(n, tokens, s.head)
        v = v.transpose(1, 2).reshape(n, tokens, s.head)
        seen = []
        for a, b in ((0, tokens // 2), (tokens // 2, tokens)):
            score = torch.bmm(q[:, :, a:b].reshape(n, group * (b - a), s.head), k[:, :b].transpose(1, 2))
            share = torch.softmax(score.float().view(n, group, b - a, b) + mask[a:b, :b], -1).to(BF16)
            seen.append(torch.bmm(share.view(n, group * (b - a), b), v[:, :b]).view(n, group, b - a, s.head))
        y = torch.cat(seen, 2).view(rows, s.heads, tokens, s.head).transpose(1, 2).reshape(rows, tokens, s.hidden)
        x = x + F.linear(y, self.o.to(BF16)).float()
        gate, up = F.linear(_normed(x, self.n2, s.epsilon), self.gu.to(BF16)).split([s.ffn, s.ffn], -1)
        return x + F.linear((F.silu(gate.float()) * up.float()).to(BF16), self.down.to(BF16)).float()


class Network(nn.Module):
    """Embedding, blocks, last norm; the output matrix is the embedding."""

    cos: Tensor
    sin: Tensor
    mask: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = s = shape
        self.embedding = nn.Parameter(torch.randn(s.vocabulary, s.hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = nn.Parameter(torch.ones(s.hidden))
        inverse = 1 / (s.rope_theta ** (torch.arange(0, s.head, 2).float() / s.head))
        angle = torch.outer(torch.arange(s.context).float(), inverse)
        angle = torch.cat([angle, angle], 1)[:, None, :]  # (T, 1, h): one angle for all heads
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.register_buffer("mask", torch.triu(torch.full((s.context, s.context), -1e9), 1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, D) bfloat16, ready for the output product."""
        tokens = ids.shape[1]
        x = F.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos[:tokens], self.sin[:tokens], self.mask[:tokens, :tokens])
        return _normed(x, self.norm, self.shape.epsilon)


class HeadLoss(torch.autograd.Function):
    """Output product and cross entropy in one, a chunk of rows at a time.

    The full (tokens, vocabulary) table of logits would be read and written from main memory several times; a
    chunk stays in cache. The gradient is formed in place during the forward pass, so nothing large is kept.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, target: Tensor, chunk: int = 256) -> Tensor:  # type: ignore[no-untyped-def]
        """Mean of -log p(target), for x (N, D) bfloat16 and target (N,)."""
        n = x.shape[0]
        w = weight.to(BF16)
        dx = torch.empty_like(x)
        dw = torch.zeros_like(weight)
        total = torch.zeros(())
        for i in range(0, n, chunk):
            xi, yi = x[i : i + chunk], target[i : i + chunk, None]
            logits = F.linear(xi, w).float()
            logits.sub_(logits.amax(1, keepdim=True))
            hit = logits.gather(1, yi)
            norm = logits.exp_().sum(1, keepdim=True)
            total += (norm.log() - hit).sum()
            logits.div_(norm).scatter_add_(1, yi, torch.full_like(hit, -1.0))
            grad = logits.mul_(1 / n).to(BF16)
            torch.mm(grad, w, out=dx[i : i + chunk])
            dw += (grad.t() @ xi).float()
        ctx.save_for_backward(dx, dw)
        return total / n

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[no-untyped-def]
        """Scale the gradients already formed."""
        dx, dw = ctx.saved_tensors
        return dx * grad.to(dx.dtype), dw * grad, None, None


def head_loss(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """:class:`HeadLoss` as a function."""
    loss: Tensor = HeadLoss.apply(x, weight, target)  # type: ignore[no-untyped-call]
    return loss


def _named(network: Network) -> dict[str, Tensor]:
    """The weights under Hugging Face names, as views: copying into one writes the network."""
    s = network.shape
    out = {"model.embed_tokens.weight": network.embedding.data, "model.norm.weight": network.norm.data}
    for i, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        key = f"model.layers.{i}."
        q, k, v = block.qkv.data.split([s.hidden, s.kv_heads * s.head, s.kv_heads * s.head])
        gate, up = block.gu.data.split([s.ffn, s.ffn])
        for name, part in (("q", q), ("k", k), ("v", v), ("o", block.o.data)):
            out[f"{key}self_attn.{name}_proj.weight"] = part
        for name, part in (("gate", gate), ("up", up), ("down", block.down.data)):
            out[f"{key}mlp.{name}_proj.weight"] = part
        out[f"{key}input_layernorm.weight"] = block.n1.data
        out[f"{key}post_attention_layernorm.weight"] = block.n2.data
    return out


def from_directory(path: Path) -> Network:
    """Read a Hugging Face directory."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    network = Network(Shape.of(model.config))
    weights = model.state_dict()
    for name, part in _named(network).items():
        part.copy_(weights[name])
    return network


def to_llama(network: Network, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """An independent Hugging Face model with the same weights, in evaluation mode."""
    model = LlamaForCausalLM(network.shape.config())
    weights = {name: part.clone() for name, part in _named(network).items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model.to(dtype).eval()
