# SPDX-License-Identifier: Apache-2.0
"""What it costs to serve different forks in one batch, over the bare base, and what it costs PEFT.

Every row of a batch is another fork. The bare base runs on the same engine, without any personal operation.
PEFT's mixed batch (``adapter_names``, LoRA r=8 on seven projections, every row another adapter) is set over its
own base, which is transformers'. All in one process, in turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _report import interleaved, machine, parser, report, tell, timed
from lora import MODULES

from ipse.model.base import Base, load_base
from ipse.model.personal import stack
from ipse.model.state import PersonalState

SIZES = (1, 8, 32)
PREFILLS = (64, 256)
CONTEXT = 64
"""Tokens in the cache when decoding starts."""
STEPS = 16
"""Tokens decoded a call."""
PREFILL_BATCH = 8
AIMS = {
    "decode_overhead_1": "<= 1.08",
    "decode_overhead_8": "<= 1.05 (first 1.10)",
    "decode_overhead_32": "<= 1.05 (first 1.10)",
    "prefill_overhead_64": "<= 1.08",
    "prefill_overhead_256": "<= 1.08",
}


def forks(base: Base, count: int) -> torch.Tensor:
    """(count, d): personal states of as many different forks."""
    rng = np.random.default_rng(0)
    states = [
        PersonalState(base.layout, rng.normal(scale=2e4, size=base.layout.size).astype(np.int32)) for _ in range(count)
    ]
    personal = stack(states, base.layout, base.runner.device)
    assert personal is not None
    return personal


def decode(base: Base, batch: int, personal: torch.Tensor | None) -> Callable[[], float]:
    """Seconds of decoding, the prompt already read."""
    prompt = torch.randint(20, base.config.vocabulary_size, (batch, CONTEXT))
    lengths, one = torch.full((batch,), CONTEXT), torch.ones(batch, dtype=torch.int64)

    def call() -> float:
        cache = base.runner.new_cache(batch, CONTEXT + STEPS)
        logits = base.runner.extend(prompt, lengths, personal, cache)
        start = time.perf_counter()
        for _ in range(STEPS):
            logits = base.runner.extend(logits.argmax(-1, keepdim=True), one, personal, cache)
        return time.perf_counter() - start

    return call


def prefill(base: Base, length: int, personal: torch.Tensor | None) -> Callable[[], float]:
    """Seconds of reading a prompt."""
    prompt = torch.randint(20, base.config.vocabulary_size, (PREFILL_BATCH, length))
    lengths = torch.full((PREFILL_BATCH,), length)
    return timed(lambda: base.runner.extend(prompt, lengths, personal, base.runner.new_cache(PREFILL_BATCH, length)))


def peft_model(base: Base, adapters: int) -> Any:
    """The base as transformers runs it, with so many LoRAs."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = LoraConfig(
        r=8, lora_alpha=16, target_modules=list(MODULES), task_type="CAUSAL_LM", init_lora_weights=False
    )
    model = AutoModelForCausalLM.from_pretrained(base.directory, dtype=torch.float32).eval()
    peft = get_peft_model(model, settings, adapter_name="user0")
    for number in range(1, adapters):
        peft.add_adapter(f"user{number}", settings)
    return peft.eval()


def hf_decode(model: Any, vocabulary: int, batch: int, names: list[str] | None) -> Callable[[], float]:
    """As `decode`, by transformers' own cache."""
    prompt = torch.randint(20, vocabulary, (batch, CONTEXT))
    more = {} if names is None else {"adapter_names": names}

    @torch.inference_mode()
    def call() -> float:
        out = model(prompt, use_cache=True, logits_to_keep=1, **more)
        start = time.perf_counter()
        for _ in range(STEPS):
            following = out.logits[:, -1].argmax(-1, keepdim=True)
            out = model(following, past_key_values=out.past_key_values, use_cache=True, **more)
        return time.perf_counter() - start

    return call


def measure(base: Base, rounds: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and figures; each pair is taken in turns."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    everyone = forks(base, max(SIZES))

    def compare(
        name: str, figure: str, tokens: int, bare: Callable[[], float], mixed: Callable[[], float], rounds: int = rounds
    ) -> None:
        seconds = interleaved({"bare": bare, "mixed": mixed}, rounds=rounds, warm=1)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        figures[figure] = medians["mixed"] / medians["bare"]
        rows.append(
            {
                "what": name,
                "base_tokens_per_s": tokens / medians["bare"],
                "forks_tokens_per_s": tokens / medians["mixed"],
                "overhead": figures[figure],
                "best_of_each": min(seconds["mixed"]) / min(seconds["bare"]),
            }
        )
        tell(f"{name}: {figures[figure]:.3f}")

    for size in SIZES:
        compare(
            f"decode, {size} forks",
            f"decode_overhead_{size}",
            size * STEPS,
            decode(base, size, None),
            decode(base, size, everyone[:size]),
        )
    for length in PREFILLS:
        compare(
            f"prefill {length}, {PREFILL_BATCH} forks",
            f"prefill_overhead_{length}",
            PREFILL_BATCH * length,
            prefill(base, length, None),
            prefill(base, length, everyone[:PREFILL_BATCH]),
        )
    peft = peft_model(base, max(SIZES))
    bare = peft_model(base, 1).unload()
    for size in SIZES[1:]:
        names = [f"user{number}" for number in range(size)]
        compare(
            f"PEFT decode, {size} adapters",
            f"peft_overhead_{size}",
            size * STEPS,
            hf_decode(bare, base.config.vocabulary_size, size, None),
            hf_decode(peft, base.config.vocabulary_size, size, names),
            rounds=max(2, rounds // 4),
        )
    return rows, figures


def main() -> None:
    """Measure, and report."""
    made = parser(__doc__.split("\n\n")[0])
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    made.add_argument("--rounds", type=int, default=25)
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    base = load_base(arguments.base, basis=arguments.basis)
    rounds = 7 if arguments.quick else arguments.rounds
    rows, figures = measure(base, rounds)
    settings = {
        "base": base.reference.base_id,
        "basis": f"{base.basis.kind} rank {base.basis.rank}",
        "context": CONTEXT,
        "decoded": STEPS,
        "prefill_batch": PREFILL_BATCH,
        "rounds": rounds,
        "peer": "LoRA r=8, seven projections, float32, adapter_names",
    }
    report(
        arguments, "batch", machine=machine(arguments.threads), settings=settings, rows=rows, figures=figures, aims=AIMS
    )


if __name__ == "__main__":
    main()
