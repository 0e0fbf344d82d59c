# SPDX-License-Identifier: Apache-2.0
"""The peer that forks are compared with is PEFT's LoRA under torch's AdamW, and nothing weaker."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from _frozen_llama import FrozenLlama, freeze_llama
from _lora_users import LoraSettings, LoraShape, adapt_users, example_losses
from lora import Choice, PeftUser, lora_settings

from ipse.model.base import Base, load_base
from ipse.model.gradient import Example

STEPS = 5
CHOICE = Choice(rank=4, optimiser="adamw", learning_rate=2e-3)


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(basis="svd", rank=4)


@pytest.fixture(scope="module")
def model(base: Base) -> FrozenLlama:
    return freeze_llama(base.module().float())


def _stream(seed: int, base: Base) -> list[Example]:
    """Interactions of different lengths, the second half of each counting."""
    rng = random.Random(seed)
    found = []
    for step in range(STEPS):
        length = 20 + 4 * seed + 3 * step
        tokens = tuple(rng.randrange(20, base.config.vocabulary_size) for _ in range(length))
        found.append(Example(tokens, tuple(float(i >= length // 2) for i in range(length))))
    return found


def test_batched_users_equal_peft_with_adamw_step_by_step(base: Base, model: FrozenLlama) -> None:
    streams = [_stream(seed, base) for seed in range(2)]
    settings = lora_settings(CHOICE)
    shape = LoraShape(model.sites(), CHOICE.rank)
    start = shape.initial(3)
    peers = [PeftUser(base.directory, CHOICE, start) for _ in streams]
    done = 0

    def after(step: int, users: Any, flat: torch.Tensor) -> None:
        nonlocal done
        for user, own in zip(users, flat, strict=True):
            peers[user].step(streams[user][step - 1])
            for example in streams[user][:2]:
                ours = example_losses(model, shape.adapters(own[None]), settings.scale, [example])
                assert float(ours) == pytest.approx(float(peers[user].loss(example).detach()), abs=1e-4)
            # Adam turns rounding of a gradient of almost nothing into a full step: few numbers may differ.
            apart = (own - peers[user].numbers()).norm() / (own - start).norm()
            assert apart < 1e-2
            done += 1

    adapt_users(model, streams, steps=STEPS, settings=settings, seed=3, probe_at=range(1, STEPS + 1), probe=after)
    assert done == STEPS * len(streams)


def test_peft_counts_as_many_numbers_as_the_peer(base: Base, model: FrozenLlama) -> None:
    peer = PeftUser(base.directory, CHOICE)
    trained = sum(weight.numel() for weight in peer.model.parameters() if weight.requires_grad)
    assert trained == LoraShape(model.sites(), CHOICE.rank).size == peer.numbers().numel()


@pytest.mark.parametrize("optimiser", ["adamw", "normalised"])
def test_a_users_lora_does_not_depend_on_who_shares_the_batch(base: Base, model: FrozenLlama, optimiser: Any) -> None:
    streams = [_stream(0, base)[:2], _stream(1, base), _stream(2, base)[:3]]
    settings = LoraSettings(rank=2, optimiser=optimiser, learning_rate=1e-3)
    together = adapt_users(model, streams, steps=STEPS, settings=settings)
    for own, stream in zip(together, streams, strict=True):
        (alone,) = adapt_users(model, [stream], steps=STEPS, settings=settings)
        assert (own - alone).norm() <= 1e-2 * (alone.norm() + 1e-9)


def test_frozen_model_equals_transformers(base: Base, model: FrozenLlama) -> None:
    tokens = torch.tensor([_stream(0, base)[0].tokens])
    columns = torch.arange(tokens.shape[1])
    with torch.inference_mode():
        reference = base.module()(tokens).logits[0]
        ours = model.logits(tokens, None, 1.0, torch.zeros_like(columns), columns)
    assert (ours - reference).abs().max() < 1e-3 * reference.abs().max()
