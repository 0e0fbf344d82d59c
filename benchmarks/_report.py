# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: its command line, what it says of the machine, and how it reports.

With ``--json`` one object goes to standard output, and nothing else::

    {"benchmark": name, "machine": {...}, "settings": {...}, "rows": [...], "figures": {name: number}}

Progress goes to standard error. Nothing names the host, a user or a path.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("torch", "transformers", "peft", "numpy")


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    made.add_argument("--quick", action="store_true", help="a smaller run of the same work, under a minute")
    made.add_argument("--base", default=None, metavar="DIR|HUB_ID", help="the base; the shipped one if left out")
    made.add_argument("--basis", default="auto", metavar="auto|svd|FILE", help="the basis of the forks")
    made.add_argument("--out", type=Path, default=None, metavar="FILE", help="write the JSON object there as well")
    return made


def machine(threads: int) -> dict[str, Any]:
    """The machine in general terms, and the versions that were measured."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    return facts


def report(
    arguments: argparse.Namespace,
    name: str,
    *,
    machine: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, float],
    aims: Mapping[str, str] = {},
) -> None:
    """Print the result, as tables or as one JSON object.

    Args:
        aims: figure name -> what is aimed at, for the reader of the table.
    """
    result = {
        "benchmark": name,
        "machine": dict(machine),
        "settings": dict(settings),
        "rows": [dict(row) for row in rows],
        "figures": {key: float(value) for key, value in figures.items()},
    }
    text = json.dumps(_rounded(result))
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    if arguments.json:
        sys.stdout.write(text + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    if rows:
        console.print(_table(rows))
    figure_rows = [{"figure": key, "value": value, "aim": aims.get(key, "")} for key, value in figures.items()]
    console.print(_table(figure_rows))
    threads = f"{machine['cores']} cores, {machine['threads']} threads, load before {machine['load_before']}"
    console.print(f"{machine['processor']}, {threads}", style="dim", highlight=False)


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """The call as one that returns the seconds it took."""

    def seconds() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return seconds


def interleaved(variants: Mapping[str, Callable[[], float]], *, rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Seconds of each variant, taken in turn so that a slow moment of the machine hits all alike.

    Each counted call follows an uncounted one of the same variant: variants with different weights evict each
    other from the cache, and the one that is counted must find its own there.

    Args:
        variants: calls that return the seconds of what matters in them, see `timed`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        for _ in range(warm):
            call()
    for _ in range(rounds):
        for name, call in variants.items():
            call()
            seconds[name].append(call())
    return seconds


def median_ms(seconds: Sequence[float]) -> float:
    """Milliseconds."""
    return statistics.median(seconds) * 1000


def tell(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stderr.flush()


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _processor() -> str:
    """The processor's model name, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
