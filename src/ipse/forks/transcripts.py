# SPDX-License-Identifier: Apache-2.0
"""Conversations that a user brings along, read as interactions to learn from.

Three kinds of file are told apart by what they hold, never by their name (``.xz`` and ``.gz`` are opened):

| kind | a record |
|---|---|
| our JSONL, one user a line | ``{"user": "ada", "dialogues": [{"dialogue": 1, "turns": [["user", "Ahoy!"], ...]}]}`` |
| our JSONL, one dialogue a line | ``{"user": "ada", "dialogue": 1, "turns": [["user", "Ahoy!"], ...]}`` |
| OpenAI messages | ``[{"role": "user", "content": "Ahoy!"}, ...]``, ``{"messages": [...]}``, a list or lines of those |
| ChatGPT's ``conversations.json`` | ``[{"id": ..., "mapping": {...}, "current_node": ...}]``: the branch shown last |

Every user turn becomes one `Interaction` with a digest of the conversation up to and including it. The
digest depends on nothing else, so a file that was replayed half, or has grown since, goes on where it
stopped and no turn is learned twice.

What is dropped: turns without words (tool calls, images), hidden turns, and control characters other
than line feed and tab, because exports carry stray ones and nobody wrote them. What is refused, with the
line or record named: anything that is not UTF-8, not JSON, or not one of the shapes above.

    >>> conversations = parse_transcripts(b'[{"role": "user", "content": "Ahoy!"}]', "example.json")
    >>> [i.turns[-1].text for c in conversations for i in c.interactions]
    ['Ahoy!']
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipse.errors import InputError
from ipse.forks.message import is_control
from ipse.model.chat import Role, Turn

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_SKIPPED_ROLES = frozenset({"tool", "function"})
_SHAPES = "Give our JSONL, OpenAI messages JSON, or the conversations.json of a ChatGPT export."


@dataclass(frozen=True, slots=True)
class Interaction:
    """One user turn in its context.

    Attributes:
        digest: 32 bytes, the same for the same words in the same conversation, in any file.
        turns: the context, oldest first, and the user's turn last.
        reply: what the assistant answered then; empty when the export has no answer.
    """

    digest: bytes
    turns: tuple[Turn, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One dialogue of one user.

    Attributes:
        user: who speaks, empty when the format does not say.
        name: where it stands in the file, for messages to the user: ``line 3, dialogue 7``.
        interactions: one for each user turn, in order.
    """

    user: str
    name: str
    interactions: tuple[Interaction, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    """A conversation before it is numbered: ``key`` is its lasting name, empty if the format gives none."""

    user: str
    key: str
    name: str
    turns: tuple[Turn, ...]


def read_transcripts(path: Path) -> list[Conversation]:
    """Read every conversation of a file.

    Raises:
        InputError: the file cannot be read or is none of the known kinds; names the line or record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.", "Check the path and its permissions.") from error
    return parse_transcripts(_decompressed(data, path.name), path.name)


def parse_transcripts(data: bytes, name: str) -> list[Conversation]:
    """The same for bytes in memory; ``name`` is only used in messages.

    Raises:
        InputError: as `read_transcripts`.
    """
    text = _decoded(data, name)
    if not text.strip():
        raise InputError(f"{name} is empty.", _SHAPES)
    raws = list(_lines(text, name) if _is_json_lines(text) else _document(text, name))
    conversations = _numbered(raws)
    if not any(conversation.interactions for conversation in conversations):
        raise InputError(f"{name} holds no words of a user.", _SHAPES)
    return conversations


def _decompressed(data: bytes, name: str) -> bytes:
    if data[:4] == b"PK\x03\x04":
        raise InputError(f"{name} is a ZIP archive.", "Unpack it and give the conversations.json inside.")
    try:
        if data[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(data)
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
    except (lzma.LZMAError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is compressed and damaged: {error}.", "Fetch or export it again.") from error
    return data


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}).", "Save the file as UTF-8."
        ) from error


def _is_json_lines(text: str) -> bool:
    """One JSON object on the first line and something after it, or a line of our own format."""
    first, _, rest = text.strip().partition("\n")
    if not first.startswith(("{", "[")):
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return bool(rest.strip()) or (isinstance(value, dict) and ("dialogues" in value or "turns" in value))


def _lines(text: str, name: str) -> Iterator[_Raw]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            yield from _record(_json(line, where), where)


def _document(text: str, name: str) -> Iterator[_Raw]:
    value = _json(text, name)
    if isinstance(value, dict):
        yield from _record(value, name)
    elif isinstance(value, list) and value and all(isinstance(m, dict) and "role" in m for m in value):
        yield _openai(value, name)
    elif isinstance(value, list):
        for number, record in enumerate(value, start=1):
            yield from _record(record, f"{name}, record {number}")
    else:
        raise InputError(f"{name} holds no conversations.", _SHAPES)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not JSON ({error.msg}, line {error.lineno}, column {error.colno}).", _SHAPES
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON that can be read ({error}).", _SHAPES) from error


def _record(value: Any, where: str) -> Iterator[_Raw]:
    """Every conversation of one line or list element."""
    if isinstance(value, list):
        yield _openai(value, where)
    elif not isinstance(value, dict):
        raise InputError(f"{where}: expected a conversation, got {type(value).__name__}.", _SHAPES)
    elif "mapping" in value:
        yield _chatgpt(value, where)
    elif "messages" in value:
        yield _openai(value["messages"], where)
    elif "dialogues" in value:
        for dialogue in _sequence(value["dialogues"], where, "dialogues"):
            yield _ours(_mapping(dialogue, where), _text(value.get("user", ""), where, "user"), where)
    elif "turns" in value:
        yield _ours(value, _text(value.get("user", ""), where, "user"), where)
    else:
        raise InputError(f"{where}: no 'dialogues', 'turns', 'messages' or 'mapping' in it.", _SHAPES)


def _ours(dialogue: Mapping[str, Any], user: str, where: str) -> _Raw:
    key = dialogue.get("dialogue", "")
    if not isinstance(key, int | str):
        raise InputError(f"{where}: 'dialogue' is neither a number nor a text.", _SHAPES)
    place = f"{where}, dialogue {key}" if key != "" else where
    turns = []
    for number, turn in enumerate(_sequence(dialogue.get("turns"), place, "turns"), start=1):
        pair = _sequence(turn, f"{place}, turn {number}", "a turn")
        if len(pair) != 2:
            raise InputError(f"{place}, turn {number}: expected [role, text], got {len(pair)} values.", _SHAPES)
        turns.append((pair[0], _text(pair[1], f"{place}, turn {number}", "text")))
    return _Raw(user, f"{user}\x00{key}" if key != "" else "", place, _turns(turns, place))


def _openai(messages: Any, where: str) -> _Raw:
    turns = []
    for number, message in enumerate(_sequence(messages, where, "messages"), start=1):
        place = f"{where}, message {number}"
        content = _mapping(message, place).get("content")
        if isinstance(content, list):
            parts = [_mapping(part, place) for part in content]
            content = "\n".join(_text(p.get("text"), place, "text") for p in parts if p.get("type") == "text")
        turns.append((message.get("role"), _text(content if content is not None else "", place, "content")))
    return _Raw("", "", where, _turns(turns, where))


def _chatgpt(conversation: Mapping[str, Any], where: str) -> _Raw:
    """The branch that the user saw last: from ``current_node`` up through the parents, then reversed."""
    mapping = _mapping(conversation["mapping"], where)
    turns = []
    for node_id in _branch(mapping, conversation.get("current_node"), where):
        place = f"{where}, node {node_id}"
        node = _mapping(mapping[node_id], place)
        message = node.get("message")
        if message is not None and not _is_hidden(_mapping(message, place)):
            author = _mapping(message.get("author"), place)
            turns.append((author.get("role"), _chatgpt_text(message.get("content"), place)))
    key = conversation.get("conversation_id") or conversation.get("id") or ""
    return _Raw("", _text(key, where, "id"), where, _turns(turns, where))


def _branch(mapping: Mapping[str, Any], current: Any, where: str) -> list[str]:
    """Node ids from root to ``current``; without one, from the root always to the youngest child."""
    path: list[str] = []
    seen: set[str] = set()
    upwards = current is not None
    if not upwards:
        roots = [k for k, n in mapping.items() if _mapping(n, where).get("parent") is None]
        current = roots[0] if roots else None
    while current is not None:
        if not isinstance(current, str) or current not in mapping or current in seen:
            raise InputError(f"{where}: the message tree is broken at node {current!r}.", "Export it again.")
        seen.add(current)
        path.append(current)
        node = _mapping(mapping[current], f"{where}, node {current}")
        if upwards:
            current = node.get("parent")
        else:
            children = _sequence(node.get("children", []), f"{where}, node {current}", "children")
            current = children[-1] if children else None
    return path[::-1] if upwards else path


def _is_hidden(message: Mapping[str, Any]) -> bool:
    metadata = message.get("metadata")
    flagged = isinstance(metadata, dict) and bool(metadata.get("is_visually_hidden_from_conversation"))
    return flagged or message.get("weight") == 0 or message.get("recipient", "all") not in ("all", None)


def _chatgpt_text(content: Any, where: str) -> str:
    """The words of a message; code, thoughts, pictures and tool output have none that a user wrote."""
    if not isinstance(content, dict) or content.get("content_type") not in ("text", "multimodal_text"):
        return ""
    parts = _sequence(content.get("parts", []), where, "parts")
    return "\n".join(part for part in parts if isinstance(part, str) and part)


def _turns(pairs: Iterable[tuple[Any, str]], where: str) -> tuple[Turn, ...]:
    turns = []
    for number, (role, text) in enumerate(pairs, start=1):
        if isinstance(role, str) and role in _SKIPPED_ROLES:
            continue
        if not isinstance(role, str) or role not in _ROLES:
            raise InputError(f"{where}, turn {number}: unknown role {role!r}.", "Use system, user or assistant.")
        cleaned = _cleaned(text, f"{where}, turn {number}")
        if cleaned:
            turns.append(Turn(_ROLES[role], cleaned))
    return tuple(turns)


def _cleaned(text: str, where: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: a lone surrogate is not Unicode text.", "Export the file again.") from error
    return "".join(c for c in text if not is_control(c)).strip()


def _numbered(raws: Sequence[_Raw]) -> list[Conversation]:
    """Give every user turn its digest.

    A conversation with a lasting name is known by it: the same one twice in a file counts once. Without
    a name, the second conversation that begins in the same words is another one, so repeats are numbered.
    """
    repeats: Counter[bytes] = Counter()
    conversations = []
    for raw in raws:
        chain = _sha256(b"ipse transcript 1", raw.key.encode())
        interactions = []
        for index, turn in enumerate(raw.turns):
            chain = _sha256(chain, turn.role.encode(), turn.text.encode())
            if turn.role != "user":
                continue
            digest = chain
            if not raw.key:
                digest = _sha256(chain, repeats[chain].to_bytes(8, "big"))
                repeats[chain] += 1
            reply = raw.turns[index + 1] if index + 1 < len(raw.turns) else None
            answer = reply.text if reply is not None and reply.role == "assistant" else ""
            interactions.append(Interaction(digest, raw.turns[: index + 1], answer))
        conversations.append(Conversation(raw.user, raw.name, tuple(interactions)))
    return conversations


def _sha256(*parts: bytes) -> bytes:
    """Digest of length-prefixed parts, so that no two lists of parts run together."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {type(value).__name__}.", _SHAPES)
    return value


def _sequence(value: Any, where: str, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected {what} to be a list, got {type(value).__name__}.", _SHAPES)
    return value


def _text(value: Any, where: str, what: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: expected {what} to be a text, got {type(value).__name__}.", _SHAPES)
    return value
