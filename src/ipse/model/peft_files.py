# SPDX-License-Identifier: Apache-2.0
"""Adapters as PEFT keeps them: ``adapter_config.json`` and ``adapter_model.safetensors``.

What is written loads with ``PeftModel.from_pretrained``, without any code of ours. The head's bias is PEFT's
``lora_bias``, whole copies are its ``modules_to_save``. PEFT cannot merge an adapter with ``lora_bias`` into a base
whose modules have no bias, so such an export is to be worn, not merged.

What is read comes from anywhere: no pickles, no regular expressions out of the file, nothing that a LoRA of a causal
language model does not need. Anything else is refused and never guessed at. Reading proves nothing about where an
adapter comes from or what it was trained on.

Form: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from ipse.errors import InputError, VerificationError
from ipse.model.adapter import Adapter, LowRank
from ipse.model.cachefolder import write_atomically

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 4 * 1024 * 1024

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])(?:\.default)?\.(?P<what>weight|bias)")
_PLAIN_KEY = re.compile(r"[\w.]+")
_FLOATS = ("F16", "BF16", "F32", "F64")
_REFUSED = {
    "use_dora": "DoRA, whose change of a weight is not low rank",
    "fan_in_fan_out": "transposed weights (fan_in_fan_out)",
    "alora_invocation_tokens": "an aLoRA, which acts only behind certain tokens",
    "layer_replication": "replicated layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow routing",
}
"""Settings under which the tensors mean something else than ``scale * B A``."""

_BROKEN = "Fetch the adapter again, or save it once more with save_pretrained."


def write_peft(adapter: Adapter, directory: Path, *, base_name: str) -> list[Path]:
    """Write an adapter; the configuration last, so that half an adapter does not load.

    Args:
        base_name: what the adapter says it belongs to: a hub id or a folder's name, never a path.

    Returns:
        The files.
    """
    ranks = {path: part.a.shape[0] for path, part in adapter.low_rank.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {path: k for path, k in ranks.items() if k != rank}
    biased = any(part.bias is not None for part in adapter.low_rank.values())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,  # so that PEFT's own scaling, alpha / r, is 1
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "lora_bias": biased,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": _targets(adapter),
        "modules_to_save": sorted(adapter.whole) or None,
    }
    files = [directory / WEIGHTS_FILE, directory / CONFIG_FILE]
    write_atomically(files[0], to_safetensors(_tensors(adapter, biased=biased), {"format": "pt"}))
    write_atomically(files[1], (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    return files


def read_peft(directory: Path) -> Adapter:
    """Read a LoRA, made by whatever trained it.

    Raises:
        InputError: there is none, or it is of a kind that is no plain LoRA.
        VerificationError: the files are damaged, or do not fit together.
    """
    config = _read_config(directory)
    tensors = _read_tensors(directory)
    sides: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, dict[str, Tensor]] = {}
    unread: list[str] = []
    for name, tensor in tensors.items():
        short = name.removeprefix(_PREFIX)
        if found := _LOW_RANK.fullmatch(short):
            side = found["side"] + ("" if found["what"] == "weight" else " bias")
            sides.setdefault(found["path"], {})[side] = tensor
        elif "lora_magnitude_vector" in short:
            raise InputError(f"This adapter is {_REFUSED['use_dora']}.", "Import an ordinary LoRA.")
        elif (path := short.rpartition("."))[2] in ("weight", "bias"):
            whole.setdefault(path[0], {})[path[2]] = tensor
        else:
            unread.append(short)
    low_rank = {path: _low_rank(path, found, config) for path, found in sides.items()}
    if both := sorted(low_rank.keys() & whole.keys()):
        raise VerificationError(f"The adapter holds {both[0]} both as LoRA and as a whole.", _BROKEN)
    return Adapter(low_rank, whole, tuple(sorted(unread)))


# -- writing --------------------------------------------------------------------------------------


def _tensors(adapter: Adapter, *, biased: bool) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path, part in adapter.low_rank.items():
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = part.a.cpu().contiguous()
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = part.b.cpu().contiguous()
        if biased:  # one setting for all modules: those without a bias have one of zeros
            bias = part.bias if part.bias is not None else torch.zeros(len(part.b))
            tensors[f"{_PREFIX}{path}.lora_B.bias"] = bias.cpu().contiguous()
    for path, parameters in adapter.whole.items():
        for name, value in parameters.items():
            tensors[f"{_PREFIX}{path}.{name}"] = value.cpu().contiguous()
    return tensors


def _targets(adapter: Adapter) -> list[str]:
    """Last names of the modules, and whole paths where some of that name are copies instead."""
    copied = {path.rpartition(".")[2] for path in adapter.whole}
    return sorted({path if path.rpartition(".")[2] in copied else path.rpartition(".")[2] for path in adapter.low_rank})


# -- reading --------------------------------------------------------------------------------------


def _read_config(directory: Path) -> dict[str, Any]:
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise InputError(
            f"The folder {directory.name!r} holds no adapter: it has no {CONFIG_FILE}.",
            "Give the folder that PEFT's save_pretrained wrote.",
        )
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(file.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("it is not one JSON object")
        if not isinstance(config.get("peft_type"), str):
            raise ValueError("it names no peft_type")
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{CONFIG_FILE} cannot be read: {error}.", _BROKEN) from error
    if config["peft_type"] != "LORA":
        raise InputError(f"The adapter is of type {config['peft_type'][:40]!r}, not LORA.", "Import an ordinary LoRA.")
    for setting, what in _REFUSED.items():
        if config.get(setting):
            raise InputError(f"This adapter is {what}.", "Import an ordinary LoRA.")
    return config


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    file = directory / WEIGHTS_FILE
    if not file.is_file():
        pickled = " Pickled weights (.bin) are not read: they can run code." if list(directory.glob("*.bin")) else ""
        raise InputError(f"The adapter has no {WEIGHTS_FILE}.{pickled}", "Save it again as safetensors.")
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a mapping
                kind = opened.get_slice(name).get_dtype()
                if kind not in _FLOATS:
                    raise VerificationError(f"Tensor {name!r} of the adapter is {kind}, not floating point.", _BROKEN)
                tensors[name] = opened.get_tensor(name).float()
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise VerificationError(f"{WEIGHTS_FILE} cannot be read: {error}.", _BROKEN) from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise VerificationError(f"Tensor {name!r} of the adapter holds numbers that are not finite.", _BROKEN)
    return tensors


def _low_rank(path: str, found: Mapping[str, Tensor], config: Mapping[str, Any]) -> LowRank:
    a, b, bias = found.get("A"), found.get("B"), found.get("B bias")
    fits = a is not None and b is not None and a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] > 0
    if not fits or a is None or b is None or (bias is not None and bias.shape != b.shape[:1]) or "A bias" in found:
        raise VerificationError(f"The tensors of {path} in the adapter do not fit together.", _BROKEN)
    rank = a.shape[0]
    stated = _number(config, "r", "rank_pattern", path, 8)
    if stated != rank:
        raise VerificationError(f"{path} has rank {rank} in the adapter, and {stated:g} by its configuration.", _BROKEN)
    alpha = _number(config, "lora_alpha", "alpha_pattern", path, 8)
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return LowRank(a, scale * b, None if bias is None else scale * bias)


def _number(config: Mapping[str, Any], key: str, pattern: str, path: str, default: int) -> float:
    """A setting for one module: that of the pattern that names it, else the one for all."""
    patterns = config.get(pattern) or {}
    if not isinstance(patterns, dict):
        raise VerificationError(f"{pattern} in {CONFIG_FILE} is not an object.", _BROKEN)
    value = config.get(key, default)
    for name, own in patterns.items():
        plain = name.removeprefix("^")
        if not _PLAIN_KEY.fullmatch(plain):
            raise InputError(f"{pattern} of the adapter holds a regular expression.", "Name the modules one by one.")
        if path == plain or (plain == name and path.endswith(f".{name}")):
            value = own
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < abs(value) < 1e6:
        raise VerificationError(f"{key} of {path} in {CONFIG_FILE} is not a usable number.", _BROKEN)
    return value
