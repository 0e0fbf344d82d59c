# SPDX-License-Identifier: Apache-2.0
"""The rules by which forks are judged: nobody is judged with what was fitted on them, or on what they learned."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ipse.model.base import Base, load_base

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
folds: Any = importlib.import_module("_folds")
users_of: Any = importlib.import_module("_users")
contexts: Any = importlib.import_module("_contexts")
judging: Any = importlib.import_module("_judge")
gains: Any = importlib.import_module("_gains")
facts: Any = importlib.import_module("facts")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(basis="svd", rank=4)


def _user(name: str) -> Any:
    return users_of.JudgedUser(name, f"digest of {name}", (), (), (), ())


@pytest.mark.parametrize("seen", [0, 3, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_user_is_judged_once_and_never_with_what_was_fitted_on_them(seen: int, seed: int) -> None:
    users = [_user(f"u{i}") for i in range(20)]
    fitted_on = [f"digest of u{i}" for i in range(seen)]
    groups = folds.deal(users, fitted_on, 3, seed)
    assert sorted(name for group in groups for name in group.judged) == sorted(user.name for user in users)
    for group in groups:
        assert not set(group.judged) & set(group.public)
        assert group.public
        if group.own_basis:
            assert not {f"digest of {name}" for name in group.judged} & set(fitted_on)


def test_another_seed_deals_other_folds() -> None:
    users = [_user(f"u{i}") for i in range(20)]
    assert folds.deal(users, [], 3, 0)[0].judged != folds.deal(users, [], 3, 1)[0].judged


def test_held_out_dialogues_are_the_last_fifth_and_only_the_users_words_count(base: Base) -> None:
    (ada,) = users_of.read_users(EXAMPLES / "ada.jsonl", base.tokenizer)
    assert len(ada.held_out_dialogues) >= 1
    assert len(ada.dialogues) == int(0.8 * (len(ada.dialogues) + len(ada.held_out_dialogues)))
    turn = next(t for t in ada.held_out_dialogues[0].turns if t.role == "user")
    counted = [t for t, w in zip(ada.held_out[0].tokens, ada.held_out[0].weights, strict=True) if w]
    assert base.tokenizer.decode(counted).strip() == turn.text


def test_a_memory_lengthens_the_context_and_leaves_what_is_judged(base: Base) -> None:
    (ada,) = users_of.read_users(EXAMPLES / "ada.jsonl", base.tokenizer)
    remembered = contexts.with_memory(ada, 40, base.tokenizer)
    assert len(remembered) == len(ada.held_out)
    for plain, longer in zip(ada.held_out, remembered, strict=True):
        count = sum(map(bool, plain.weights))
        assert longer.tokens[-count:] == plain.tokens[-count:]
        assert sum(map(bool, longer.weights)) == count
    assert sum(len(e.tokens) for e in remembered) > sum(len(e.tokens) for e in ada.held_out)


def test_a_user_with_fewer_interactions_keeps_the_last_value() -> None:
    assert judging._held({1: 3.0, 7: 2.0}, (1, 10, 50)) == (3.0, 2.0, 2.0)


def test_ratios_are_of_means_over_users_of_means_over_seeds() -> None:
    def curves(after: float) -> list[Any]:
        ours = [judging.Curve("a", 4.0, (after,) * 5) for _ in range(2)]
        return [*ours, judging.Curve("b", 4.0, (3.0,) * 5)]

    found = {("population", "personal"): curves(3.5), ("lora8", "personal"): curves(3.0)}
    figures = gains.figures_of(found, (1, 10, 50, 100, 200), {"population": 10, "lora4": 200}, [])
    assert figures["personal_gain_over_lora8"] == pytest.approx(0.75)
    assert figures["numbers_over_lora4"] == pytest.approx(0.05)
    assert gains.rows_of(found, (1, 10, 50, 100, 200), {})[0]["gain_200"] == pytest.approx(1.0)


def test_facts_are_different_and_repeatable() -> None:
    invented = facts.invent(50, 0)
    assert len({fact.answer for fact in invented}) == 50
    assert invented == facts.invent(50, 0) != facts.invent(50, 1)
    assert json.dumps([fact.question for fact in invented])
