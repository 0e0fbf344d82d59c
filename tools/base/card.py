# SPDX-License-Identifier: Apache-2.0
"""The finished directory: weights in bfloat16, tokenizer, generation settings, and a card with measured figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig

from tools.base.corpus import Dialogue, Ids, Turn
from tools.base.evaluation import PROMPTS, Speaker, cases, held_prompts, recall, repeats
from tools.base.network import from_directory, to_llama
from tools.base.training import Plan, held_loss, pooled
from tools.base.wording import Vocabulary

SHOWN = 20
SEED = 1234
TEMPERATURE = 0.7

CARD = """# The base that ships with Ipse

A small chat model, made by this project: a fork of it learns from its user. {parameters:,} parameters, Llama
architecture ({layers} layers, hidden {hidden}, vocabulary {vocabulary:,}, context {context} tokens), bfloat16, English.
Plain `transformers` loads it; the chat template is inside. It chats, uses what it is told in the conversation or in the
system turn, writes short messages and stories to simple patterns, and says that it does not know when asked about the
world.

Made with `python -m tools.base`: {history}

## Data and licences

| source | corpus (commit) | licence |
|---|---|---|
| sgd | Schema-Guided Dialogue, google-research-datasets/dstc8-schema-guided-dialogue e852981a | CC BY-SA 4.0 |
| topical | Topical-Chat valid and test, alexa/Topical-Chat 7c939229 | CDLA-Sharing 1.0 |
| spc | Synthetic-Persona-Chat valid and test, google-research-datasets 1f367a0f | CC BY 4.0 |
| tm3, tm4 | Taskmaster-3 contexts, Taskmaster-4, google-research-datasets/Taskmaster d92cb6af | CC BY 4.0 |
| stories | African Storybook, stories marked CC-BY, global-asp/asp-source 99e02236 | CC BY |
| personality | PersonalityChat, ntulsi/BotBuilder-PersonalityChat 67174467 | MIT |
| own | generators of this project (`tools/base`) | Apache-2.0 |

The texts were cleaned and deduplicated. **The weights are licensed CC BY-SA 4.0**, because the share-alike part
dominates; whoever passes them on names the corpora above.

## Basis

`basis.safetensors` is what forks of this base share (it is not needed to run the base): the leading 8 directions on
both sides of every adapted linear in which 74 public users of the STAR corpus (RasaHQ/STAR 30589750, MIT) moved it, 768
coordinates of their first steps and of the base's own speech, and the curvature of 1,024 conversations that the base
made up. It holds no text. Never judge it on those users: it names them by hash.

## Split

Whole groups (a conversation, a story, a prompt) are held out: those whose MD5 digest of source and group is below 2 in
100 (5 in 100 for personality). The same rule gave the hold-out of the first base, so the two columns compare.

## Held-out loss (nats a token, windows of 256)

| source | tokens | first base | this base |
|---|---|---|---|
{losses}

Pooled perplexity {before_perplexity:.2f} before, {after_perplexity:.2f} now.

## Recall and repetition (greedy)

| measure | result |
|---|---|
{recalls}
| replies that repeat | {repeated} of {n_all} ({repeated_share:.1%}) |

A reply repeats when it has the same four tokens in a row three times or more, or goes in a circle until its limit; the
prompts are {n_held} held-out conversations and {n_hand} written by hand.
Recall counts a reply as right when it holds the told value exactly; the values are made-up names and words the model
was not trained on, told in the system turn or earlier, with up to two other exchanges in between. The phrasings are
those of the generators that it was trained on. {settings}

## Replies, unedited

Greedy, and temperature {temperature} (seed {seed}).

{samples}
## Limits

