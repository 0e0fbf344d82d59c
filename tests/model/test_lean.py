# SPDX-License-Identifier: Apache-2.0
"""The lean forward against transformers and against the module path: same weights, same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ipse.model.base import Base, load_base
from ipse.model.gradient import Example, gradients
from ipse.model.lean import FAMILIES
from ipse.model.personal import stack
from ipse.model.runner import pad
from ipse.model.state import PersonalState
from tests.model.tiny_families import CONFIGS, random_model, random_state, save

LEAN = [name for name, (_, extra) in CONFIGS.items() if name.split("-")[0] in FAMILIES and "sliding" not in name]


@pytest.fixture(scope="module", params=LEAN)
def bases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Base]:
    """The same tiny base on both paths."""
    directory: Path = tmp_path_factory.mktemp("tiny") / request.param
    save(random_model(request.param), directory)
    return load_base(directory, path="lean", rank=4), load_base(directory, path="module", rank=4)


def states_of(base: Base, count: int) -> list[PersonalState]:
    return [random_state(base.layout, seed) for seed in range(count)]


def sequences(count: int, rng: np.random.Generator) -> list[list[int]]:
    return [rng.integers(3, 60, size=int(rng.integers(2, 30))).tolist() for _ in range(count)]


def every_logit(base: Base, rows: list[list[int]], states: list[PersonalState] | None) -> torch.Tensor:
    chunk = pad(rows, base.runner.device)
    row = torch.tensor([b for b, r in enumerate(rows) for _ in r])
    col = torch.tensor([t for r in rows for t in range(len(r))])
    personal = stack(states, base.layout, base.runner.device) if states else None
    with torch.no_grad():
        return base.runner.select(chunk.tokens, personal, row, col)


@pytest.mark.parametrize("personal", [False, True])
def test_both_paths_agree_to_1e_4(bases: tuple[Base, Base], personal: bool) -> None:
    lean, module = bases
    rows = sequences(5, np.random.default_rng(1))
    states = states_of(lean, 5) if personal else None
    assert lean.layout.digest == module.layout.digest
    torch.testing.assert_close(every_logit(lean, rows, states), every_logit(module, rows, states), atol=1e-4, rtol=1e-4)


def test_both_paths_give_the_same_gradient(bases: tuple[Base, Base]) -> None:
    lean, module = bases
    examples = [Example(tuple(r), (0.0,) * (len(r) - 1) + (1.0,)) for r in sequences(4, np.random.default_rng(2))]
    states = states_of(lean, 4)
    loss, gradient = gradients(lean, examples, states)
    other_loss, other = gradients(module, examples, states)
    np.testing.assert_allclose(loss, other_loss, atol=1e-4)
    np.testing.assert_allclose(gradient, other, atol=1e-4 * max(1.0, float(np.abs(other).max())))


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_no_row_depends_on_who_shares_its_batch(bases: tuple[Base, Base], count: int) -> None:
    lean, _ = bases
    rng = np.random.default_rng(count)
    rows, states = sequences(count, rng), states_of(lean, count)
    together = every_logit(lean, rows, states)
    at = 0
    for row, state in zip(rows, states, strict=True):
        alone = every_logit(lean, [row], [state])
        torch.testing.assert_close(together[at : at + len(row)], alone, atol=1e-4, rtol=1e-4)
        at += len(row)


def test_logits_may_be_asked_for_in_any_order_and_twice(bases: tuple[Base, Base]) -> None:
    lean, _ = bases
    rng = np.random.default_rng(7)
    rows = [rng.integers(3, 60, size=20).tolist() for _ in range(4)]
    states = states_of(lean, 4)
    all_of_them = every_logit(lean, rows, states).view(4, 20, -1)
    row, col = torch.tensor([3, 0, 3, 0, 0, 1, 3]), torch.tensor([19, 4, 0, 4, 11, 7, 2])  # none of the third row
    personal = stack(states, lean.layout, lean.runner.device)
    with torch.no_grad():
        some = lean.runner.select(pad(rows, lean.runner.device).tokens, personal, row, col)
    torch.testing.assert_close(some, all_of_them[row, col], atol=1e-4, rtol=1e-4)


def test_ragged_chunks_through_the_cache_equal_one_pass(bases: tuple[Base, Base]) -> None:
    lean, _ = bases
    rng = np.random.default_rng(3)
    rows, states = [rng.integers(3, 60, size=24).tolist() for _ in range(4)], states_of(lean, 4)
    personal = stack(states, lean.layout, lean.runner.device)
    cache = lean.runner.new_cache(4, 40)
    done = [0] * 4
    for cuts in ([5, 9, 1, 7], [1, 1, 1, 1], [3, 1, 8, 2], [1, 1, 1, 1]):
        chunk = pad([row[d : d + c] for row, d, c in zip(rows, done, cuts, strict=True)], lean.runner.device)
        logits = lean.runner.extend(chunk.tokens, chunk.lengths, personal, cache)
        done = [d + c for d, c in zip(done, cuts, strict=True)]
        whole = every_logit(lean, [row[:d] for row, d in zip(rows, done, strict=True)], states)
        last = torch.tensor(np.cumsum(done) - 1)
        torch.testing.assert_close(logits, whole[last], atol=1e-4, rtol=1e-4)


def test_ragged_rows_may_fill_the_cache_to_its_last_slot(bases: tuple[Base, Base]) -> None:
    lean, _ = bases
    rng = np.random.default_rng(6)
    rows, states = [rng.integers(3, 60, size=12).tolist() for _ in range(2)], states_of(lean, 2)
    personal = stack(states, lean.layout, lean.runner.device)
    cache = lean.runner.new_cache(2, 12)
    done = [0, 0]
    for cuts in ([8, 10], [4, 2]):
        chunk = pad([row[d : d + c] for row, d, c in zip(rows, done, cuts, strict=True)], lean.runner.device)
        logits = lean.runner.extend(chunk.tokens, chunk.lengths, personal, cache)
        done = [d + c for d, c in zip(done, cuts, strict=True)]
        whole = every_logit(lean, [row[:d] for row, d in zip(rows, done, strict=True)], states)
        torch.testing.assert_close(logits, whole[torch.tensor(np.cumsum(done) - 1)], atol=1e-4, rtol=1e-4)


def test_a_new_fork_answers_bit_for_bit_as_its_base(bases: tuple[Base, Base]) -> None:
    lean, _ = bases
    rows = sequences(3, np.random.default_rng(4))
    zero = PersonalState(lean.layout, np.zeros(lean.layout.size, np.int32))
    assert torch.equal(every_logit(lean, rows, [zero] * 3), every_logit(lean, rows, None))


def test_the_gradient_is_the_slope_of_the_loss(bases: tuple[Base, Base]) -> None:
    lean, _ = bases
    from ipse.model.gradient import gradients_at

    rng = np.random.default_rng(5)
    tokens = tuple(rng.integers(3, 60, size=20).tolist())
    example = Example(tokens, (0.0,) * 8 + (1.0,) * 6 + (-1.0,) * 6)  # unlikelihood too
    at = torch.from_numpy(states_of(lean, 1)[0].values())[None]
    _, gradient = gradients_at(lean, [example], at)
    direction = torch.from_numpy(rng.standard_normal(at.shape).astype(np.float32))
    step = 1e-3
    up, _ = gradients_at(lean, [example], at + step * direction)
    down, _ = gradients_at(lean, [example], at - step * direction)
    slope = float(up[0] - down[0]) / (2 * step)
    assert slope == pytest.approx(float(gradient[0] @ direction[0].numpy()), rel=2e-2, abs=2e-3)
