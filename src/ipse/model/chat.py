# SPDX-License-Identifier: Apache-2.0
"""Turns of a conversation as tokens, for any tokenizer with a chat template.

A conversation is tokenised turn by turn, so it is known which tokens are whose: only the user's own words
carry an ordinary learning signal. The template is rendered for each prefix of the conversation and the
text it adds is that turn's piece::

    <|user|>I keep bees.<|end|>      header | content + end marker

Text that spells one of the tokenizer's special tokens is broken up before it is encoded, so that a user
(or a retrieved note) cannot open a turn in somebody else's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from ipse.errors import BaseDamaged

Role = Literal["system", "user", "assistant"]

PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""For bases that were never taught to chat and bring no template."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One person's words, once."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where one turn's content stands in the token sequence, its end marker included."""

    start: int
    stop: int


class ChatTokenizer:
    """A tokenizer together with its chat template."""

    def __init__(self, tokenizer: Tokenizer, template: str, special: dict[str, str], stop_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._template = environment.from_string(template)
        added = tokenizer.get_added_tokens_decoder()
        self._special_texts = tuple(t.content for t in added.values() if t.special and len(t.content) > 1)
        self._special_ids = frozenset(i for i, t in added.items() if t.special)
        self.takes_system = self._takes_system()
        self.stop_ids = stop_ids | self._end_marker()

    @classmethod
    def load(cls, directory: str | Path) -> ChatTokenizer:
        """Read ``tokenizer.json``, its template and its stop tokens from a model directory.

        Raises:
            BaseDamaged: when the files are absent or unreadable.
        """
        root = Path(directory)
        try:
            tokenizer = Tokenizer.from_file(str(root / "tokenizer.json"))
            config = _read_json(root / "tokenizer_config.json")
            template_file = root / "chat_template.jinja"
            template = template_file.read_text() if template_file.exists() else config.get("chat_template")
        except Exception as error:  # the Rust library raises bare Exception
            raise BaseDamaged(
                f"The tokenizer in {root.name} cannot be read: {error}",
                "A base needs tokenizer.json; save one with AutoTokenizer(...).save_pretrained(DIR).",
            ) from error
        if isinstance(template, list):  # several named templates
            template = {t["name"]: t["template"] for t in template}.get("default")
        special = {k: _content(config[k]) for k in ("bos_token", "eos_token") if config.get(k)}
        stops: set[int] = set()
        for source in (_read_json(root / "generation_config.json"), _read_json(root / "config.json")):
            eos = source.get("eos_token_id")
            stops.update(eos if isinstance(eos, list) else [eos] if isinstance(eos, int) else [])
        if "eos_token" in special and (eos_id := tokenizer.token_to_id(special["eos_token"])) is not None:
            stops.add(eos_id)
        return cls(tokenizer, template or PLAIN_TEMPLATE, special, frozenset(stops))

    # -- encoding ---------------------------------------------------------------------------------

    def encode(self, turns: Sequence[Turn]) -> tuple[list[int], list[Span]]:
        """Tokens of a whole conversation and where each turn's content stands.

        Returns:
            tokens, and one span per given turn.
        """
        tokens: list[int] = []
        spans: list[Span] = []
        turns = self._adapt(turns)
        before = ""
        for i, turn in enumerate(turns):
            text = self._render(turns[: i + 1], prompt=False)
            if not text.startswith(before):  # a template that rewrites earlier turns: take the whole anew
                text = before + self._render([turn], prompt=False)
            piece = text[len(before) :]
            before = text
            at = piece.find(turn.text) if turn.text else -1
            at = max(at, 0)
            tokens += self._ids(piece[:at])
            start = len(tokens)
            tokens += self._ids(piece[at:])
            spans.append(Span(start, len(tokens)))
        return tokens, spans

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Tokens after which the assistant speaks."""
        tokens, _ = self.encode(turns)
        adapted = self._adapt(turns)
        full = self._render(adapted, prompt=True)
        closed = self._render(adapted, prompt=False)
        opening = full[len(closed) :] if full.startswith(closed) else ""
        return tokens + self._ids(opening)

    def count(self, turn: Turn) -> int:
        """How many tokens one turn takes, its markers included (an upper bound: the first turn's)."""
        return len(self.encode([turn])[0])

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a reply, special tokens left out."""
        return self._tokenizer.decode([t for t in tokens if t not in self._special_ids], skip_special_tokens=True)

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    # -- inside -----------------------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []

    def _harmless(self, text: str) -> str:
        for special in self._special_texts:
            while special in text:
                text = text.replace(special, special[0] + " " + special[1:])
        return text.strip()

    def _adapt(self, turns: Sequence[Turn]) -> list[Turn]:
        """Break up special tokens; fold a system turn into the first user turn where the template has none."""
        clean = [Turn(t.role, self._harmless(t.text)) for t in turns]
        if self.takes_system or not any(t.role == "system" for t in clean):
            return clean
        system = "\n".join(t.text for t in clean if t.role == "system")
        rest = [t for t in clean if t.role != "system"]
        if not rest:
            return [Turn("user", system)]
        return [Turn(rest[0].role, f"{system}\n\n{rest[0].text}"), *rest[1:]]

    def _render(self, turns: Sequence[Turn], *, prompt: bool) -> str:
        messages = [{"role": t.role, "content": t.text} for t in turns]
        return self._template.render(messages=messages, add_generation_prompt=prompt, **self._special)

    def _takes_system(self) -> bool:
        try:
            turns = [Turn("system", "S"), Turn("user", "U")]
            return "S" in self._render(turns, prompt=False)
        except TemplateError:
            return False

    def _end_marker(self) -> frozenset[int]:
        """The token that closes the assistant's turn."""
        turns = [Turn("user", "u"), Turn("assistant", "X")]
        text = self._render(turns, prompt=False)
        tail = self._ids(text[text.rfind("X") + 1 :])
        return frozenset(t for t in tail[:1] if t in self._special_ids)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    data: dict[str, Any] = json.loads(path.read_text())
    return data
