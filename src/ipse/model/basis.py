# SPDX-License-Identifier: Apache-2.0
"""The shared subspace of a base: one frozen ``U`` and ``V`` per adapted linear, the same for every user.

    y = W x + s * U (R (V x))        U (d_out, r), R (r, r) personal, V (r, d_in)

A basis is held as 16-bit fixed point, so that it is a fact of bytes: everybody who has it computes from the
same numbers, and its digest names it. Entry ``q`` of a matrix with ``bits`` fraction bits stands for
``q * 2**-bits``; each matrix takes as many fraction bits as its largest entry allows, so the rounding error
is below ``2**-15`` of that entry. With orthonormal columns (``svd``) all values are within +-1.

A fork is bound to its basis for life: under another one its numbers mean nothing, which is why the state's
layout carries the digest. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from ipse.errors import BaseDamaged, BaseMismatch
from ipse.model.cachefolder import write_atomically
from ipse.model.layout import Kind, StateLayout, build_layout
from ipse.wire.coordinates import Coordinates

BasisKind = Literal["svd", "population"]
FORMAT = "ipse basis 1"
_METADATA_KEY = "ipse"
# One key only: safetensors writes several in an order of its own, and equal bases must be equal files.

Int16Matrix = NDArray[np.int16]
Float32Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LinearBasis:
    """``U`` and ``V`` of one adapted linear, as integers.

    Attributes:
        name: as :class:`ipse.model.families.AdaptedLinear` names it.
        kind: attention or ffn.
        u_fixed: (d_out, r) int16; ``U = u_fixed * 2**-u_bits``.
        v_fixed: (r, d_in) int16; ``V = v_fixed * 2**-v_bits``.
        u_bits, v_bits: fraction bits.
    """

    name: str
    kind: Kind
    u_fixed: Int16Matrix
    v_fixed: Int16Matrix
    u_bits: int
    v_bits: int

    @classmethod
    def of(cls, name: str, kind: Kind, u: NDArray[np.float64], v: NDArray[np.float64]) -> LinearBasis:
        """Round real matrices (d_out, r) and (r, d_in) to fixed point."""
        u_fixed, u_bits = fixed_point(u)
        v_fixed, v_bits = fixed_point(v)
        return cls(name, kind, u_fixed, v_fixed, u_bits, v_bits)

    def __post_init__(self) -> None:
        self.u_fixed.flags.writeable = False
        self.v_fixed.flags.writeable = False

    @cached_property
    def u(self) -> Float32Matrix:
        """(d_out, r) float32, read-only; exact: 16 bits fit a float32."""
        return _real(self.u_fixed, self.u_bits)

    @cached_property
    def v(self) -> Float32Matrix:
        """(r, d_in) float32, read-only."""
        return _real(self.v_fixed, self.v_bits)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of the linear that this adapts."""
        return self.u_fixed.shape[0], self.v_fixed.shape[1]


@dataclass(frozen=True, eq=False)
class Curvature:
    """How strongly each personal number changes what the base says in general.

    The Fisher information of general text at the base is ``G^T G`` per token: for a small change ``w`` of the personal
    numbers, ``|G w|**2 / 2`` is the KL divergence, in nats a token, from what the base would say.

    Attributes:
        fixed: (n, d) int16; ``G = fixed * 2**-bits``.
    """

    fixed: Int16Matrix
    bits: int

    @classmethod
    def of(cls, factor: NDArray[np.float64]) -> Curvature:
        """Round a real factor (n, d) to fixed point."""
        return cls(*fixed_point(factor))

    @cached_property
    def factor(self) -> Float32Matrix:
        """(n, d) float32: G."""
        return _real(self.fixed, self.bits)


