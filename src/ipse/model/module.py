# SPDX-License-Identifier: Apache-2.0
"""The Runner for any supported Hugging Face module tree, by hooks.

    qkv, o, gate_up, down   y  <-  W x + s U_m (R (V x))     U_m: this module's rows of the fused U
    gates                   y  <-  y * exp(g)
    head                    h  <-  h + output                so soft-capping of logits and the like stay right

The hooks stay on the tree and do nothing unless a call of this runner is in progress in the same thread, so
the module still answers as the bare base when somebody else calls it, and two threads may use one base.
``personal=None`` never starts a call: no personal operation at all is run.

Personal maths is done in float32 and cast to the module's precision at the end. What a zero state adds is
an exact zero and what it multiplies by is an exact one: a new fork answers as its base, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache as HFCache
from transformers.cache_utils import CacheLayerMixin

from ipse.errors import BaseDamaged, MessageTooLong
from ipse.model.basis import Basis
from ipse.model.families import HEAD, AdaptedLinear, Anatomy, Gate
from ipse.model.layout import StateLayout
from ipse.model.runner import Cache


@dataclass(slots=True)
class _Call:
    """One forward with personal parts, or one that wants few logits."""

    rows: Tensor
    cols: Tensor
    """(N,) int64: which hidden states go to the head."""
    personal: Tensor | None
    """(B, d) float32."""
    gates: Tensor | None = None
    """(B, L, 2) float32, already exponentiated."""
    last: tuple[str, Tensor, Tensor] | None = field(default=None)
    """Name, x and R V x of the linear met last: q, k and v share them."""


class PersonalHook:
    """A hook of ours, recognisable so that a copy of the tree can be freed of it."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> PersonalHook:
        return self  # a runner's lock and buffers are not part of the tree


@dataclass(frozen=True, slots=True)
class _Part:
    """One adapted linear on the device."""

    name: str
    r_slice: slice
    v: Tensor
    """(r, d_in) float32."""
    s_u: Tensor
    """(d_out, r) float32, scaled by s."""


