# SPDX-License-Identifier: Apache-2.0
"""From what a user calls a base to a directory, its configuration, and a loaded module tree.

The network is touched only here and only through ``huggingface_hub``, when the user names a hub id. No code
that comes with a model is ever run (``trust_remote_code`` stays off), and pickled weights are read by torch's
restricted unpickler.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ipse.errors import BaseDamaged, BaseNotFound

SHIPPED_NAME = "ipse-base"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "basis.safetensors"]
_HINT = "Fetch the base's files again; a copy was probably interrupted."

_LEAN_KEYS = {
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
}
_COMPLETE: Mapping[str, frozenset[str]] = {
    "llama": frozenset(_LEAN_KEYS),
    "mistral": frozenset(_LEAN_KEYS | {"sliding_window"}),
    "qwen2": frozenset(_LEAN_KEYS),
    "qwen3": frozenset(_LEAN_KEYS | {"head_dim"}),
}
"""Keys without which a config.json leans on defaults that only transformers knows."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a base was found."""

    directory: Path
    name: str
    """For people: a hub id, a folder's name, or the shipped base's. Never a path."""
    shipped: bool


def find_source(ref: str | Path | None) -> Source:
    """The directory that ``ref`` means: None is the base in this package, else a directory or a hub id.

    Raises:
        BaseNotFound: when there is no such directory, and no such model on the hub or in its cache.
    """
    if ref is None:
        directory = Path(str(files("ipse").joinpath("shipped", "base")))
        if not (directory / "config.json").is_file():
            raise BaseNotFound(
                "This installation comes without the shipped base.",
                "Install the ipse package again, or name a base: a directory or a hub id.",
            )
        return Source(directory, SHIPPED_NAME, True)
    directory = Path(ref).expanduser()
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise BaseNotFound(
                f"The folder {directory.name} holds no model: it has no config.json.",
                "Give the directory that a model was saved to with save_pretrained, or a hub id such as 'org/name'.",
            )
        return Source(directory, directory.resolve().name, False)
    if isinstance(ref, Path) or not _HUB_ID.fullmatch(ref):
        raise BaseNotFound(
            f"There is no directory {str(ref)!r}, and it is not a hub id either.",
            "Give a directory, or a hub id such as 'org/name'; leave it out for the base that ships with Ipse.",
        )
    return Source(_from_hub(ref), ref, False)


def _from_hub(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        found = Path(snapshot_download(repo, allow_patterns=[*_SMALL_FILES, "model*.safetensors"]))
        if not any(found.glob("model*.safetensors")):
            found = Path(snapshot_download(repo, allow_patterns=[*_SMALL_FILES, "pytorch_model*.bin"]))
    except GatedRepoError as error:
        raise BaseNotFound(
            f"{repo} asks its users to accept terms first.",
            f"Accept them at https://huggingface.co/{repo} and log in with: hf auth login",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BaseNotFound(
            f"There is no directory {repo!r}, and no such model on the hub (or it is private).",
            "Check the name; for a private model log in with: hf auth login",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise BaseNotFound(
            f"There is no directory {repo!r}; as a hub id it is not in the local cache, and the hub cannot be reached.",
            "Connect once to fetch it, or give the directory of a model; "
            "the base that ships with Ipse needs no network: leave the name out.",
        ) from error
    if not (found / "config.json").is_file():
        raise BaseNotFound(f"{repo} holds no model: it has no config.json.", "Check the name.")
    return found


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json``; with the defaults of its family filled in when it is one of ours and leaves some out.

    Raises:
        BaseDamaged: when it is not a JSON object, or its family cannot make sense of it.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError) as error:
        raise BaseDamaged(f"The base's config.json cannot be read: {error}.", _HINT) from error
    return config


def complete_config(directory: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with its family's defaults, asking transformers only where they are needed."""
    needed = _COMPLETE.get(config.get("model_type", ""))
    rope = config.get("rope_parameters")
    has_theta = "rope_theta" in config or (isinstance(rope, dict) and "rope_theta" in rope)
    if needed is not None and has_theta and needed <= config.keys():
        return config
    from transformers import AutoConfig

    try:
        full: dict[str, Any] = AutoConfig.from_pretrained(directory, local_files_only=True).to_dict()
    except Exception as error:  # strict configurations raise many kinds, all meaning the same
        raise BaseDamaged(f"The base's config.json makes no sense: {error}", _HINT) from error
    return full


def load_module(directory: Path, dtype: torch.dtype | str, device: torch.device) -> Any:
    """The base as a module tree of transformers, in eval mode, with frozen weights.

    Args:
        dtype: or "auto", the precision that it is stored in.

    Raises:
        BaseDamaged: when weights are absent, unreadable, or of another shape than the configuration says.
            (transformers alone would fill absent ones with random numbers.)
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                directory, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except (
        *(OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError),
        *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile),
    ) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BaseDamaged(f"The base's weights cannot be loaded: {first_line}", _HINT) from error
    absent = sorted(str(k) for k in info["missing_keys"])
    other = sorted(str(k) for k in info["mismatched_keys"])
    if absent or other:
        what = f"lack {absent[0]}" if absent else f"do not have the shape that config.json states: {other[0]}"
        raise BaseDamaged(f"The base's weights {what}.", _HINT)
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing on the terminal: only the command line does that here."""
    from transformers.utils import logging as chatter

    before, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(before)
        if bars:
            chatter.enable_progress_bar()