@dataclass(frozen=True, eq=False)
class Basis:
    """The bases of all adapted linears of one base.

    Attributes:
        kind: ``svd`` of the weights, or ``population``: leading directions of other users' changes.
        rank: r.
        linears: in the order of the state.
        scale: s.
        embedding_scale, gate_scale: step scales of the output embedding and of the log-gates, see
            :class:`ipse.model.layout.Segment`; those of the ``R`` are 1.
        fitted_on: hashes of the ids of the public users that a population basis was fitted on, so that a
            benchmark can prove that it tests on none of them.
        coordinates: directions along which ordinary updates are taken and coded; None: every number by itself.
        curvature: what the base says in general, as learning protects it; None: it does not.
    """

    kind: BasisKind
    rank: int
    linears: tuple[LinearBasis, ...]
    scale: float = 1.0
    embedding_scale: float = 1.0
    gate_scale: float = 0.05
    fitted_on: tuple[str, ...] = ()
    coordinates: Coordinates | None = None
    curvature: Curvature | None = None

    def __post_init__(self) -> None:
        for part in self.linears:
            if part.u_fixed.shape[1:] != (self.rank,) or part.v_fixed.shape[:1] != (self.rank,):
                raise BaseDamaged(
                    f"Expected rank {self.rank} in {part.name} of the basis, got U {part.u_fixed.shape} "
                    f"and V {part.v_fixed.shape}.",
                    "Fetch or fit the basis again.",
                )

    @cached_property
    def digest(self) -> str:
        """SHA-256, hex, over every number and setting of the basis in one canonical form."""
        total = hashlib.sha256(_header(self).encode())
        for part in self.linears:
            total.update(np.ascontiguousarray(part.u_fixed, dtype="<i2").tobytes())
            total.update(np.ascontiguousarray(part.v_fixed, dtype="<i2").tobytes())
        for matrix in _whole_state(self).values():
            total.update(np.ascontiguousarray(matrix, dtype="<i2").tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        """Write the basis as one safetensors file, atomically; equal bases give equal bytes."""
        tensors: dict[str, NDArray[np.int16]] = {}
        for part in self.linears:
            tensors[f"{part.name}.u"] = np.ascontiguousarray(part.u_fixed)
            tensors[f"{part.name}.v"] = np.ascontiguousarray(part.v_fixed)
        tensors |= {name: np.ascontiguousarray(matrix) for name, matrix in _whole_state(self).items()}
        text = json.dumps({"header": _header(self), "digest": self.digest}, sort_keys=True)
        write_atomically(path, to_safetensors(tensors, {_METADATA_KEY: text}))


def load_basis(path: Path) -> Basis:
    """Read what :meth:`Basis.save` wrote.

    Raises:
        BaseDamaged: when the file is unreadable, incomplete, or its content does not have its digest.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {})[_METADATA_KEY]
            stored = json.loads(text)
            header = json.loads(stored["header"])
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}")
            linears = tuple(_read_linear(file, entry) for entry in header["linears"])
            shared = {name: _read_shared(file, name, header) for name in _SHARED if name in header}
        basis = Basis(
            kind=cast(BasisKind, str(header["kind"])),
            rank=int(header["rank"]),
            linears=linears,
            scale=float.fromhex(header["scale"]),
            embedding_scale=float.fromhex(header["embedding_scale"]),
            gate_scale=float.fromhex(header["gate_scale"]),
            fitted_on=tuple(str(h) for h in header["fitted_on"]),
            coordinates=Coordinates(*shared["coordinates"]) if "coordinates" in shared else None,
            curvature=Curvature(*shared["curvature"]) if "curvature" in shared else None,
        )
        if basis.digest != stored["digest"]:
            raise ValueError("its content does not have the digest that it states")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BaseDamaged(
            f"The basis file {path.name} cannot be read: {error}.", "Fetch it again, or delete it to have one made."
        ) from error
    return basis


def layout_of(base_id: str, basis: Basis, hidden_size: int, layers: int) -> StateLayout:
    """The layout of every fork on a base with this basis.

    Args:
        base_id: first 8 bytes of the base's weight digest, 16 hex characters.
        hidden_size: h.
        layers: L.
    """
    layout = build_layout(
        base_id,
        basis.digest,
        basis.rank,
        tuple((part.name, part.kind) for part in basis.linears),
        hidden_size=hidden_size,
        layers=layers,
        embedding_scale=basis.embedding_scale,
        gate_scale=basis.gate_scale,
        coordinates=basis.coordinates,
    )
    for name, size in (
        ("coordinates", basis.coordinates.matrix.shape[0] if basis.coordinates else layout.size),
        ("curvature", basis.curvature.fixed.shape[1] if basis.curvature else layout.size),
    ):
        if size != layout.size:
            raise BaseDamaged(
                f"The basis' {name} are for {size} personal numbers, this base's forks have {layout.size}.",
                "Fetch or fit the basis again.",
            )
    return layout


def check_fits(basis: Basis, shapes: Sequence[tuple[str, tuple[int, int]]]) -> None:
    """Refuse a basis that was made for other weights.

    Args:
        shapes: (name, (d_out, d_in)) of the base's adapted linears, in order.

    Raises:
        BaseMismatch: naming the first difference.
    """
    ours = [(part.name, part.shape) for part in basis.linears]
    if ours == list(shapes):
        return
    hint = "Use the basis that belongs to this base, or basis='svd'."
    if len(ours) != len(shapes):
        raise BaseMismatch(f"The basis is for {len(ours)} linears, the base has {len(shapes)}.", hint)
    for (our_name, our_shape), (name, shape) in zip(ours, shapes, strict=True):
        if (our_name, our_shape) != (name, shape):
            raise BaseMismatch(f"The basis expects {our_name} {our_shape}, the base has {name} {shape}.", hint)


def fixed_point(matrix: NDArray[np.float64]) -> tuple[Int16Matrix, int]:
    """The matrix in int16 with as many fraction bits as its largest entry allows."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if not np.isfinite(largest):
        raise BaseDamaged("A basis with infinite or undefined entries was given.", "Check the base's weights for NaN.")
    # largest * 2**bits <= 32767 with bits as large as can be; an all-zero matrix takes 15.
    bits = 15 if largest == 0.0 else int(np.floor(np.log2(32767.0 / largest)))
    fixed: Int16Matrix = np.rint(np.ldexp(matrix, bits)).astype(np.int16)
    return fixed, bits


def _real(fixed: Int16Matrix, bits: int) -> Float32Matrix:
    real: Float32Matrix = np.ldexp(fixed.astype(np.float32), -bits).astype(np.float32)
    real.flags.writeable = False
    return real


def _header(basis: Basis) -> str:
    """Everything but the matrices, as canonical JSON; floats in hex, so that they are exact."""
    parts = [
        {
            "name": p.name,
            "kind": p.kind,
            "u": [*p.u_fixed.shape, p.u_bits],
            "v": [*p.v_fixed.shape, p.v_bits],
        }
        for p in basis.linears
    ]
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": basis.kind,
        "rank": basis.rank,
        "scale": float(basis.scale).hex(),
        "embedding_scale": float(basis.embedding_scale).hex(),
        "gate_scale": float(basis.gate_scale).hex(),
        "fitted_on": list(basis.fitted_on),
        "linears": parts,
    }
    if basis.coordinates is not None:
        content["coordinates"] = [*basis.coordinates.matrix.shape, basis.coordinates.fraction_bits]
    if basis.curvature is not None:
        content["curvature"] = [*basis.curvature.fixed.shape, basis.curvature.bits]
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


