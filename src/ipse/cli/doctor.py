# SPDX-License-Identifier: Apache-2.0
"""``ipse doctor``: is everything here that a fork needs? Changes nothing, needs no torch to run."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import click
from rich.table import Table
from rich.text import Text

from ipse.cli.opening import open_base, opened_home
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, model_options
from ipse.cli.told import readable_bytes
from ipse.errors import IpseError
from ipse.vault.wraps import load_wrap

if TYPE_CHECKING:
    from ipse.forks.home import Home

Verdict = Literal["ok", "note", "bad"]

_STYLE: dict[Verdict, str] = {"ok": "green", "note": "yellow", "bad": "bold red"}
_LOW_DISK_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        verdict: ok, note (works, but know it) or bad.
        says: what was found, and what to do where it is not ok.
    """

    what: str
    verdict: Verdict
    says: str


@click.command(
    epilog="""\b
Examples:
  ipse doctor
  ipse doctor --base path/to/model --json
""",
)
@model_options
def doctor(settings: Settings) -> int:
    """Check Python, torch, the data folder, its key, every fork's chain, and the base.

    Exits with 1 when something is bad.
    """
    screen = Screen(as_json=settings.as_json)
    findings = list(examine(settings, screen))
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(finding.verdict, _STYLE[finding.verdict]), finding.what, finding.says)
    screen.result({"findings": findings, "ok": all(f.verdict != "bad" for f in findings)}, table)
    return 1 if any(finding.verdict == "bad" for finding in findings) else 0


def examine(settings: Settings, screen: Screen) -> Iterator[Finding]:
    """Every finding, cheapest first."""
    yield Finding("ipse", "ok", metadata.version("ipse"))
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _torch()
    yield from _folder(settings)
    yield from _checked("forks", lambda: _forks(settings))
    yield from _checked("base", lambda: _base(settings, screen))


def _checked(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Findings of one part; its error is a finding too."""
    try:
        yield from look()
    except IpseError as error:
        yield Finding(what, "bad", f"{error.message} {error.hint}".strip())
    except ModuleNotFoundError as error:
        yield Finding(what, "note", f"not looked at: {error.name} is not installed")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ModuleNotFoundError:
        yield Finding("torch", "note", "not installed: no chat and no learning. Run: pip install 'ipse[local]'")
        return
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if _has_mps() else [])]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    says = f"{torch.__version__}, {threads} of {cores} cores, devices: {', '.join(devices)}"
    yield Finding("torch", "note" if threads > cores else "ok", says)


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if folder.exists() and not folder.is_dir():
        yield Finding("data folder", "bad", f"{folder} is not a folder. Choose another with --data.")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("data folder", "bad", f"{existing} cannot be written. Choose another with --data.")
        return
    free = shutil.disk_usage(existing).free
    says = f"{folder}, {readable_bytes(free)} free" + ("" if folder.exists() else ", not made yet")
    yield Finding("data folder", "note" if free < _LOW_DISK_BYTES else "ok", says)


def _forks(settings: Settings) -> Iterator[Finding]:
    if not settings.data.is_dir() or not any(settings.data.iterdir()):
        yield Finding("forks", "ok", "none yet; 'ipse chat' makes the first")
        return
    with opened_home(settings, create=False) as home:  # refuses a key file that others can read
        yield from _keys(home)
        home.store.check_file()
        forks = home.forks()
        records = sum(1 for info in forks for _ in home.read_records(info.fork_id))
        size = readable_bytes(sum(info.bytes_on_disk for info in forks))
        yield Finding(
            "forks", "ok", f"{len(forks)} with {records} records, {size}; every record opens, none is missing"
        )


def _keys(home: Home) -> Iterator[Finding]:
    keys = home.keys
    if keys.has_file:
        mode = keys.key_path.stat().st_mode & 0o777
        yield Finding("key", "ok", f"{keys.key_path} ({mode:o}); keep a copy in a safe place")
    if keys.has_passphrase:
        try:
            wrap = load_wrap(keys.wrap_path)
        except IpseError as error:
            yield Finding("passphrase", "bad", f"{error.message} {error.hint}")
        else:
            yield Finding("passphrase", "ok", f"{keys.wrap_path}, {wrap.cost.memory_kib // 1024} MiB a guess")


def _base(settings: Settings, screen: Screen) -> Iterator[Finding]:
    base = open_base(settings, screen)
    says = f"{base.reference.name}, digest {base.reference.digest[:16]}, rank {base.layout.rank}"
    yield Finding("base", "ok", f"{says}, {base.layout.size:,} numbers a fork")
