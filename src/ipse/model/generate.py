# SPDX-License-Identifier: Apache-2.0
"""Replies for many forks in one batch, each with its own sampling, each streamed as it comes.

A row's reply depends on its own prompt, state, settings and seed, and on nothing else in the batch: every
row draws from its own random generator, and rows that are done only wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ipse.errors import InputError, MessageTooLong
from ipse.model.personal import stack
from ipse.model.runner import pad
from ipse.model.state import PersonalState

if TYPE_CHECKING:
    from ipse.model.base import Base
    from ipse.model.chat import ChatTokenizer

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: at most this many tokens.
        temperature: 0 is greedy.
        top_p: smallest set of tokens whose probability reaches this.
        stop: the reply ends before the first of these strings.
        seed: of this row's generator; None draws one.
        recalled: token sequences that this reply may well be, word for word: edits that the owner made when asked
            the same before. While what was said is the beginning of one, its next token gets ``recall_weight`` of the
            probability (a continuous cache, Grave et al. 2017, arXiv 1612.04426).
        recall_weight: 0 to 1.
        no_repeat_ngram: no sequence of this many tokens comes twice in one reply (0: off). It looks at the
            reply only: what stands in the prompt may be quoted, which is how facts are recalled.
    """

    max_new_tokens: int = 96
    temperature: float = 0.7
    top_p: float = 0.9
    stop: tuple[str, ...] = ()
    seed: int | None = None
    no_repeat_ngram: int = 4
    recalled: tuple[tuple[int, ...], ...] = ()
    recall_weight: float = 0.9

    def __post_init__(self) -> None:
        for name, good in (
            ("max_new_tokens", self.max_new_tokens >= 1),
            ("temperature", 0.0 <= self.temperature <= 10.0),
            ("top_p", 0.0 < self.top_p <= 1.0),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0),
            ("recall_weight", 0.0 <= self.recall_weight <= 1.0),
            ("stop", all(self.stop)),
        ):
            if not good:
                raise InputError(f"{name}={getattr(self, name)!r} is out of range.", "See Sampling for the ranges.")