class ModuleRunner:
    """Runs ``model`` with the personal parts of many forks in one batch.

    Args:
        model: a causal LM of transformers, of a family in :mod:`ipse.model.families`. It is put into eval
            mode, its weights are frozen, and hooks are registered on it.
        anatomy: of its configuration.
    """

    def __init__(self, model: Any, anatomy: Anatomy, basis: Basis, layout: StateLayout) -> None:
        self.model = model.eval().requires_grad_(False)
        self._layout = layout
        self._rank = basis.rank
        self._config: Mapping[str, Any] = model.config.to_dict()
        self._device: torch.device = model.get_input_embeddings().weight.device
        self._dtype: torch.dtype = model.get_input_embeddings().weight.dtype
        self._layers = anatomy.layers
        self._output = layout["output"].slice
        self._gates = layout["gates"]
        self._local = threading.local()
        parts = {part.name: part for part in basis.linears}
        for linear in anatomy.linears:
            part = parts[linear.name]
            v = torch.from_numpy(part.v.copy()).to(self._device)
            s_u = torch.from_numpy(part.u * basis.scale).to(self._device)
            self._hook_linear(linear, _Part(linear.name, layout[linear.name].slice, v, s_u))
        for gate in anatomy.gates:
            module_at(model, gate.module).register_forward_hook(PersonalHook(self._gate_hook(gate)))
        module_at(model, HEAD).register_forward_pre_hook(PersonalHook(self._before_head))

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def head(self) -> Tensor:
        """(vocabulary, h): the output matrix. A family may scale or cap what comes out of it."""
        weight: Tensor = module_at(self.model, HEAD).weight
        return weight

    @property
    def vocab_size(self) -> int:
        return len(self.head)

    # -- the Runner protocol ----------------------------------------------------------------------

    def select(self, tokens: Tensor, personal: Tensor | None, rows: Tensor, cols: Tensor) -> Tensor:
        """See :meth:`ipse.model.runner.Runner.select`."""
        with self._calling(personal, rows, cols):
            logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits[0].float()  # (1, N, vocabulary) -> (N, vocabulary)

    def new_cache(self, batch: int, capacity: int) -> ModuleCache:
        """See :meth:`ipse.model.runner.Runner.new_cache`."""
        return ModuleCache(self._layers, batch, capacity, self._device)

    @torch.inference_mode()
    def extend(self, tokens: Tensor, lengths: Tensor, personal: Tensor | None, cache: Cache) -> Tensor:
        """See :meth:`ipse.model.runner.Runner.extend`.

        Raises:
            MessageTooLong: when the chunk does not fit the cache; the cache is unchanged.
        """
        assert isinstance(cache, ModuleCache)
        positions = cache.begin(lengths, tokens.shape[1])
        mask = self._mask(positions.clamp(max=cache.capacity - 1), cache.stop)
        with self._calling(personal, torch.arange(len(tokens), device=self._device), lengths - 1):
            logits: Tensor = self.model(
                input_ids=tokens,
                attention_mask=mask,
                # A pad behind the last place would ask for an angle past the window: any other does as well.
                position_ids=positions.clamp(max=cache.capacity - 1),
                past_key_values=cache.inner,
                use_cache=True,
            ).logits
        cache.finish(lengths)
        return logits[0].float()

    # -- inside -----------------------------------------------------------------------------------

    @contextmanager
    def _calling(self, personal: Tensor | None, rows: Tensor, cols: Tensor) -> Iterator[None]:
        call = _Call(rows, cols, None if personal is None else personal.float())
        if call.personal is not None:
            call.gates = call.personal[:, self._gates.slice].exp().view(-1, *self._gates.shape)
        self._local.call = call
        try:
            yield
        finally:
            self._local.call = None

    def _call(self) -> _Call | None:
        call: _Call | None = getattr(self._local, "call", None)
        return call

    def _hook_linear(self, linear: AdaptedLinear, part: _Part) -> None:
        start = 0
        for path, rows in zip(linear.modules, linear.rows, strict=True):
            module = module_at(self.model, path)
            stop = start + rows
            own = _Part(part.name, part.r_slice, part.v, part.s_u[start:stop])
            module.register_forward_hook(PersonalHook(self._linear_hook(own)))
            start = stop

    def _linear_hook(self, part: _Part) -> Any:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor | None:
            call = self._call()
            if call is None or call.personal is None:
                return None
            x = inputs[0]  # (B, T, d_in)
            if call.last is None or call.last[0] != part.name or call.last[1] is not x:
                r = call.personal[:, part.r_slice].view(-1, self._rank, self._rank)
                middle = torch.bmm(F.linear(x.float(), part.v), r.transpose(1, 2))  # (B, T, r)
                call.last = (part.name, x, middle)
            return (y.float() + F.linear(call.last[2], part.s_u)).to(y.dtype)

        return after

    def _gate_hook(self, gate: Gate) -> Any:
        def after(_: nn.Module, __: tuple[Tensor, ...], y: Tensor) -> Tensor | None:
            call = self._call()
            if call is None or call.gates is None:
                return None
            loudness = call.gates[:, gate.layer, gate.column].view(-1, 1, 1)
            return (y.float() * loudness).to(y.dtype)

        return after

    def _before_head(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        call = self._call()
        if call is None:
            return None
        hidden = inputs[0][call.rows, call.cols]  # (N, h): the head is the widest product, so only where asked
        if call.personal is not None:
            hidden = (hidden.float() + call.personal[:, self._output][call.rows]).to(hidden.dtype)
        return (hidden.unsqueeze(0), *inputs[1:])

    def _mask(self, positions: Tensor, stop: int) -> Any:
        """Additive masks over the cache (B, 1, T, stop), by kind of layer where the family mixes kinds."""
        keys = torch.arange(stop, device=self._device)
        seen = keys <= positions[:, :, None]  # (B, T, S)
        floor = torch.finfo(self._dtype).min

        def additive(allowed: Tensor) -> Tensor:
            zero = torch.zeros(allowed.shape, dtype=self._dtype, device=self._device)
            return zero.masked_fill_(~allowed, floor).unsqueeze(1)

        window = self._config.get("sliding_window")
        near = seen if window is None else seen & (keys > positions[:, :, None] - int(window))
        if self._config["model_type"] in _MIXES_LAYER_KINDS:
            kinds = set(self._config.get("layer_types") or ("full_attention",))
            return {kind: additive(near if kind == "sliding_attention" else seen) for kind in kinds}
        return additive(near)


_MIXES_LAYER_KINDS = frozenset({"qwen2", "qwen3", "gemma2", "gemma3_text"})
"""Families whose forward takes one mask per kind of layer."""


class ModuleCache:
    """Keys and values by position, behind the cache interface of transformers.

    Each row's tokens stand at its own positions 0..length-1 without holes, whatever was padded when, so
    sliding windows count tokens and not columns, and appending costs no copy of what is there.
    """

    def __init__(self, layers: int, batch: int, capacity: int, device: torch.device) -> None:
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.capacity = capacity
        self.stop = 0
        """Slots that the chunk in progress may use."""
        self._longest = 0
        self._positions = torch.zeros(batch, 0, dtype=torch.int64, device=device)
        self._rows = torch.arange(batch, device=device)[:, None]
        self.inner = HFCache(layers=[_Slots(self) for _ in range(layers)])

    def begin(self, lengths: Tensor, chunk: int) -> Tensor:
        """Positions (B, chunk) of the next chunk; pads may lie past the capacity."""
        if self._longest + chunk > self.capacity and int((self.lengths + lengths).max()) > self.capacity:
            raise MessageTooLong(
                f"The chunk does not fit a cache of {self.capacity} tokens per row.",
                "Shorten the message, or make the cache larger.",
            )
        self._positions = self.lengths[:, None] + torch.arange(chunk, device=self.lengths.device)
        self.stop = min(self._longest + chunk, self.capacity)
        return self._positions

    def finish(self, lengths: Tensor) -> None:
        """Count the chunk's real tokens; its pads will be written over."""
        ragged = self._positions.shape[1] > 1
        self.lengths = self.lengths + lengths
        # Asking the device costs a wait: a chunk of one token has no pads, so its length is known.
        self._longest = int(self.lengths.max()) if ragged else self.stop

    def write(self, memory: Tensor, new: Tensor) -> Tensor:
        """Put ``new`` (B, heads, T, width) at the chunk's positions; the slots in use.

        Slot ``capacity`` is a dump for pads that lie past the end.
        """
        slots = self._positions.clamp(max=self.capacity)
        memory[self._rows, :, slots] = new.transpose(1, 2)
        return memory[:, :, : self.stop]


class _Slots(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values, (B, heads, capacity + 1, width) each."""

    def __init__(self, owner: ModuleCache) -> None:
        super().__init__()
        self._owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        # Zeros and not empty memory: a masked slot is multiplied by 0, and 0 * NaN would be NaN.
        slots = self._owner.capacity + 1
        self.keys = key_states.new_zeros(*key_states.shape[:2], slots, key_states.shape[3])
        self.values = value_states.new_zeros(*value_states.shape[:2], slots, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._owner.write(self.keys, key_states), self._owner.write(self.values, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._owner.stop, 0

    def get_seq_length(self) -> int:
        return self._owner.stop

    def get_max_length(self) -> int:
        return self._owner.capacity


def module_at(model: Any, path: str) -> Any:
    """The submodule at a path of :mod:`ipse.model.families`.

    Raises:
        BaseDamaged: when the tree has none there.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise BaseDamaged(
            f"The model has no module {path}, which its type {model.config.model_type!r} should have.",
            "Check model_type in config.json.",
        ) from error
