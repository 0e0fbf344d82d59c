# SPDX-License-Identifier: Apache-2.0
"""What an update changed, in words that a person can check.

Two views: which parts of the model moved, by share of the squared change; and which words the change of the
output embedding alone makes more or less likely in any context, ``head @ change``. The second is exact for
that part and says nothing of what the attention and ffn parts do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ipse.model.base import Base
from ipse.model.layout import ONE

WORDS = 8


@dataclass(frozen=True, slots=True)
class Why:
    """One update, explained.

    Attributes:
        top: (segment, share of the squared change), largest first; shares are of the whole update.
        nearest_words, fewer_words: what the output embedding now favours, and disfavours, everywhere.
    """

    seq: int
    top: tuple[tuple[str, float], ...]
    nearest_words: tuple[str, ...]
    fewer_words: tuple[str, ...]


def explain(base: Base, change: NDArray[np.int32], seq: int, *, count: int = 5) -> Why:
    """Explain an update (d,) int32."""
    layout = base.layout
    real = (change / ONE / layout.step_scale).astype(np.float64)
    squares = [(s.name, float(np.square(real[s.slice]).sum())) for s in layout.segments]
    total = sum(v for _, v in squares) or 1.0
    top = sorted(((name, v / total) for name, v in squares if v), key=lambda item: -item[1])[:count]
    output = torch.from_numpy((change[layout["output"].slice] / ONE).astype(np.float32))
    if not output.any():
        return Why(seq, tuple(top), (), ())
    head = base.runner.head
    logits = (head @ output.to(head)).float().cpu()
    return Why(seq, tuple(top), _words(base, logits), _words(base, -logits))


def _words(base: Base, logits: torch.Tensor) -> tuple[str, ...]:
    """The likeliest whole words, without pieces and marks."""
    words: list[str] = []
    for token in logits.argsort(descending=True)[:400].tolist():
        text = base.tokenizer.decode([token])
        word = text.strip()
        if text.startswith(" ") and len(word) > 1 and word.isalpha() and word not in words:
            words.append(word)
        if len(words) == WORDS:
            break
    return tuple(words)