_SHARED = ("coordinates", "curvature")
"""Matrices over the whole state, by their names in the file and its header."""


def _whole_state(basis: Basis) -> dict[str, Int16Matrix]:
    found = {}
    if basis.coordinates is not None:
        found["coordinates"] = basis.coordinates.matrix
    if basis.curvature is not None:
        found["curvature"] = basis.curvature.fixed
    return found


def _read_shared(file: Any, name: str, header: dict[str, Any]) -> tuple[Int16Matrix, int]:
    matrix = file.get_tensor(name)
    rows, columns, bits = header[name]
    if matrix.dtype != np.int16 or matrix.shape != (rows, columns) or not 0 <= bits <= 30:
        raise ValueError(f"{name} is not the int16 matrix that its header states")
    return matrix, int(bits)


def _read_linear(file: Any, entry: dict[str, Any]) -> LinearBasis:
    name = str(entry["name"])
    u, v = file.get_tensor(f"{name}.u"), file.get_tensor(f"{name}.v")
    if u.dtype != np.int16 or v.dtype != np.int16 or u.ndim != 2 or v.ndim != 2:
        raise ValueError(f"{name} is not two int16 matrices")
    return LinearBasis(name, cast(Kind, str(entry["kind"])), u, v, int(entry["u"][2]), int(entry["v"][2]))
