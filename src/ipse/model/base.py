# SPDX-License-Identifier: Apache-2.0
"""A base: the frozen model that forks share, ready to run.

    base = load_base()                                  the small chat base that ships with Ipse
    base = load_base("Qwen/Qwen3-0.6B", rank=8)         a hub id, fetched once
    base = load_base("models/my-llama", device="cuda", dtype="bfloat16")

Loading is: find the directory, name the weights by digest, find the linears to adapt, take or make a basis,
choose a runner. The Llama-shaped families run on the lean forward and never import transformers, which
halves the start-up time; every other supported family runs on its own module tree.

A base is named by its weights alone. The same weights under an edited ``config.json`` have the same name
and may answer differently.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipse.errors import BaseDamaged, BaseMismatch, InputError, UnsupportedArchitecture
from ipse.model import source as sources
from ipse.model.basis import Basis, check_fits, layout_of, load_basis
from ipse.model.chat import ChatTokenizer
from ipse.model.families import AdaptedLinear, Anatomy, anatomy, check_family
from ipse.model.layout import StateLayout
from ipse.model.lean import LeanRunner
from ipse.model.runner import Runner
from ipse.model.subspace import DEFAULT_RANK, Progress, WeightOf, cached_svd_basis
from ipse.model.weights import check_shapes, expected_shapes, find_weight_files, read_tensors, weight_digest

logger = logging.getLogger(__name__)

BASIS_FILE = "basis.safetensors"
"""A base that brings its own basis has it beside its weights, under this name."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_SAMPLING_KEYS = ("max_new_tokens", "temperature", "top_p")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """Which base.

    Attributes:
        base_id: first 8 bytes of the digest, 16 hex characters.
        name: for people; proves nothing.
        digest: SHA-256 of the weights, hex.
    """

    base_id: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """What the rest of Ipse needs to know of a base's shape."""

    family: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    window: int
    """Tokens that fit, prompt and reply together."""


@dataclass(frozen=True, eq=False)
class Base:
    """A loaded base. Frozen like its weights: forks are made beside it, never of it."""

    reference: ModelReference
    config: BaseConfig
    anatomy: Anatomy
    basis: Basis
    layout: StateLayout
    tokenizer: ChatTokenizer
    runner: Runner
    directory: Path
    sampling_defaults: Mapping[str, float]
    """From generation_config.json: those of max_new_tokens, temperature and top_p that it states."""
    dtype: torch.dtype
    model: Any = None
    """The transformers module tree, where the runner works on one; else None, see :meth:`module`."""

    @property
    def window(self) -> int:
        """Tokens that fit, prompt and reply together."""
        return self.config.window

    def module(self) -> Any:
        """The base as a module tree of transformers, loaded now if the runner has none."""
        if self.model is not None:
            return self.model
        return sources.load_module(self.directory, self.dtype, self.runner.device)


def load_base(
    ref: str | Path | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    rank: int | None = None,
    basis: str | Path | Basis = "auto",
    path: str = "auto",
    progress: Progress | None = None,
) -> Base:
    """Load a base and everything that forks on it share.

    Args:
        ref: a directory, a hub id, or None for the base that ships with Ipse.
        device: cpu, cuda (or cuda:1) or mps.
        dtype: float32 or bfloat16, of the frozen weights; personal numbers are float32 either way.
        rank: r of the basis; None takes that of the base's own basis, or 8.
        basis: "auto" takes the basis that lies beside the weights if its rank fits, else one by SVD;
            "svd"; or the path of a basis file, or a basis.
        path: "auto" takes the lean forward where it is right for this base; "lean" or "module" insist.
        progress: called while an SVD basis is computed, which happens once per base and rank.

    Raises:
        BaseNotFound, BaseDamaged, UnsupportedArchitecture: about the base.
        BaseMismatch: the basis is another base's.
        InputError: a device, precision, rank or path that is not to be had.
    """
    place, precision = _device(device), _dtype(dtype)
    if path not in ("auto", "lean", "module"):
        raise InputError(f"Expected path 'auto', 'lean' or 'module', got {path!r}.", "Leave it at 'auto'.")
    source = sources.find_source(ref)
    config = sources.read_config(source.directory)
    check_family(config)
    config = sources.complete_config(source.directory, config)
    body = anatomy(config)
    files = find_weight_files(source.directory)
    digest = weight_digest(files)
    reference = ModelReference(digest[:16], source.name, digest)
    tokenizer = ChatTokenizer.load(source.directory)

    lean = _takes_lean(path, config)
    read = _read_lean if lean else _read_module
    weights, model, weight_of = read(source.directory, files, config, precision, place)
    chosen = _basis(basis, rank, source.directory, digest, body, weight_of, progress)
    _check_basis(chosen, body, weights)
    layout = layout_of(reference.base_id, chosen, body.hidden_size, body.layers)
    runner: Runner
    if lean:
        runner = LeanRunner(config, weights, chosen, layout, device=place, dtype=precision)
    else:
        from ipse.model.module import ModuleRunner

        runner = ModuleRunner(model, body, chosen, layout)
    defaults = _sampling_defaults(source.directory)
    summary = _summary(config, body)
    return Base(
        reference, summary, body, chosen, layout, tokenizer, runner, source.directory, defaults, precision, model
    )


def _takes_lean(path: str, config: Mapping[str, Any]) -> bool:
    lean = path != "module" and LeanRunner.supports(config)
    if path == "lean" and not lean:
        raise UnsupportedArchitecture(
            f"The lean forward does not cover this {config['model_type']} configuration.", "Use path='auto'."
        )
    return lean


