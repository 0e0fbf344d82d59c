# SPDX-License-Identifier: Apache-2.0
"""The conversation's memory: what was said stays at hand, across sessions, within the model's window.

The newest turns stand in the context as they are. What no longer fits is searched with BM25 (Robertson et al.;
the ``bm25s`` library) for exchanges that have to do with the new message, and those are put back in front,
oldest first, as the turns that they were: a model that can continue a conversation can use them, and needs no
other prompt format.

Weights and memory do different work: memory holds single facts word for word, weights hold the manner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipse.errors import MessageTooLong
from ipse.model.chat import ChatTokenizer, Turn

if TYPE_CHECKING:
    import bm25s

REBUILD_EVERY = 32
"""The index is built anew after so many new exchanges; the newest ones are in the context anyway."""

MAX_FOUND = 4
"""At most so many found exchanges are put back into the context."""

_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    "a an and are as at be but by can could did do does for from had has have how i if in is it its me my of on or "
    "our so that the their them then there they this to was we were what when where which who why will with would "
    "you your please tell say know hello hi yes no ok okay thanks thank".split()
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message and its reply, as they stand now (an edited reply is the edit)."""

    message: str
    reply: str

    @property
    def turns(self) -> tuple[Turn, ...]:
        user = Turn("user", self.message)
        return (user, Turn("assistant", self.reply)) if self.reply else (user,)


class Memory:
    """Everything that was said to one fork, in order."""

    def __init__(self, exchanges: Sequence[Exchange] = ()) -> None:
        self._exchanges = list(exchanges)
        self._index: bm25s.BM25 | None = None
        self._indexed = 0

    def __len__(self) -> int:
        return len(self._exchanges)

    def __getitem__(self, position: int) -> Exchange:
        return self._exchanges[position]

    def add(self, exchange: Exchange) -> None:
        """Remember the newest exchange."""
        self._exchanges.append(exchange)

    def search(self, message: str, count: int, *, before: int) -> list[int]:
        """Positions (ascending) of the exchanges before ``before`` that have most to do with a message."""
        words = _words(message)
        if not words or before <= 0:
            return []
        index = self._fresh_index()
        if index is None:
            return []
        wanted = min(4 * count, self._indexed)
        found, scores = index.retrieve([words], k=wanted, show_progress=False)
        hits = [int(i) for i, score in zip(found[0], scores[0], strict=True) if score > 0 and int(i) < before]
        return sorted(hits[:count])

    def context(
        self,
        message: str,
        tokenizer: ChatTokenizer,
        budget_tokens: int,
        *,
        system: str = "",
        first: int = 0,
        aside: Sequence[Exchange] = (),
    ) -> list[Turn]:
        """The turns to answer a message with: found ones, then the newest, then the message itself.

        Args:
            budget_tokens: what the turns may take together; what the reply needs is the caller's to keep free.
            first: exchanges before this position are left alone, and nothing is searched if it is not 0.
            aside: exchanges that are newer than all and are not remembered (incognito).

        Raises:
            MessageTooLong: when the message alone does not fit.
        """
        head = [Turn("system", system)] if system else []
        last = Turn("user", message)
        left = budget_tokens - sum(tokenizer.count(t) for t in [*head, last])
        if left < 0:
            raise MessageTooLong(
                f"The message takes {tokenizer.count(last)} tokens, and {budget_tokens} fit the window.",
                "Shorten it, or send it in parts.",
            )
        exchanges = [*self._exchanges, *aside]

        def size(position: int) -> int:
            return sum(tokenizer.count(t) for t in exchanges[position].turns)

        # The newest turns may take two thirds, so that something found always has room.
        start, room = len(exchanges), (2 * left) // 3
        while start > first and (taken := size(start - 1)) <= room:
            start, room, left = start - 1, room - taken, left - taken
        found: list[int] = []
        for position in [] if first else self.search(message, MAX_FOUND, before=min(start, len(self))):
            if (taken := size(position)) <= left:
                found.append(position)
                left -= taken
        chosen = [*found, *range(start, len(exchanges))]
        return [*head, *(turn for p in chosen for turn in exchanges[p].turns), last]

    def _fresh_index(self) -> Any:
        if self._index is None or len(self._exchanges) - self._indexed >= REBUILD_EVERY:
            corpus = [_words(f"{e.message} {e.reply}") for e in self._exchanges]
            if not any(corpus):
                return None
            import bm25s

            self._index = bm25s.BM25()
            self._index.index(corpus, show_progress=False)
            self._indexed = len(self._exchanges)
        return self._index


def _words(text: str) -> list[str]:
    return [w for w in _WORD.findall(text.lower()) if w not in _COMMON]


def same_message(one: str, other: str) -> bool:
    """Whether two messages are the same but for case and punctuation."""
    words = _WORD.findall(one.lower())
    return bool(words) and words == _WORD.findall(other.lower())