- It knows nothing of the world. It often says so; often enough it will still make something up, fluently.
- It is at its best with short turns in plain English. Long instructions, sums, code and other languages are beyond it.
- Task dialogues (restaurants, flights, films) are imitations: it has no such services, and the places are invented.
- The small talk and the stories follow a limited set of patterns.
- The data are mostly American English, partly written by models; their views and slants are in the weights.
- Not for advice that matters: medical, legal, financial.
"""


@dataclass(frozen=True)
class Measured:
    """What one directory scores."""

    losses: dict[str, tuple[float, int]]
    recall: dict[str, tuple[int, int]]
    repeated: int
    prompts: int


def measure(path: Path, dialogues: Sequence[Dialogue], words: Vocabulary, streams: Mapping[str, Ids]) -> Measured:
    """Loss by source, recall over 400 cases, repetition over 200 held-out prompts and those written by hand."""
    speaker = Speaker(path)
    prompts = [*held_prompts(dialogues, 200), *PROMPTS]
    bad = sum(repeats(ids) for ids in speaker.replies(prompts))
    return Measured(held_loss(from_directory(path), streams), recall(speaker, cases(words, 400)), bad, len(prompts))


def measure_once(
    kept: Path, path: Path, dialogues: Sequence[Dialogue], words: Vocabulary, streams: Mapping[str, Ids]
) -> Measured:
    """The same, read back from the file ``kept`` if it is there."""
    if not kept.exists():
        kept.write_text(json.dumps(vars(measure(path, dialogues, words, streams)), indent=1))
    return Measured(**json.loads(kept.read_text()))


def _conversation(turns: Sequence[Turn]) -> str:
    return " / ".join(text if role == "user" else f"({role}: {text})" for role, text in turns)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def samples(speaker: Speaker) -> str:
    """A table of the first prompts with a greedy and a sampled reply each."""
    shown = PROMPTS[:SHOWN]
    greedy = speaker.replies(shown)
    torch.manual_seed(SEED)
    drawn = speaker.replies(shown, temperature=TEMPERATURE)
    lines = [f"| prompt | greedy | T = {TEMPERATURE} |", "|---|---|---|"]
    for turns, a, b in zip(shown, greedy, drawn, strict=True):
        lines.append(f"| {_cell(_conversation(turns))} | {_cell(speaker.text(a))} | {_cell(speaker.text(b))} |")
    return "\n".join(lines) + "\n"


def write_model(source: Path, init: Path, final: Path, blend: float) -> None:
    """Weights of ``init`` moved by ``blend`` of the way to ``source``, bfloat16; tokenizer and template of ``init``.

    Between a model and what further training made of it lies one that keeps more of the old and has most of the new
    (Wortsman et al. 2022, arXiv 2109.01903). Here: lower loss on the real sources than either end.
    """
    network = from_directory(source)
    with torch.no_grad():
        for new, old in zip(network.parameters(), from_directory(init).parameters(), strict=True):
            new.lerp_(old, 1 - blend)
    model = to_llama(network, torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=0, do_sample=False, max_new_tokens=160
    )
    model.save_pretrained(final)
    for path in init.iterdir():
        if path.name.startswith(("token", "chat_template")):
            shutil.copy(path, final / path.name)


def publish(
    init: Path,
    out: Path,
    dialogues: Sequence[Dialogue],
    words: Vocabulary,
    streams: Mapping[str, Ids],
    blend: float,
    history: str = "",
) -> Path:
    """Write ``final/``, measured against the model it started from; ``history`` tells in the card how it was made."""
    final = out / "final"
    fresh = out / "final.new"
    tokens = json.loads((out / "run" / "state" / "place.json").read_text())["step"] * Plan().batch_tokens
    shutil.rmtree(fresh, ignore_errors=True)
    write_model(out / "run" / "state", init, fresh, blend)
    print("measuring the model the run started from", flush=True)
    before = measure_once(out / "before.json", init, dialogues, words, streams)
    print("measuring the new model", flush=True)
    after = measure(fresh, dialogues, words, streams)
    rows = [
        f"| {s} | {n:,} | {before.losses[s][0]:.3f} | {loss:.3f} |" for s, (loss, n) in sorted(after.losses.items())
    ]
    real = sum(n for s, (_, n) in after.losses.items() if not s.startswith("own"))
    rows.insert(
        0, f"| **real sources, pooled** | {real:,} | **{pooled(before.losses):.3f}** | **{pooled(after.losses):.3f}** |"
    )
    recalls = [
        f"| {kind} recalled | {right} of {n} ({right / n:.1%}); first base {before.recall[kind][0]} of {n} |"
        for kind, (right, n) in sorted(after.recall.items())
    ]
    recalls.append(f"| replies that repeat, first base | {before.repeated} of {before.prompts} |")
    model = from_directory(fresh)
    shape = model.shape
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=shape.layers,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        context=shape.context,
        history=history or f"{tokens / 1e6:.1f} million tokens, {blend:.0%} of the way from the model it began with.",
        losses="\n".join(rows),
        before_perplexity=torch.tensor(pooled(before.losses)).exp().item(),
        after_perplexity=torch.tensor(pooled(after.losses)).exp().item(),
        recalls="\n".join(recalls),
        n_held=after.prompts - len(PROMPTS),
        n_hand=len(PROMPTS),
        n_all=after.prompts,
        repeated=after.repeated,
        repeated_share=after.repeated / after.prompts,
        settings="`generation_config.json` asks for plain greedy replies of at most 160 tokens, without a repetition "
        "penalty: a penalty on tokens already seen would forbid the very names the model has to say again.",
        temperature=TEMPERATURE,
        seed=SEED,
        samples=samples(Speaker(fresh)),
    )
    (fresh / "README.md").write_text(text, encoding="utf-8")
    report = {"before": vars(before), "after": vars(after), "tokens": tokens}
    (out / "measured.json").write_text(json.dumps(report, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    print(
        f"done: held-out {pooled(before.losses):.3f} -> {pooled(after.losses):.3f}; see {final.name}/README.md",
        flush=True,
    )
    return final
