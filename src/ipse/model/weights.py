# SPDX-License-Identifier: Apache-2.0
"""The weight files of a base: finding them, naming them by digest, reading them.

A base is named by what its weights ARE, not by where they lie: SHA-256 over every stored tensor in order of
name, each as one line of JSON ``[name, dtype, shape]`` and its bytes as stored. So the digest is the same
for one file or many shards and for any precision that the base is later run in. The stated dtype and shape
fix the count of bytes that follow, so no two sets of tensors share an encoding.

The digest of large files takes seconds, hence it is cached by (path, size, modification time) of each file.
A file that is changed behind an unchanged size and time goes unnoticed until the cache is deleted.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ipse.errors import BaseDamaged, BaseNotFound
from ipse.model.cachefolder import cache_folder, remember

_HINT = "Fetch the base's files again; a copy was probably interrupted."
_MAX_HEADER_BYTES = 100_000_000  # as the format's reference reader has it
_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_SIZES |= {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class _Stored:
    """One tensor of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    """Byte offsets in the file."""


def find_weight_files(directory: Path) -> tuple[Path, ...]:
    """The files that hold the weights, in the order in which transformers looks for them.

    Raises:
        BaseNotFound: when there are none.
        BaseDamaged: when the index names a shard that is not there.
    """
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (directory / single).is_file():
            return (directory / single,)
        if (directory / index).is_file():
            return _shards(directory, index)
    raise BaseNotFound(
        f"{directory.name} holds no weights: expected model.safetensors or pytorch_model.bin, whole or in shards.",
        "Give the directory that a model was saved to with save_pretrained, or a hub id such as 'org/name'.",
    )


