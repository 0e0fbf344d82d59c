# SPDX-License-Identifier: Apache-2.0
"""Exports of conversations: what is read, what is dropped, what is refused and where."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import InputError
from ipse.forks.transcripts import Conversation, parse_transcripts, read_transcripts

HELLO = {"role": "user", "content": "Hello!"}
HI = {"role": "assistant", "content": "Hi, how are you?"}
FINE = {"role": "user", "content": "Fine."}


def parse(value: Any) -> list[Conversation]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_transcripts(data, "file.json")


def lines(*values: Any) -> bytes:
    return "\n".join(json.dumps(value) for value in values).encode()


def said(conversations: list[Conversation]) -> list[str]:
    return [i.turns[-1].text for c in conversations for i in c.interactions]


def digests(conversations: list[Conversation]) -> list[bytes]:
    return [i.digest for c in conversations for i in c.interactions]


def node(parent: str | None, children: list[str], role: str = "", *parts: Any, **more: Any) -> dict[str, Any]:
    message = {
        "author": {"role": role},
        "content": {"content_type": more.pop("content_type", "text"), "parts": list(parts)},
        "metadata": {},
        "weight": 1.0,
        "recipient": "all",
    }
    return {"parent": parent, "children": children, "message": (message | more) if role else None}


def chatgpt(**more: Any) -> dict[str, Any]:
    """A conversation whose second message was edited: the first wording is a branch that is no longer shown."""
    return {
        "id": "c1",
        "title": "A talk",
        "current_node": "n4",
        "mapping": {
            "root": node(None, ["n1"]),
            "n1": node("root", ["n2"], "system", "", weight=0.0),
            "n2": node("n1", ["old", "n3"], "user", "Ahoy!"),
            "old": node("n2", [], "assistant", "A reply that was regenerated."),
            "n3": node("n2", ["n4"], "assistant", "Ahoy, captain!"),
            "n4": node("n3", [], "user", "Where to?", {"content_type": "image_asset_pointer"}),
        },
    } | more


def test_every_user_turn_becomes_an_interaction_with_what_came_before_it() -> None:
    (conversation,) = parse([HELLO, HI, FINE])
    first, second = conversation.interactions
    assert [turn.text for turn in first.turns] == ["Hello!"]
    assert [turn.text for turn in second.turns] == ["Hello!", "Hi, how are you?", "Fine."]
    assert (first.reply, second.reply) == ("Hi, how are you?", "")


@pytest.mark.parametrize(
    "value",
    [
        [HELLO, HI, FINE],
        {"messages": [HELLO, HI, FINE]},
        [{"messages": [HELLO, HI, FINE]}],
        [[HELLO, HI, FINE]],
        lines({"messages": [HELLO, HI, FINE]}) + b"\n",
        {"user": "", "turns": [["user", "Hello!"], ["assistant", "Hi, how are you?"], ["user", "Fine."]]},
    ],
)
def test_the_same_words_are_the_same_interactions_in_every_shape(value: Any) -> None:
    assert digests(parse(value)) == digests(parse([HELLO, HI, FINE]))


def test_openai_parts_are_joined_and_tools_and_empty_content_are_left_out() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {}}]}
    called: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    (conversation,) = parse(
        [{"role": "developer", "content": "Be kind."}, parts, called, {"role": "tool", "content": "42"}, FINE]
    )
    assert [(t.role, t.text) for t in conversation.interactions[-1].turns] == [
        ("system", "Be kind."),
        ("user", "Look:"),
        ("user", "Fine."),
    ]


def test_our_own_format_keeps_users_apart() -> None:
    ada, bert = (
        {"user": name, "dialogues": [{"dialogue": n, "turns": [["user", f"{name} {n}"]]} for n in (1, 2)]}
        for name in ("ada", "bert")
    )
    conversations = parse(lines(ada, bert))
    assert [c.user for c in conversations] == ["ada", "ada", "bert", "bert"]
    assert said(conversations) == ["ada 1", "ada 2", "bert 1", "bert 2"]
    one_a_line = [{"user": "ada", "dialogue": n, "turns": [["user", f"ada {n}"]]} for n in (1, 2)]
    assert digests(parse(lines(*one_a_line))) == digests(conversations)[:2]


def test_of_chatgpts_tree_only_the_branch_shown_last_is_read() -> None:
    (conversation,) = parse([chatgpt()])
    assert [t.text for t in conversation.interactions[-1].turns] == ["Ahoy!", "Ahoy, captain!", "Where to?"]
    without_current = chatgpt()
    del without_current["current_node"]
    assert digests(parse([without_current])) == digests([conversation])


def test_what_chatgpt_hides_or_nobody_wrote_is_left_out() -> None:
    talk = chatgpt()
    talk["mapping"]["n4"]["children"] = ["n5"]
    talk["mapping"] |= {
        "n5": node("n4", ["n6"], "assistant", "search()", recipient="browser"),
        "n6": node("n5", ["n7"], "tool", "results"),
        "n7": node("n6", ["n8"], "assistant", content_type="code", content={"content_type": "code", "text": "1+1"}),
        "n8": node("n7", [], "user", "hidden", metadata={"is_visually_hidden_from_conversation": True}),
    }
    talk["current_node"] = "n8"
    assert said(parse([talk])) == ["Ahoy!", "Where to?"]


def test_a_file_that_grew_keeps_the_digests_it_had() -> None:
    before = digests(parse([chatgpt()]))
    grown = chatgpt(current_node="n6")
    grown["mapping"]["n4"]["children"] = ["n5"]
    grown["mapping"] |= {"n5": node("n4", ["n6"], "assistant", "South."), "n6": node("n5", [], "user", "Aye.")}
    after = digests(parse([grown, chatgpt(id="c2")]))
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)


def test_the_same_named_conversation_twice_counts_once_and_unnamed_repeats_are_numbered() -> None:
    named = digests(parse([chatgpt(), chatgpt()]))
    assert named[:2] == named[2:]
    unnamed = digests(parse([[HELLO, HI, FINE], [HELLO, HI, FINE]]))
    assert len(set(unnamed)) == 4
    assert digests(parse([[HELLO, HI, FINE], [HELLO, HI, FINE], [HELLO]]))[:4] == unnamed


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1, max_size=5)), max_size=8))
def test_digests_differ_wherever_the_conversation_so_far_differs(turns: list[tuple[str, str]]) -> None:
    record = {"user": "u", "dialogue": 1, "turns": [["user", "x"], *([r, t] for r, t in turns)]}
    found = {i.digest: i.turns for c in parse(lines(record)) for i in c.interactions}
    assert len(found) == len(set(found.values()))


def test_stray_control_characters_are_dropped_and_line_ends_made_one() -> None:
    assert said(parse([{"role": "user", "content": "a\u0000b\r\nc\u001b[31m\td\u0085 "}])) == ["ab\nc[31m\td"]


def test_compressed_files_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    plain = json.dumps([HELLO]).encode()
    for name, data in (
        ("a", plain),
        ("b", lzma.compress(plain)),
        ("c", gzip.compress(plain)),
        ("d", b"\xef\xbb\xbf" + plain),
    ):
        (tmp_path / name).write_bytes(data)
        assert said(read_transcripts(tmp_path / name)) == ["Hello!"]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", "file.json is empty"),
        (b" \n ", "file.json is empty"),
        (b"hello", "not JSON"),
        (b"[1, 2", "not JSON"),
        (b'"words"', "holds no conversations"),
        (b"[]", "no words of a user"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b'[{"role": "user", "content": ' + b"1" * 5000 + b"}]", "not JSON that can be read"),
        (lines(HELLO, HI), "line 1: no 'dialogues'"),
        (lines({"turns": [["user", "a"]]}, {"turns": 3}), "line 2: expected turns to be a list"),
        (lines({"turns": [["user", "a"]]}) + b"\n{", "line 2: not JSON"),
        (lines({"turns": [["user", "a"]]}) + b"\n\xff", "line 2: not UTF-8 (byte 0xff)"),
        (lines({"turns": [["user", "a", "b"]]}), "turn 1: expected [role, text], got 3 values"),
        (lines({"turns": [["user", "a"], ["pirate", "b"]]}), "turn 2: unknown role 'pirate'"),
        (lines({"turns": [["user", 7]]}), "turn 1: expected text to be a text, got int"),
        (lines({"user": "ada", "dialogues": [{"dialogue": 4, "turns": [["user", None]]}]}), "dialogue 4, turn 1"),
        (b'[{"role": "user", "content": "\\ud800"}]', "turn 1: a lone surrogate"),
        (b'[[{"role": "user", "content": "a"}], [{"role": "user", "content": {}}]]', "record 2, message 1"),
        (
            json.dumps([chatgpt(), chatgpt(current_node="gone")]).encode(),
            "record 2: the message tree is broken at node 'gone'",
        ),
        (b'[{"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}, "current_node": "a"}]', "broken at node 'a'"),
        (b'[{"mapping": {"a": 5}, "current_node": "a"}]', "node a: expected an object"),
        (b"\xfd7zXZ\x00 cut short", "compressed and damaged"),
        (b"PK\x03\x04 an archive", "ZIP"),
    ],
)
def test_a_bad_file_is_one_error_that_names_the_place(data: bytes, names: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_transcripts(path)
    assert names in caught.value.message
    assert "file.json" in caught.value.message
    assert caught.value.hint


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["user", "dialogues", "turns", "messages", "mapping", "role", "content", "current_node", "id"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_file_whatever_surfaces_as_anything_but_an_input_error(data: bytes) -> None:
    with contextlib.suppress(InputError):
        parse_transcripts(data, "file.json")


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(InputError, match="Cannot read"):
            read_transcripts(path)
