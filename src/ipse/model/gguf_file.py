# SPDX-License-Identifier: Apache-2.0
"""A fork's LoRA as one GGUF file, for llama.cpp.

Names of tensors come from the ``gguf`` package itself. As llama.cpp's ``convert_lora_to_gguf.py`` does it, the rows of
query and key are turned from "first halves, then second halves" of each head to pairs for the families that llama.cpp
runs as ``llama``; the others keep their order. Phi-3 keeps its fused query-key-value and gate-up there too.

llama.cpp adds ``alpha / r * B A`` to a weight and nothing else: no bias of the head, so no output embedding, and gates
only where they multiply the ``R``. What that leaves out is for the caller to measure and to say.

Form: llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipse.errors import MissingExtra, UnsupportedArchitecture
from ipse.model.adapter import Adapter

ARCHITECTURES: Mapping[str, str] = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi": "phi2",
    "phi3": "phi3",
}
"""Families, and what llama.cpp calls each."""

_TURNED = ("q_proj", "k_proj")

Float32Matrix = NDArray[np.float32]


def write_gguf(adapter: Adapter, config: Mapping[str, Any], path: Path, *, name: str) -> Path:
    """Write the low-rank parts of an adapter, atomically.

    Args:
        config: the base's configuration, complete (``model.config.to_dict()``).
        name: what the file says it is.

    Raises:
        MissingExtra: the ``gguf`` package is not installed.
        UnsupportedArchitecture: of a family that llama.cpp has no names for.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise MissingExtra("This needs gguf, which is not installed.", "Run: pip install 'ipse[gguf]'") from error
    family = str(config["model_type"])
    if family not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"llama.cpp's LoRA has no form here for a base of type {family!r}.",
            f"Export with --format peft, or use one of: {', '.join(ARCHITECTURES)}.",
        )
    arch = ARCHITECTURES[family]
    numbers = {text: number for number, text in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(numbers[arch], int(config["num_hidden_layers"]))
    rank = next(iter(adapter.low_rank.values())).a.shape[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        writer = gguf.GGUFWriter(temporary, arch)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_name(name)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))  # alpha / r = 1: the scale is in B
        for module, part in adapter.low_rank.items():
            named = names.get_name(module)
            if named is None:
                raise UnsupportedArchitecture(f"llama.cpp has no name for {module}.", "Export with --format peft.")
            b: Float32Matrix = part.b.cpu().numpy()
            writer.add_tensor(f"{named}.weight.lora_a", np.ascontiguousarray(part.a.cpu().numpy()))
            writer.add_tensor(f"{named}.weight.lora_b", np.ascontiguousarray(turned(b, module, config)))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def turned(b: Float32Matrix, module: str, config: Mapping[str, Any]) -> Float32Matrix:
    """Rows (d_out, r) of query and key in llama.cpp's order of rotary pairs; of all else as they are."""
    if ARCHITECTURES[str(config["model_type"])] != "llama" or module.rpartition(".")[2] not in _TURNED:
        return b
    heads = int(config["num_attention_heads"])
    if module.endswith("k_proj"):
        heads = int(config.get("num_key_value_heads") or heads)
    halves = b.reshape(heads, 2, len(b) // heads // 2, b.shape[1])
    return halves.swapaxes(1, 2).reshape(b.shape)
