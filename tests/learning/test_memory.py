# SPDX-License-Identifier: Apache-2.0
"""What is put back into the context, and that it fits."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import MessageTooLong
from ipse.learning.memory import Exchange, Memory
from ipse.model.base import load_base
from ipse.model.chat import ChatTokenizer


@cache
def tokenizer() -> ChatTokenizer:
    return load_base().tokenizer


def long_past() -> list[Exchange]:
    filler = [Exchange(f"I walked {n} miles in the rain.", "That is a long way.") for n in range(60)]
    return [Exchange("My boat is called Morwenna.", "A fine name!"), *filler]


def test_an_early_fact_is_found_again_when_it_no_longer_fits_the_window() -> None:
    turns = Memory(long_past()).context("What is my boat called?", tokenizer(), 200)
    texts = [t.text for t in turns]
    assert "My boat is called Morwenna." in texts
    assert texts[-1] == "What is my boat called?"
    assert texts.index("My boat is called Morwenna.") < len(texts) - 2, "found turns stand in front, in their order"


def test_the_newest_turns_stand_at_the_end_in_order() -> None:
    turns = Memory(long_past()).context("And tomorrow?", tokenizer(), 200)
    assert [t.text for t in turns[-3:]] == ["I walked 59 miles in the rain.", "That is a long way.", "And tomorrow?"]


@settings(deadline=None, max_examples=30)
@given(
    texts=st.lists(st.text(alphabet="abc def ghi", min_size=1, max_size=60).filter(str.strip), max_size=30),
    budget=st.integers(30, 300),
)
def test_the_context_never_exceeds_its_budget(texts: list[str], budget: int) -> None:
    memory = Memory([Exchange(text, text[::-1].strip() or "x") for text in texts])
    turns = memory.context("a b c", tokenizer(), budget)
    assert len(tokenizer().prompt(turns)) <= budget + 2


def test_without_memory_only_this_session_is_seen() -> None:
    past = long_past()
    turns = Memory(past).context("What is my boat called?", tokenizer(), 400, first=len(past))
    assert [t.text for t in turns] == ["What is my boat called?"]


def test_an_incognito_exchange_is_context_and_not_memory() -> None:
    memory = Memory([Exchange("Hello.", "Hi!")])
    turns = memory.context("Well?", tokenizer(), 200, aside=[Exchange("I have a secret.", "Do tell.")])
    assert "I have a secret." in [t.text for t in turns]
    assert len(memory) == 1


def test_a_message_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MessageTooLong, match="tokens"):
        Memory().context("word " * 500, tokenizer(), 100)
