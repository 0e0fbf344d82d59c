# SPDX-License-Identifier: Apache-2.0
"""Compression of one field before it is sealed.

First byte:

- 0: the rest is the data.
- 1: the rest is one zstd frame without its magic number.
- 2: the same, made with dictionary 1.

The shorter of the data and its frame is chosen, so random bytes grow by one byte only. Data of up to 4,096 bytes are
tried with the dictionary, longer ones without: each way costs a tenth of a millisecond. Each field is compressed
alone: sizes then say nothing about what two fields have in common. They do say how compressible a field is, like any
size on disk, and with a dictionary how ordinary its English is.

A message of chat is too short to repeat itself. The dictionary has what such messages say again and again, and takes a
third off them. It holds no text that anybody said (tools/dictionary.py says how it is made), it comes with the package,
and it never changes: its digest is below, and is checked when it is loaded. Another dictionary would get another mark,
which this version refuses.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import zstandard

from ipse.errors import VerificationError
from ipse.wire.digest import sha256

MAX_PLAIN_BYTES = 64 * 1024 * 1024
"""No field or snapshot is larger; a frame that claims more is refused before memory is taken."""

SHORT_BYTES = 4096
"""Up to here the dictionary is used. Longer texts repeat themselves, and hardly gain by it."""

_LEVEL = 19
_TYPICAL_BYTES = 256
"""The dictionary's search tables are made once, for data of about this size."""

_PLAIN, _ZSTD, _ZSTD_DICTIONARY_1 = b"\x00", b"\x01", b"\x02"
_DICTIONARY_1_BYTES = 65_536
_DICTIONARY_1_SHA256 = "c4889f4fca6698ecfaf297e95e8866b0c60a80159f7e19cc1ae40b4dfd309e53"


def compress(data: bytes, *, words: bool = True) -> bytes:
    """The shorter of the data and its zstd frame, marked. Short text is tried with the dictionary.

    Args:
        words: whether it is text. Short data of another kind, like coded numbers, are not tried: they do not shrink.

    Raises:
        ValueError: if the data are longer than ``MAX_PLAIN_BYTES``.
    """
    if len(data) > MAX_PLAIN_BYTES:
        raise ValueError(f"Expected at most {MAX_PLAIN_BYTES} bytes to compress, got {len(data)}")
    if len(data) <= SHORT_BYTES:
        if not words:
            return _PLAIN + data
        compressor = zstandard.ZstdCompressor(dict_data=_dictionary(), compression_params=_of_dictionary())
        frame = _ZSTD_DICTIONARY_1 + compressor.compress(data)
    else:
        frame = _ZSTD + zstandard.ZstdCompressor(compression_params=_parameters(len(data))).compress(data)
    return frame if len(frame) <= len(data) else _PLAIN + data


def decompress(packed: bytes) -> bytes:
    """What ``compress`` was given.

    Raises:
        VerificationError: for bytes that are not of this form, and for frames that claim too much.
    """
    mark, body = packed[:1], packed[1:]
    if mark == _PLAIN and len(body) <= MAX_PLAIN_BYTES:
        return body
    if mark not in (_ZSTD, _ZSTD_DICTIONARY_1):
        raise VerificationError(
            "Compressed data have an unknown first byte or are too long.", "They are damaged, or made by a newer Ipse."
        )
    dictionary = _dictionary() if mark == _ZSTD_DICTIONARY_1 else None
    try:
        claimed = zstandard.get_frame_parameters(body, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
        if claimed > MAX_PLAIN_BYTES:  # also true of "unknown", which is 2**64 - 1
            raise VerificationError(f"Compressed data claim {claimed} bytes, more than {MAX_PLAIN_BYTES}.")
        reader = zstandard.ZstdDecompressor(dict_data=dictionary, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        return reader.decompress(body, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise VerificationError("Compressed data are damaged.") from error


def _parameters(source_bytes: int, dictionary_bytes: int = 0) -> zstandard.ZstdCompressionParameters:
    return zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        source_size=source_bytes,
        dict_size=dictionary_bytes,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,  # the mark names the dictionary
    )


@cache
def _of_dictionary() -> zstandard.ZstdCompressionParameters:
    return _parameters(_TYPICAL_BYTES, _DICTIONARY_1_BYTES)


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    """Dictionary 1, read and checked once.

    Raises:
        VerificationError: the file of the package is not what was shipped.
    """
    data = files("ipse.wire").joinpath("dictionary1.zdict").read_bytes()
    if sha256(data).hex() != _DICTIONARY_1_SHA256:
        raise VerificationError("The dictionary of this package is damaged.", "Install Ipse again.")
    dictionary = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
    dictionary.precompute_compress(compression_params=_of_dictionary())
    return dictionary
