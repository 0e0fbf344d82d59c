# SPDX-License-Identifier: Apache-2.0
"""A fork leaves as an ordinary LoRA, and a LoRA trained elsewhere comes in.

    export_peft(base, held, Path("ada-lora"))      loads in plain PEFT with the same logits
    export_gguf(base, held, Path("ada.gguf"))      for llama.cpp, without what its LoRA cannot express
    imported(base, Path("some-lora"))              what of it a fork can hold: give it to UserModelLifecycle.adopt

What was exported is laid over the base once more and compared with the fork itself, so every export says how far its
logits are from the fork's. That is measured on a few conversations and is no bound for all others.

Not protected: an export is not sealed. Whoever reads it has the fork's numbers, and learned numbers say something of
what they were learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ipse.errors import InputError
from ipse.forks.history import Folded
from ipse.learning.general import GENERAL, general_examples
from ipse.model.adapter import Adapter, low_rank_part, whole_fork, worn
from ipse.model.base import Base
from ipse.model.cachefolder import write_atomically
from ipse.model.gguf_file import write_gguf
from ipse.model.peft_files import CONFIG_FILE, WEIGHTS_FILE, read_peft, write_peft
from ipse.model.projection import Projection, project
from ipse.model.state import PersonalState

CARD_FILE = "README.md"
MEASURED_ON = 4
"""Conversations of the general set on which the logits are compared."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What one export wrote.

    Attributes:
        files: name -> bytes.
        logit_difference: largest difference of a logit from the fork's own, over every place of the conversations.
        fork_difference: the same of the bare base, to compare with.
        copies: modules of the base that are in it whole, because a gate of the fork moved.
        left_out: what the form cannot express, in words.
    """

    format: str
    files: dict[str, int]
    logit_difference: float
    fork_difference: float
    copies: int
    left_out: tuple[str, ...]


def export_peft(base: Base, at: Folded, fork_id: str, directory: Path) -> Exported:
    """Write a fork as a LoRA that plain PEFT loads, with a card that says what it is.

    Args:
        at: the fork as it stands or stood.
        directory: new or empty.

    Raises:
        InputError: something is there already; it is never overwritten.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} is there and not empty.", "Give a new or an empty folder; none is overwritten.")
    model = base.module()
    adapter = whole_fork(at.state, base.basis, base.anatomy, model)
    write_peft(adapter, directory, base_name=base.reference.name)
    # What is measured is what is on the disk, read by the reader for foreign adapters.
    difference, bare = largest_differences(base, at.state, model, read_peft(directory))
    write_atomically(directory / CARD_FILE, _card(base, at, fork_id, adapter, difference).encode())
    files = {name: (directory / name).stat().st_size for name in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)}
    return Exported("peft", files, difference, bare, len(adapter.whole), ())


def export_gguf(base: Base, at: Folded, fork_id: str, file: Path) -> Exported:
    """Write a fork's low-rank part for llama.cpp.

    Raises:
        InputError: the file is there already; it is never overwritten.
        MissingExtra: ``ipse[gguf]`` is not installed.
    """
    if file.exists():
        raise InputError(f"{file} is there already.", "Give the name of a new file; none is overwritten.")
    model = base.module()
    adapter = low_rank_part(at.state, base.basis, base.anatomy)
    write_gguf(adapter, model.config.to_dict(), file, name=f"{fork_id} at {at.height}")
    difference, bare = largest_differences(base, at.state, model, adapter)
    layout, z = at.layout, at.z
    missing = {"output": "the output embedding", "gates": "the gates, where they multiply the base's own weights"}
    left_out = tuple(words for name, words in missing.items() if z[layout[name].slice].any())
    return Exported("gguf", {file.name: file.stat().st_size}, difference, bare, 0, left_out)


def imported(base: Base, directory: Path) -> Projection:
    """Read a LoRA and find what of it a fork on this base can hold.

    Raises:
        InputError, VerificationError: see :func:`ipse.model.peft_files.read_peft`.
        BaseMismatch, StateOverflow: see :func:`ipse.model.projection.project`.
    """
    return project(read_peft(directory), base)


@torch.no_grad()
def largest_differences(base: Base, state: PersonalState, model: Any, adapter: Adapter) -> tuple[float, float]:
    """Largest difference of a logit from the fork's own: under the adapter, and on the bare base."""
    personal = torch.from_numpy(state.values())[None].to(base.runner.device)
    worst = bare = 0.0
    for example in general_examples(base.tokenizer, GENERAL[:MEASURED_ON]):
        tokens = torch.tensor([example.tokens[: base.window]], device=base.runner.device)
        rows, cols = torch.zeros_like(tokens[0]), torch.arange(tokens.shape[1], device=tokens.device)
        ours = base.runner.select(tokens, personal, rows, cols)
        with worn(model, adapter):
            theirs = model(input_ids=tokens, use_cache=False).logits[0].float()
        worst = max(worst, float((theirs - ours).abs().max()))
        bare = max(bare, float((base.runner.select(tokens, None, rows, cols) - ours).abs().max()))
    return worst, bare


def _card(base: Base, at: Folded, fork_id: str, adapter: Adapter, difference: float) -> str:
    copies = (
        f"\nIt holds {len(adapter.whole)} modules of the base whole (`modules_to_save`), because the fork changes how "
        "loudly their\nblocks speak; these are weights of the base, under the base's licence.\n"
        if adapter.whole
        else ""
    )
    return f"""---
library_name: peft
base_model: {base.reference.name}
pipeline_tag: text-generation
tags: [lora, ipse]
---

# A fork of {base.reference.name}

An ordinary LoRA, exported from Ipse. It is not sealed: whoever reads it has the fork's numbers.

| | |
|---|---|
| base | {base.reference.name}, SHA-256 of its weights `{base.reference.digest}` |
| basis | rank {base.basis.rank}, `{base.basis.digest}` |
| fork | `{fork_id}` at height {at.height} |
| head | record {at.head.seq}, `{at.head.digest.hex()}` |
{copies}
## Load it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("BASE", dtype="float32")   # a folder or hub id with the weights above
model = PeftModel.from_pretrained(base, "THIS FOLDER")
```

Its logits were within {difference:.1e} of the fork's on {MEASURED_ON} conversations, with the base's weights in
{str(base.dtype).removeprefix("torch.")}. It is worn, not merged: PEFT does not merge a bias into a head that has none.
Ipse takes it back with `ipse import --peft`.
"""
