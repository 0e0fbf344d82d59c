# SPDX-License-Identifier: Apache-2.0
"""``ipse base``: the shared model under every fork, and its basis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ipse.cli.opening import base_progress, open_base
from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, model_options
from ipse.cli.told import readable_bytes


@click.group(
    "base",
    epilog="""\b
Examples:
  ipse base show
  ipse base show --base path/to/model --rank 16
  ipse base fit-basis users.jsonl --base path/to/model --out basis.ipse
""",
)
def base_group() -> None:
    """Look at a base, or fit a basis to it."""


@base_group.command("show", epilog="\b\nExample:\n  ipse base show --base path/to/model --json\n")
@model_options
def show(settings: Settings) -> None:
    """Name, digest, size, window and basis of a base."""
    screen = Screen(as_json=settings.as_json)
    base = open_base(settings, screen)
    kinds: dict[str, int] = {}
    for segment in base.layout.segments:
        kinds[segment.kind] = kinds.get(segment.kind, 0) + segment.size
    facts: dict[str, Any] = {
        "name": base.reference.name,
        "base": base.reference.base_id,
        "digest": base.reference.digest,
        "window_tokens": base.window,
        "vocabulary": base.tokenizer.vocabulary_size,
        "rank": base.layout.rank,
        "basis_digest": base.layout.basis_digest,
        "coordinates": base.layout.coordinates.count if base.layout.coordinates else 0,
        "numbers_per_fork": base.layout.size,
        "numbers_by_kind": kinds,
        "bytes_per_state": base.layout.size * 4,
    }
    table = Table.grid(padding=(0, 3))
    table.add_row("name", facts["name"])
    table.add_row("base", f"{facts['base']}  (digest {facts['digest']})")
    table.add_row("window", f"{facts['window_tokens']} tokens, vocabulary of {facts['vocabulary']}")
    along = f", {facts['coordinates']} coordinates" if facts["coordinates"] else ""
    table.add_row("basis", f"rank {facts['rank']}{along}, digest {facts['basis_digest']}")
    parts = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
    table.add_row("a fork has", f"{base.layout.size:,} numbers, {readable_bytes(facts['bytes_per_state'])}: {parts}")
    screen.result(facts, table)


@base_group.command(
    "fit-basis", epilog="\b\nExample:\n  ipse base fit-basis users.jsonl --base path/to/model --out basis.safetensors\n"
)
@click.argument("users", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the basis.")
@click.option("--interactions", default=100, show_default=True, help="At most so many messages of each user.")
@model_options
def fit_basis(settings: Settings, users: Path, out: Path, interactions: int) -> None:
    """Fit a population basis to a base, from the transcripts of many USERS.

    The basis is the leading directions in which these users' own adaptations moved the base, with coordinates for
    ordinary steps and the curvature that protects what the base says in general. It fits people like them; judge it
    on others. USERS has one JSON object a line: {"user": id, "dialogues": [{"turns": [["user", text],
    ["assistant", text], ...]}, ...]}, plain or .xz.
    """
    screen = Screen(as_json=settings.as_json)
    from ipse.learning.coordinates import fit_population
    from ipse.learning.population import FitSettings, read_users

    people = read_users(users)
    base = open_base(settings, screen)
    rank = base.layout.rank if settings.rank is None else settings.rank
    with base_progress(screen, "following the users") as progress:
        found = fit_population(base, people, rank, settings=FitSettings(interactions=interactions), progress=progress)
    found.basis.save(out)
    facts = {
        "basis": str(out),
        "rank": found.basis.rank,
        "users": len(found.basis.fitted_on),
        "coordinates": found.basis.coordinates.count if found.basis.coordinates else 0,
        "digest": found.basis.digest,
    }
    screen.result(
        facts,
        Text(
            f"fitted on {facts['users']} users, rank {facts['rank']}, {facts['coordinates']} coordinates: {out}\n"
            f"use it with --basis {out}"
        ),
    )
