# SPDX-License-Identifier: Apache-2.0
"""The tool that makes the dictionary: what it leaves out. Making one takes minutes, so that is not tested."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tools.dictionary import apart_from, generated

THEIRS = "We met at the old mill on a cold day in May, and talked until it was dark."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8") as lines:
        lines.write(json.dumps({"s": "spc", "g": "1", "t": [["user", THEIRS]]}) + "\n")
    return path


def test_a_text_with_eight_words_in_a_row_of_the_corpus_is_left_out_however_it_is_written(corpus: Path) -> None:
    eight = "So: the old MILL on a cold day in june?"
    seven = "So: old mill on a cold day in june?"
    assert apart_from([eight, seven, THEIRS], [corpus]) == [seven]


def test_telephone_numbers_and_addresses_are_left_out_always() -> None:
    reaching = ["Call 408-555-1234.", "Call (408) 5551234 now.", "Write to ann@example.com.", "See www.example.com."]
    plain = "A table for 4 at 11:30, under 250 dollars."
    assert apart_from([*reaching, plain], []) == [plain]


def test_the_generators_give_the_same_turns_each_time() -> None:
    turns = generated()
    assert turns == generated()
    assert len(turns) > 2_000
