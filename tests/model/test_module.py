# SPDX-License-Identifier: Apache-2.0
"""The hook runner: equal to merged weights, equal to itself in chunks, and one fork never touches another."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ipse.errors import MessageTooLong
from ipse.model.algebra import hold_output, merge
from ipse.model.module import ModuleRunner
from tests.model.tiny_families import (
    FAMILIES,
    Tiny,
    everywhere,
    random_model,
    random_state,
    random_tokens,
    stack,
    tiny,
)

FEW = ("llama", "gemma2", "phi3-sliding")


def all_logits(model: Any, tokens: Tensor) -> Tensor:
    """(B * T, vocabulary) by the plain module."""
    logits: Tensor = model(input_ids=tokens).logits
    return logits.flatten(0, 1).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_fork_answers_as_its_base_bit_for_bit(family: str) -> None:
    base = tiny(family)
    tokens = random_tokens(3, 14)
    rows, cols = everywhere(3, 14)
    bare = base.runner.select(tokens, None, rows, cols)
    assert torch.equal(base.runner.select(tokens, torch.zeros(3, base.layout.size), rows, cols), bare)
    plain = all_logits(random_model(family), tokens)  # the same weights, never hooked
    torch.testing.assert_close(bare, plain, rtol=1e-5, atol=1e-5)
    assert plain.std() > 0.2  # the comparison is not of zeros


@pytest.mark.parametrize("family", FAMILIES)
def test_the_hooked_module_called_by_others_is_the_bare_base(family: str) -> None:
    base = tiny(family)
    tokens = random_tokens(2, 9)
    base.runner.select(tokens, stack([random_state(base.layout, s) for s in (1, 2)]), *everywhere(2, 9))
    assert torch.equal(all_logits(base.model, tokens), all_logits(random_model(family), tokens))


def test_a_bfloat16_base_too_answers_as_itself_with_a_new_fork() -> None:
    base = tiny("gemma3")
    model = copy.deepcopy(random_model("gemma3"))
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    runner = ModuleRunner(model, base.body, base.basis, base.layout)
    tokens = random_tokens(2, 9)
    rows, cols = everywhere(2, 9)
    bare = runner.select(tokens, None, rows, cols)
    assert torch.equal(runner.select(tokens, torch.zeros(2, base.layout.size), rows, cols), bare)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fork_answers_as_its_deltas_merged_into_the_weights(family: str) -> None:
    base = tiny(family)
    states = [random_state(base.layout, seed) for seed in (3, 4)]
    tokens = random_tokens(2, 14)
    ours = base.runner.select(tokens, stack(states), *everywhere(2, 14)).view(2, 14, -1)
    bare = base.runner.select(tokens, None, *everywhere(2, 14)).view(2, 14, -1)
    for row, state in enumerate(states):
        merged = merge(base.model, base.body, base.basis, state)
        hold_output(merged.model, merged.output)
        theirs = all_logits(merged.model, tokens[row : row + 1])
        torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-4)
        assert (theirs - bare[row]).abs().max() > 0.5


def chunked(base: Tiny, tokens: Tensor, totals: list[int], chunks: list[list[int]], personal: Tensor | None) -> Tensor:
    """Logits after the last token of each row, fed in ragged chunks."""
    batch = len(totals)
    cache = base.runner.new_cache(batch, max(totals))
    at = [0] * batch
    logits = torch.empty(0)
    for lengths in chunks:
        padded = torch.zeros(batch, max(lengths), dtype=torch.int64)
        for row, length in enumerate(lengths):
            padded[row, :length] = tokens[row, at[row] : at[row] + length]
            at[row] += length
        logits = base.runner.extend(padded, torch.tensor(lengths), personal, cache)
    assert cache.lengths.tolist() == totals
    return logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("personal", [True, False])
def test_ragged_chunks_equal_one_forward(family: str, personal: bool) -> None:
    base = tiny(family)
    chunks = [[5, 2, 9], [1, 1, 1], [7, 12, 3], [1, 1, 1], [6, 2, 9]]
    totals = [sum(c) for c in zip(*chunks, strict=True)]  # 20, 18, 23: past the sliding window
    tokens = random_tokens(3, max(totals))
    p = stack([random_state(base.layout, s) for s in range(3)]) if personal else None
    want = base.runner.select(tokens, p, torch.arange(3), torch.tensor(totals) - 1)
    torch.testing.assert_close(chunked(base, tokens, totals, chunks, p), want, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_ragged_chunks_equal_one_forward(data: st.DataObject) -> None:
    base = tiny(data.draw(st.sampled_from(FEW)))
    batch = data.draw(st.integers(1, 4))
    one = st.lists(st.integers(1, 7), min_size=batch, max_size=batch)
    chunks = data.draw(st.lists(one, min_size=1, max_size=5))
    totals = [sum(c) for c in zip(*chunks, strict=True)]
    tokens = random_tokens(batch, max(totals), seed=data.draw(st.integers(0, 9)))
    p = stack([random_state(base.layout, s) for s in range(batch)])
    want = base.runner.select(tokens, p, torch.arange(batch), torch.tensor(totals) - 1)
    torch.testing.assert_close(chunked(base, tokens, totals, chunks, p), want, rtol=1e-4, atol=1e-4)


def test_a_full_cache_refuses_more_and_stays_as_it_was() -> None:
    base = tiny("llama")
    tokens = random_tokens(2, 10)
    cache = base.runner.new_cache(2, 10)
    base.runner.extend(tokens[:, :8], torch.tensor([8, 6]), None, cache)
    with pytest.raises(MessageTooLong):
        base.runner.extend(tokens[:, :4], torch.tensor([3, 4]), None, cache)
    assert cache.lengths.tolist() == [8, 6]
    # Pads past the end of row 0 must not write over its last token.
    fed = torch.stack([torch.cat([tokens[0, 8:], tokens[0, :2]]), tokens[1, 6:]])
    logits = base.runner.extend(fed, torch.tensor([2, 4]), None, cache)
    want = base.runner.select(tokens, None, torch.arange(2), torch.tensor([9, 9]))
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FEW)
def test_what_stands_behind_a_row_never_changes_its_answer(family: str) -> None:
    base = tiny(family)
    p = stack([random_state(base.layout, 1)])
    short = random_tokens(1, 6)
    longer = torch.cat([short, random_tokens(1, 9, seed=5)], dim=1)
    alone = base.runner.select(short, p, torch.tensor([0]), torch.tensor([5]))
    padded = base.runner.select(longer, p, torch.tensor([0]), torch.tensor([5]))
    torch.testing.assert_close(alone, padded, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FEW)
def test_forks_in_one_batch_never_affect_each_other(family: str) -> None:
    base = tiny(family)
    states = [random_state(base.layout, seed) for seed in range(33)]
    tokens = random_tokens(33, 6)
    last = torch.full((33,), 5)
    alone = [base.runner.select(tokens[i : i + 1], stack([states[i]]), torch.tensor([0]), last[:1]) for i in range(33)]
    want = torch.cat(alone)
    for batch in range(1, 34):
        got = base.runner.select(tokens[:batch], stack(states[:batch]), torch.arange(batch), last[:batch])
        torch.testing.assert_close(got, want[:batch], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_backward_gives_every_fork_the_gradient_that_it_gets_alone(family: str) -> None:
    base = tiny(family)
    states = [random_state(base.layout, seed) for seed in range(4)]
    tokens = random_tokens(4, 11)

    def loss(of: Tensor, personal: Tensor) -> Tensor:
        rows, cols = everywhere(len(of), 10)
        logits = base.runner.select(of, personal, rows, cols)
        return torch.nn.functional.cross_entropy(logits, of[:, 1:].flatten(), reduction="sum")

    together = stack(states).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(tokens, together), together)
    for row, state in enumerate(states):
        own = stack([state]).requires_grad_()
        (alone,) = torch.autograd.grad(loss(tokens[row : row + 1], own), own)
        torch.testing.assert_close(gradient[row : row + 1], alone, rtol=1e-3, atol=1e-4)
        for segment in base.layout.segments:  # every personal number matters
            assert alone[0, segment.slice].abs().max() > 1e-5, segment.name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_gate_is_heard(family: str) -> None:
    base = tiny(family)  # in Gemma 2 and 3 a gate before the norm would be cancelled by it
    tokens = random_tokens(1, 8)
    where = torch.tensor([0]), torch.tensor([7])
    bare = base.runner.select(tokens, None, *where)
    for place in range(base.layout["gates"].size):
        personal = torch.zeros(1, base.layout.size)
        personal[0, base.layout["gates"].offset + place] = 0.5
        assert (base.runner.select(tokens, personal, *where) - bare).abs().max() > 0.05


@pytest.mark.parametrize("family", FEW)
def test_the_gradient_is_the_slope_of_the_loss(family: str) -> None:
    base = tiny(family)
    tokens = random_tokens(1, 8)
    rows, cols = everywhere(1, 7)

    def loss(personal: Tensor) -> Tensor:
        logits = base.runner.select(tokens, personal, rows, cols)
        return torch.nn.functional.cross_entropy(logits.double(), tokens[0, 1:], reduction="sum")

    p = (stack([random_state(base.layout, 7)]) * 0.2).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(p), p)
    direction = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    direction /= direction.norm()
    with torch.no_grad():
        slope = (loss(p + 0.01 * direction) - loss(p - 0.01 * direction)) / 0.02
    assert abs(float(slope) - float((gradient * direction).sum())) < 0.02 * max(1.0, abs(float(slope)))


def test_two_threads_may_run_different_forks_on_one_base() -> None:
    base = tiny("llama")
    states = [random_state(base.layout, seed) for seed in range(2)]
    tokens = random_tokens(1, 24)
    rows, cols = everywhere(1, 24)
    want = [base.runner.select(tokens, stack([s]), rows, cols) for s in states]
    right: list[bool] = []

    def work(which: int) -> None:
        p = stack([states[which]])
        right.extend(torch.equal(base.runner.select(tokens, p, rows, cols), want[which]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 40
