# SPDX-License-Identifier: Apache-2.0
"""Compression of fields."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from ipse.errors import VerificationError
from ipse.wire import compress as module
from ipse.wire.compress import SHORT_BYTES, compress, decompress

SENTENCE = b"It was the best of times, it was the worst of times, it was the age of wisdom."
MESSAGE = b"Could you help me find a place to eat tonight? Something cheap near the museum would be great."
FROZEN = [
    "00436f756c6420796f752068656c70206d652066696e64206120706c61636520746f2065617420746f6e696768"
    "743f20536f6d657468696e67206368656170206e65617220746865206d757365756d20776f756c642062652067"
    "726561742e",
    "01205e65020092c51011a0eda04b654737eb94b0ef2e0843d5a90160c963f20b759b97b3f96a1dc99d21b9324e"
    "6ea97d7bc361555aeead97dc6f7d431834f1710bf9cd905d79beeac3e61301010090248428",
    "02205e05010008430afcdd6c524a7e3513a80ecc9f64a62781e8cc7082c4278027ba8a1a0b02",
]
"""The message as the first version of each mark wrote it. Never change these."""


def test_random_bytes_grow_by_one_byte_only() -> None:
    data = os.urandom(300)
    assert len(compress(data)) == 301


def test_ordinary_text_shrinks() -> None:
    assert len(compress(SENTENCE)) < len(SENTENCE) * 0.85
    assert decompress(compress(SENTENCE)) == SENTENCE


def test_a_short_message_shrinks_by_a_third_and_names_its_dictionary_in_the_mark_alone() -> None:
    packed = compress(MESSAGE)
    assert packed[:1] == b"\x02"
    assert len(packed) < len(MESSAGE) * 2 / 3
    assert decompress(packed) == MESSAGE
    frame = zstandard.get_frame_parameters(packed[1:], format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    assert (frame.dict_id, frame.content_size) == (0, len(MESSAGE))


def test_zstd_itself_with_the_shipped_file_opens_the_frame() -> None:
    file = Path(module.__file__).with_name("dictionary1.zdict")
    reader = zstandard.ZstdDecompressor(
        dict_data=zstandard.ZstdCompressionDict(file.read_bytes()), format=zstandard.FORMAT_ZSTD1_MAGICLESS
    )
    assert reader.decompress(compress(MESSAGE)[1:]) == MESSAGE


@pytest.mark.parametrize("packed", FROZEN)
def test_what_was_written_with_each_mark_still_opens(packed: str) -> None:
    assert decompress(bytes.fromhex(packed)) == MESSAGE


def test_long_text_is_compressed_without_the_dictionary_and_needs_none() -> None:
    text = b" ".join(str(number).encode() for number in range(SHORT_BYTES))
    packed = compress(text)
    assert packed[:1] == b"\x01"
    assert decompress(packed) == text


def test_a_frame_opens_with_its_own_dictionary_only() -> None:
    with pytest.raises(VerificationError):
        decompress(b"\x01" + compress(MESSAGE)[1:])


def test_a_dictionary_that_was_altered_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = bytearray(Path(module.__file__).with_name("dictionary1.zdict").read_bytes())
    data[-1] ^= 1
    (tmp_path / "dictionary1.zdict").write_bytes(data)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    module._dictionary.cache_clear()
    try:
        with pytest.raises(VerificationError, match="dictionary"):
            compress(MESSAGE)
    finally:
        module._dictionary.cache_clear()


def test_threads_that_share_the_dictionary_do_not_disturb_each_other() -> None:
    texts = [f"{MESSAGE.decode()} And a table for {number}, please.".encode() for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decompress, pool.map(compress, texts))) == texts


@pytest.mark.parametrize("mark", [b"\x01", b"\x02"])
def test_every_cut_and_every_flipped_bit_opens_to_something_or_is_refused_as_damaged(mark: bytes) -> None:
    packed = mark + compress(MESSAGE)[1:]
    for length in range(1, len(packed)):
        with pytest.raises(VerificationError):
            decompress(packed[:length])
    for bit in range(8, 8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(VerificationError):
            decompress(bytes(damaged))


@pytest.mark.parametrize(
    "data", [b"", b"\x02abc", b"\x02", b"\x01", b"\x01\x00", b"\x01" + b"\xff" * 20, b"\x03", b"\xff"]
)
def test_bytes_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        decompress(data)


def test_bytes_after_the_frame_are_refused() -> None:
    with pytest.raises(VerificationError):
        decompress(compress(SENTENCE) + b"x")


@pytest.mark.parametrize("mark", [b"\x01", b"\x02"])
def test_a_frame_that_claims_a_terabyte_is_refused_before_memory_is_taken(mark: bytes) -> None:
    decompress(compress(MESSAGE))  # the dictionary is loaded once, and not counted here
    claim = mark + b"\xe0" + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"  # header: single segment, 8-byte size
    tracemalloc.start()
    with pytest.raises(VerificationError, match="claim"):
        decompress(claim)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_more_than_the_limit_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.wire.compress.MAX_PLAIN_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10"):
        compress(bytes(11))
    with pytest.raises(VerificationError):
        decompress(b"\x00" + bytes(11))
