# SPDX-License-Identifier: Apache-2.0
"""Compression of one field before it is sealed.

First byte: 0 = the rest is the data; 1 = the rest is one zstd frame without its magic number. The shorter of the
two is chosen, so random bytes grow by one byte only. Each field is compressed alone: sizes then say nothing about
what two fields have in common. They do say how compressible a field is, like any size on disk.
"""

from __future__ import annotations

import zstandard

from ipse.errors import VerificationError

MAX_PLAIN_BYTES = 64 * 1024 * 1024
"""No field or snapshot is larger; a frame that claims more is refused before memory is taken."""

_LEVEL = 19
_PLAIN, _ZSTD = b"\x00", b"\x01"


def compress(data: bytes) -> bytes:
    """The shorter of the data and its zstd frame, marked.

    Raises:
        ValueError: if the data are longer than ``MAX_PLAIN_BYTES``.
    """
    if len(data) > MAX_PLAIN_BYTES:
        raise ValueError(f"Expected at most {MAX_PLAIN_BYTES} bytes to compress, got {len(data)}")
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        source_size=len(data),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=True,
        write_checksum=False,
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    return _ZSTD + frame if len(frame) < len(data) else _PLAIN + data


def decompress(packed: bytes) -> bytes:
    """What ``compress`` was given.

    Raises:
        VerificationError: for bytes that are not of this form, and for frames that claim too much.
    """
    mark, body = packed[:1], packed[1:]
    if mark == _PLAIN and len(body) <= MAX_PLAIN_BYTES:
        return body
    if mark != _ZSTD:
        raise VerificationError("Compressed data have an unknown first byte or are too long.")
    try:
        claimed = zstandard.get_frame_parameters(body, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
        if claimed > MAX_PLAIN_BYTES:  # also true of "unknown", which is 2**64 - 1
            raise VerificationError(f"Compressed data claim {claimed} bytes, more than {MAX_PLAIN_BYTES}.")
        reader = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        return reader.decompress(body, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise VerificationError("Compressed data are damaged.") from error