_Read = tuple[Mapping[str, Tensor], Any, WeightOf]
"""Weights by name, the module tree if there is one, and the fused weights as stored."""


def _read_lean(
    _: Path, files: tuple[Path, ...], config: Mapping[str, Any], __: torch.dtype, ___: torch.device
) -> _Read:
    shapes = expected_shapes(config)
    weights = read_tensors(files, frozenset(shapes))
    check_shapes(shapes, {name: tuple(t.shape) for name, t in weights.items()})
    return weights, None, _fuse(lambda names: {n: weights[n] for n in names})


def _read_module(
    directory: Path, files: tuple[Path, ...], _: Mapping[str, Any], dtype: torch.dtype, device: torch.device
) -> _Read:
    model = sources.load_module(directory, dtype, device)
    return dict(model.named_parameters()), model, _fuse(_stored_or_loaded(files, directory))


def _device(name: str) -> torch.device:
    kind = name.split(":", maxsplit=1)[0]
    hint = "Use device='cpu', which is always there."
    if kind not in ("cpu", "cuda", "mps"):
        raise InputError(f"Expected device 'cpu', 'cuda' or 'mps', got {name!r}.", hint)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Expected device 'cpu', 'cuda' or 'mps', got {name!r}.", hint) from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not there or (kind == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"This machine has no device {name!r} that torch can use.", hint)
    return device


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise InputError(f"Expected dtype 'float32' or 'bfloat16', got {name!r}.", "Leave it at 'float32'.")
    return _DTYPES[name]


WeightsByName = Callable[[tuple[str, ...]], Mapping[str, Tensor]]


def _fuse(read: WeightsByName) -> WeightOf:
    """The fused W (d_out, d_in) of a linear in float64, exactly as stored."""

    def weight_of(linear: AdaptedLinear) -> NDArray[np.float64]:
        names = tuple(f"{module}.weight" for module in linear.modules)
        stored = read(names)
        fused: NDArray[np.float64] = torch.cat([stored[name].detach().cpu().double() for name in names]).numpy()
        return fused

    return weight_of


def _stored_or_loaded(files: tuple[Path, ...], directory: Path) -> WeightsByName:
    """Weights in the precision that they are stored in, so that the basis does not depend on the loading's.

    Checkpoints that name their tensors in some older way are put through transformers, which knows it.
    """
    kept: dict[str, Tensor] = {}

    def read(names: tuple[str, ...]) -> Mapping[str, Tensor]:
        if kept:
            return kept
        stored = read_tensors(files, frozenset(names))
        if len(stored) == len(names) and files[0].suffix != ".bin":
            return stored
        if files[0].suffix == ".bin":
            kept.update(read_tensors(files))
        if not all(name in kept for name in names):
            kept.update(sources.load_module(directory, "auto", torch.device("cpu")).named_parameters())
        return kept

    return read


def _basis(
    wanted: str | Path | Basis,
    rank: int | None,
    directory: Path,
    digest: str,
    body: Anatomy,
    weight_of: WeightOf,
    progress: Progress | None,
) -> Basis:
    if rank is not None and rank < 1:
        raise InputError(f"Expected a rank of at least 1, got {rank}.", "Use rank 8 unless you measured a better one.")
    if isinstance(wanted, Basis):
        return wanted
    beside = directory / BASIS_FILE
    if wanted == "auto" and beside.is_file():
        own = load_basis(beside)
        if rank is None or rank == own.rank:
            return own
    if wanted in ("auto", "svd"):
        return cached_svd_basis(digest, body.linears, weight_of, rank or DEFAULT_RANK, progress)
    file = Path(wanted).expanduser()
    if not file.is_file():
        raise InputError(f"There is no basis file {str(wanted)!r}.", "Give a file, 'svd' or 'auto'.")
    given = load_basis(file)
    if rank is not None and rank != given.rank:
        raise BaseMismatch(
            f"The basis has rank {given.rank}, and rank {rank} was asked for.", "Leave the rank out to take the basis'."
        )
    return given


def _check_basis(basis: Basis, body: Anatomy, weights: Mapping[str, Tensor]) -> None:
    shapes: list[tuple[str, tuple[int, int]]] = []
    for linear in body.linears:
        sides = [tuple(weights[f"{module}.weight"].shape) for module in linear.modules]
        width = sides[0][-1]
        if sides != [(rows, width) for rows in linear.rows]:
            raise BaseDamaged(
                f"Expected the weights of {linear.name} to have {linear.rows} rows by config.json, got shapes {sides}.",
                "config.json and the weights are not of one model; fetch both again.",
            )
        shapes.append((linear.name, (sum(linear.rows), width)))
    check_fits(basis, shapes)


def _summary(config: Mapping[str, Any], body: Anatomy) -> BaseConfig:
    window = int(config["max_position_embeddings"])
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, Mapping) else None
    if kind in ("dynamic", "longrope"):
        # Past its first window such a base turns ALL angles of a batch by its longest row: one fork's answer
        # would depend on who shares its batch, and cached keys would no longer fit.
        first = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
        window = min(window, int(first or window))
    return BaseConfig(body.family, body.layers, body.hidden_size, int(config["vocab_size"]), window)


def _sampling_defaults(directory: Path) -> Mapping[str, float]:
    try:
        stated = json.loads((directory / "generation_config.json").read_text(encoding="utf-8"))
        found = {key: stated[key] for key in _SAMPLING_KEYS if isinstance(stated.get(key), int | float)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise BaseDamaged(f"The base's generation_config.json cannot be read: {error}.", "Fetch it again.") from error
    return {key: value for key, value in found.items() if not isinstance(value, bool)}
