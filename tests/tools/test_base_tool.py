# SPDX-License-Identifier: Apache-2.0
"""The tool that makes the shipped base: generators, the split, and a run that can be killed."""

from __future__ import annotations

import dataclasses
import json
import lzma
import sys
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[2]))

from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

from tools.base import corpus, facts, network, own, writing  # noqa: E402
from tools.base.evaluation import cases, repeats  # noqa: E402
from tools.base.training import Plan, Run  # noqa: E402
from tools.base.wording import Vocabulary, expand  # noqa: E402

WORDS = Vocabulary(["river", "copper", "lantern", "seven"], ["I like it here.", "That is all."])


def toy_dialogues() -> list[corpus.Dialogue]:
    rng = Random(3)
    made = []
    for i in range(400):
        turns = tuple(own.chat(rng, WORDS))
        made.append(corpus.Dialogue(("sgd", "spc", "personality")[i % 3], f"group {i // 2}", turns))
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers and a tokenizer of its own, as a Hugging Face directory."""
    from transformers import PreTrainedTokenizerFast

    where = tmp_path_factory.mktemp("init")
    torch.manual_seed(0)
    special = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((text for d in toy_dialogues() for _, text in d.turns), trainer)
    shape = network.Shape(vocabulary=320, hidden=32, layers=2, heads=4, kv_heads=2, ffn=48, context=64)
    network.to_llama(network.Network(shape)).save_pretrained(where)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(where)
    return where


def run(init: Path, out: Path, steps: int) -> Run:
    tokenizer = Tokenizer.from_file(str(init / "tokenizer.json"))
    mixture = corpus.Mixture.of(tokenizer, toy_dialogues(), own.generator(WORDS, remember=5, chats=5))
    plan = Plan(
        steps=steps, batch_tokens=128, row_tokens=32, long_row_tokens=64, micro_tokens=64, compiled=False, threads=1
    )
    return Run(init, out, plan, mixture)


def test_generators_are_deterministic_and_differ_by_epoch() -> None:
    make = own.generator(WORDS, remember=30, chats=30)
    assert make(0) == make(0)
    assert make(0) != make(1)


def test_own_dialogues_are_well_formed() -> None:
    for d in own.generator(WORDS, remember=300, chats=300)(5):
        roles = [role for role, _ in d.turns]
        assert "system" not in roles[1:]
        spoken = roles[1:] if roles[0] == "system" else roles
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
        assert spoken
        assert all(text.strip() and not set("{}[]|") & set(text) for _, text in d.turns)


def test_recall_cases_hold_their_value_in_the_context() -> None:
    for case in cases(WORDS, 60):
        assert case.value.lower() in " ".join(text for _, text in case.turns[:-1]).lower()


def test_correction_answers_with_the_later_value() -> None:
    turns = facts.correction(Random(1), WORDS)
    assert turns[-1][0] == "assistant"
    assert turns[-2][0] == "user"


def test_a_template_expands_choices_and_slots() -> None:
    assert expand(Random(0), "{a|a}[x] {b{c|c}|bc} [X]", {"x": "y"}) == "ay bc Y"


def test_world_questions_get_no_facts() -> None:
    for seed in range(40):
        reply = writing.world(Random(seed), WORDS)[1][1].lower()
        assert "small" in reply or "know" in reply or "can't" in reply or "not good" in reply or "too hard" in reply


def test_no_group_is_on_both_sides(tiny: Path) -> None:
    dialogues = toy_dialogues()
    side = {(d.source, d.group): corpus.held_out(d.source, d.group) for d in dialogues}
    assert any(side.values())
    kept = {(d.source, d.group) for d in dialogues if not corpus.held_out(d.source, d.group)}
    held = {(d.source, d.group) for d in dialogues if corpus.held_out(d.source, d.group)}
    assert not kept & held
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    mixture = corpus.Mixture.of(tokenizer, dialogues, lambda epoch: [])
    copies = sum(corpus.WEIGHTS[d.source] for d in dialogues if (d.source, d.group) in kept)
    assert len(mixture.dialogues) == copies


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    dialogues = toy_dialogues()[:5]
    with lzma.open(tmp_path / "d.xz", "wt") as f:
        for d in dialogues:
            f.write(json.dumps({"s": d.source, "g": d.group, "t": d.turns}) + "\n")
    assert list(corpus.read(tmp_path / "d.xz")) == dialogues


def test_the_network_computes_what_transformers_computes(tiny: Path) -> None:
    ids = torch.randint(0, 320, (2, 33), generator=torch.Generator().manual_seed(1))
    own_network = network.from_directory(tiny)
    with torch.no_grad():
        ours = own_network(ids).float() @ own_network.embedding.T
        theirs = network.to_llama(own_network)(ids).logits
    assert (ours - theirs).abs().max() < 0.05


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tiny: Path, tmp_path: Path) -> None:
    straight = run(tiny, tmp_path / "a", 2)
    for _ in range(2):
        straight.step()
    first = run(tiny, tmp_path / "b", 2)
    first.step()
    first.save()
    second = run(tiny, tmp_path / "b", 2)
    assert second.place.step == 1
    second.step()
    assert dataclasses.replace(second.place, seconds=0.0) == dataclasses.replace(straight.place, seconds=0.0)
    for a, b in zip(straight.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_repeats_sees_a_loop_and_leaves_plain_replies_alone() -> None:
    assert repeats([1, 2, 3, 4] * 3)
    assert repeats([9, 8, 7] + [5, 6] * 60)
    assert not repeats(list(range(50)))
