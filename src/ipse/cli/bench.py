# SPDX-License-Identifier: Apache-2.0
"""``ipse bench``: the project's benchmarks where its repository is there, else a short measure."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table

import ipse
from ipse.cli.heldout import SHIPPED_USERS, shipped_conversations
from ipse.cli.opening import open_base, opened_home, opened_life
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, model_options
from ipse.cli.told import BUDGET_MS
from ipse.errors import InputError

SHORT = "short"
"""Name of the measure that needs nothing but the package."""

_WARM_TURNS = 5
_TURNS = 40


@click.command(
    epilog="""\b
Examples:
  ipse bench              which there are
  ipse bench short        milliseconds of one interaction, here and now
  ipse bench step batch --quick --json
""",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--quick", is_flag=True, help="A smaller run of the same work.")
@model_options
def bench(settings: Settings, names: tuple[str, ...], quick: bool) -> int:
    """Run benchmarks by NAME; without a name, list them.

    'short' is always there. The others are the programs in benchmarks/ of Ipse's repository.
    """
    screen = Screen(as_json=settings.as_json)
    programs = benchmark_programs()
    if not names:
        lines = [f"{SHORT}: milliseconds of one interaction, phase by phase", *sorted(programs)]
        screen.result({"benchmarks": [SHORT, *sorted(programs)]}, "\n".join(lines))
        return 0
    unknown = [name for name in names if name != SHORT and name not in programs]
    if unknown:
        raise InputError(f"There is no benchmark {unknown[0]}.", f"There are: {', '.join([SHORT, *sorted(programs)])}.")
    worst = 0
    for name in names:
        if name == SHORT:
            _print_short(screen, measure(settings, screen, turns=_TURNS // 4 if quick else _TURNS))
        else:
            flags = ["--quick"] * quick + ["--json"] * settings.as_json
            worst = max(worst, subprocess.run([sys.executable, programs[name], *flags], check=False).returncode)
    return worst


def benchmark_programs() -> dict[str, Path]:
    """Name -> program, of the repository that this package runs from; empty for an installed wheel."""
    folder = Path(ipse.__file__).resolve().parents[2] / "benchmarks"
    programs = [path for path in sorted(folder.glob("[a-z]*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    return {path.stem: path for path in programs}


def measure(settings: Settings, screen: Screen, *, turns: int) -> dict[str, Any]:
    """Medians of what one interaction costs, on a scripted user, in a folder that is removed afterwards."""
    from ipse.model.generate import Sampling, generate

    base = open_base(settings, screen)
    interactions = [i for c in shipped_conversations(SHIPPED_USERS[0]) for i in c.interactions]
    with tempfile.TemporaryDirectory(prefix="ipse-bench-") as folder:
        apart = Settings(data=Path(folder))
        with opened_home(apart, create=True) as home, opened_life(home, base, "bench") as life:
            taught = [life.teach(interaction.turns) for interaction in interactions[: _WARM_TURNS + turns]]
            reports = [report for report in taught[_WARM_TURNS:] if report is not None]
            prompt = base.tokenizer.prompt(list(interactions[0].turns))
            started = time.perf_counter()
            greedy = Sampling(temperature=0.0, max_new_tokens=32, no_repeat_ngram=0)
            (reply,) = generate(base, [prompt], [life.fork.state], greedy)
            seconds = time.perf_counter() - started
            stored = home.forks()[0].bytes_on_disk
    figures = {name: statistics.median(getattr(report, name) for report in reports) for name in BUDGET_MS}
    figures["generated_tokens_per_second"] = len(reply.tokens) / seconds
    figures["bytes_per_state"] = float(base.layout.size * 4)
    figures["bytes_per_record"] = stored / len(taught)
    return {"benchmark": SHORT, "turns": len(reports), "base": base.reference.base_id, "figures": figures}


def _print_short(screen: Screen, measured: dict[str, Any]) -> None:
    figures = measured["figures"]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f"one interaction, median of {measured['turns']}")
    table.add_column("here", justify="right")
    table.add_column("the proposal's budget", justify="right")
    for name, budget in BUDGET_MS.items():
        table.add_row(name.removesuffix("_ms"), f"{figures[name]:.1f} ms", f"{budget} ms")
    table.add_row("generated", f"{figures['generated_tokens_per_second']:.0f} tokens/s", "")
    if screen.as_json:
        sys.stdout.write(json.dumps(measured) + "\n")
    else:
        screen.out.print(table)