def _shards(directory: Path, index: str) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads((directory / index).read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseDamaged(f"{index} cannot be read: {error}.", _HINT) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (directory / name).is_file():
            raise BaseDamaged(f"{index} names the shard {name!r}, which is not there.", _HINT)
    return tuple(directory / name for name in names)


def weight_digest(files: Sequence[Path]) -> str:
    """SHA-256, hex, over all stored tensors; from the cache when the files look unchanged.

    Raises:
        BaseDamaged: when a file is truncated or not what its name says.
    """
    seen = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    key = hashlib.sha256(json.dumps(seen).encode()).hexdigest()
    note = cache_folder() / "digests" / key
    try:
        known = note.read_text().strip()
        if len(known) == 64 and int(known, 16) >= 0:
            return known
    except (OSError, ValueError):
        pass
    digest = _digest(files)
    remember(note, digest.encode())
    return digest


def _digest(files: Sequence[Path]) -> str:
    total = hashlib.sha256()

    def add(name: str, dtype: str, shape: Sequence[int], data: Any) -> None:
        total.update(json.dumps([name, dtype, list(shape)], separators=(",", ":")).encode() + b"\n")
        total.update(data)

    if files[0].suffix == ".bin":
        tensors = read_tensors(files)
        for name, tensor in sorted(tensors.items()):
            if tensor.dtype not in _NAMES:
                raise BaseDamaged(f"{name} is stored as {tensor.dtype}, which no base should be.", _HINT)
            flat = tensor.contiguous().reshape(-1).view(torch.uint8)
            add(name, _NAMES[tensor.dtype], tensor.shape, flat.numpy().data)
        return total.hexdigest()
    places = [(entry, file) for file in files for entry in _read_header(file)]
    for entry, file in sorted(places, key=lambda place: place[0].name):
        with _bytes_of(file, entry) as piece:
            add(entry.name, entry.dtype, entry.shape, piece)
    return total.hexdigest()


@contextmanager
def _bytes_of(file: Path, entry: _Stored) -> Iterator[memoryview | bytes]:
    """One tensor as it lies on the disk, memory-mapped: it may be larger than what is free."""
    if entry.start == entry.stop:
        yield b""
        return
    with (
        file.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as whole,
        memoryview(whole) as view,
        view[entry.start : entry.stop] as piece,
    ):
        yield piece


def _read_header(file: Path) -> tuple[_Stored, ...]:
    """Parse and check a safetensors header: every tensor lies inside the file and has the size of its shape."""
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise ValueError("its header is cut off")
            header = json.loads(handle.read(length))
        entries = []
        for name, value in header.items():
            if name == "__metadata__":
                continue
            shape = tuple(int(n) for n in value["shape"])
            start, stop = (8 + length + int(n) for n in value["data_offsets"])
            if (
                min(shape, default=0) < 0
                or start < 8 + length
                or stop - start != math.prod(shape) * _SIZES[value["dtype"]]
            ):
                raise ValueError(f"{name} has impossible offsets")
            if stop > size:
                raise ValueError(f"it ends before {name} does: it is truncated")
            entries.append(_Stored(name, value["dtype"], shape, start, stop))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseDamaged(f"The weight file {file.name} cannot be read: {error}.", _HINT) from error
    return tuple(entries)


def read_tensors(files: Sequence[Path], names: frozenset[str] | None = None) -> dict[str, Tensor]:
    """The stored tensors, in the precision that they are stored in.

    Args:
        names: read these only; names that are not there are left out.

    Raises:
        BaseDamaged: when a file cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            if file.suffix == ".bin":
                # weights_only: the pickle may build tensors and nothing else.
                loaded = torch.load(file, map_location="cpu", weights_only=True)
                tensors |= {k: v for k, v in loaded.items() if isinstance(v, Tensor) and (names is None or k in names)}
                continue
            with safe_open(str(file), framework="pt") as opened:
                there = frozenset(opened.keys())
                for name in there if names is None else there & names:
                    tensors[name] = opened.get_tensor(name)
        except (*_LOAD_ERRORS, SafetensorError, AttributeError) as error:
            raise BaseDamaged(f"The weight file {file.name} cannot be read: {error}.", _HINT) from error
    return tensors


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a Llama-shaped base (Llama, Mistral, Qwen2, Qwen3), by its configuration.

    ``lm_head.weight`` is left out when it is tied to the embedding.
    """
    family = config["model_type"]
    hidden, ffn, vocabulary = (int(config[k]) for k in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, groups = int(config["num_attention_heads"]), int(config["num_key_value_heads"])
    width = int(config.get("head_dim") or hidden // heads)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    attention_bias = bool(config.get("attention_bias"))
    linears = {
        "self_attn.q_proj": (heads * width, hidden, attention_bias or family == "qwen2"),
        "self_attn.k_proj": (groups * width, hidden, attention_bias or family == "qwen2"),
        "self_attn.v_proj": (groups * width, hidden, attention_bias or family == "qwen2"),
        "self_attn.o_proj": (hidden, heads * width, attention_bias and family != "qwen2"),
        "mlp.gate_proj": (ffn, hidden, bool(config.get("mlp_bias"))),
        "mlp.up_proj": (ffn, hidden, bool(config.get("mlp_bias"))),
        "mlp.down_proj": (hidden, ffn, bool(config.get("mlp_bias"))),
    }
    for i in range(int(config["num_hidden_layers"])):
        at = f"model.layers.{i}"
        for name, (rows, columns, bias) in linears.items():
            shapes[f"{at}.{name}.weight"] = (rows, columns)
            if bias:
                shapes[f"{at}.{name}.bias"] = (rows,)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{name}.weight"] = (hidden,)
        if family == "qwen3":
            shapes[f"{at}.self_attn.q_norm.weight"] = shapes[f"{at}.self_attn.k_norm.weight"] = (width,)
    return shapes


def check_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not what the configuration says.

    Raises:
        BaseDamaged: naming the first tensor that is absent or of another shape.
    """
    for name, shape in expected.items():
        if name not in found:
            raise BaseDamaged(f"The weights lack {name}.", _HINT)
        if found[name] != shape:
            raise BaseDamaged(
                f"Expected {name} of shape {shape} by config.json, got {found[name]}.",
                "config.json and the weights are not of one model; fetch both again.",
            )