def usual_sampling(base: Base) -> Sampling:
    """As the base's own generation_config.json would have it, where it says so."""
    stated = base.sampling_defaults
    usual = Sampling()
    return Sampling(
        max_new_tokens=max(1, int(stated.get("max_new_tokens", usual.max_new_tokens))),
        temperature=stated.get("temperature", usual.temperature),
        top_p=stated.get("top_p", usual.top_p),
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What one row answered."""

    text: str
    tokens: tuple[int, ...]
    finish: Finish


class _Row:
    """One reply while it grows."""

    def __init__(self, sampling: Sampling, tokenizer: ChatTokenizer) -> None:
        self.sampling = sampling
        self.tokens: list[int] = []
        self.text = ""
        self.finish: Finish | None = None
        self._tokenizer = tokenizer
        self._shown = 0
        self._followers: dict[tuple[int, ...], list[int]] = {}
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """(vocabulary,) float32 on the CPU -> token id."""
        n, said = self.sampling.no_repeat_ngram, len(self.tokens)
        following = [r[said] for r in self.sampling.recalled if len(r) > said and list(r[:said]) == self.tokens]
        if following:  # an edit is quoted as it stands, repeats and all
            p = torch.softmax(logits, dim=-1) * (1.0 - self.sampling.recall_weight)
            p[following] += self.sampling.recall_weight / len(following)
            logits = p.log()
        elif n and said >= n - 1:
            banned = self._followers.get(tuple(self.tokens[len(self.tokens) - (n - 1) :]), [])
            if banned:
                logits = logits.clone()
                logits[banned] = float("-inf")
        if self.sampling.temperature == 0.0:
            return int(logits.argmax())
        p = torch.softmax(logits / self.sampling.temperature, dim=-1)
        if self.sampling.top_p < 1.0:
            ordered, order = p.sort(descending=True)
            kept = ordered.cumsum(0) - ordered < self.sampling.top_p  # the first is always kept
            return int(order[torch.multinomial(ordered * kept, 1, generator=self._generator)])
        return int(torch.multinomial(p, 1, generator=self._generator))

    def add(self, token: int) -> str:
        """Take the next token in; return the text that may be shown now."""
        if token in self._tokenizer.stop_ids:
            self.finish = "stop"
            return self._rest()
        self.tokens.append(token)
        n = self.sampling.no_repeat_ngram
        if n and len(self.tokens) >= n:
            self._followers.setdefault(tuple(self.tokens[-n:-1]), []).append(token)
        self.text = self._tokenizer.decode(self.tokens)
        found = [at for s in self.sampling.stop if (at := self.text.find(s)) >= 0]
        if found:
            self.text, self.finish = self.text[: min(found)], "stop"
            return self._rest()
        if len(self.tokens) >= self.sampling.max_new_tokens:
            self.finish = "length"
            return self._rest()
        return self._show(self._safe())

    def cancel(self) -> str:
        self.finish = "cancelled"
        return self._rest()

    def _rest(self) -> str:
        """All that is left, when the reply is over."""
        return self._show(len(self.text))

    def _safe(self) -> int:
        """How much can be shown: no half character, and nothing that may yet become a stop string."""
        end = len(self.text.rstrip("\ufffd"))
        for s in self.sampling.stop:
            for k in range(min(len(s) - 1, end), 0, -1):
                if self.text[:end].endswith(s[:k]):
                    end -= k
                    break
        return end

    def _show(self, end: int) -> str:
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece


def generate(
    base: Base,
    prompts: Sequence[Sequence[int]],
    states: Sequence[PersonalState | None],
    sampling: Sampling | Sequence[Sampling],
    *,
    on_text: Callable[[int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Reply]:
    """Answer every prompt, all in one batch.

    Args:
        prompts: token ids, each of at least one token; lengths may differ.
        states: one per prompt; None answers as the bare base.
        sampling: one for all, or one per prompt.
        on_text: called with (row, piece of text) as text becomes certain.
        cancelled: asked before every token; True ends all rows with what they have.

    Raises:
        MessageTooLong: when a prompt leaves no room in the window for even one token.
        BaseMismatch: when a state belongs to another base.
    """
    if not prompts:
        return []
    settings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    longest = max(len(p) for p in prompts)
    if longest >= base.window or min(len(p) for p in prompts) == 0:
        raise MessageTooLong(
            f"A prompt of {longest} tokens does not fit a window of {base.window} tokens.",
            "Send a shorter message.",
        )
    rows = [_Row(s, base.tokenizer) for s in settings]
    runner = base.runner
    personal = stack(states, base.layout, runner.device)
    room = min(base.window - longest, max(s.max_new_tokens for s in settings))
    cache = runner.new_cache(len(prompts), longest + room)
    chunk = pad([list(p) for p in prompts], runner.device)
    one = torch.ones(len(prompts), dtype=torch.int64, device=runner.device)
    logits = runner.extend(chunk.tokens, chunk.lengths, personal, cache).cpu()
    for step in range(room):
        if cancelled is not None and cancelled():
            break
        following = torch.zeros(len(rows), 1, dtype=torch.int64)
        for i, row in enumerate(rows):
            if row.finish is None:
                token = row.choose(logits[i])
                following[i] = token
                piece = row.add(token)
                if piece and on_text is not None:
                    on_text(i, piece)
        if all(row.finish for row in rows) or step == room - 1:
            break
        logits = runner.extend(following.to(runner.device), one, personal, cache).cpu()
    for i, row in enumerate(rows):
        if row.finish is None:
            piece = row.cancel()
            if len(row.tokens) >= room:
                row.finish = "length"
            if piece and on_text is not None:
                on_text(i, piece)
    return [Reply(row.text.strip(), tuple(row.tokens), row.finish or "length") for row in rows]
