# SPDX-License-Identifier: Apache-2.0
"""``ipse export`` and ``ipse import``: a fork leaves as a LoRA or as a bundle, and one comes in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ipse.cli.bundle import export_bundle, import_bundle
from ipse.cli.opening import existing_fork, open_base, opened_home, opened_life
from ipse.cli.screen import Screen, first_line
from ipse.cli.settings import DEFAULT_OWNER, Settings, fork_option, model_options
from ipse.cli.told import readable_bytes
from ipse.errors import InputError

if TYPE_CHECKING:
    from ipse.forks.adopt import Adopted
    from ipse.forks.portable import Exported
    from ipse.model.projection import Projection

FORMATS = ("peft", "gguf", "bundle")

_NAME_WIDTH = 60
_SHOWN_IGNORED = 3
_MOST = 0.5
"""Below this share an import is said to be little of the LoRA."""


@click.command(
    "export",
    epilog="""\b
Examples:
  ipse export --fork ada ada-lora
  ipse export --fork ada --format gguf ada.gguf
  ipse export --fork ada --format bundle ada.bundle
  ipse export --fork ada --format bundle ada.bundle --to phone.identity
""",
)
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="peft: a folder that plain PEFT loads. gguf: a LoRA for llama.cpp. bundle: the whole fork, sealed.",
)
@click.option(
    "--to",
    "recipients",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Public identity of a member of the fork that the bundle is sealed to; can be repeated.  [default: yours]",
)
@fork_option
@model_options
def export(settings: Settings, target: Path, form: str, recipients: tuple[Path, ...], fork: str) -> None:
    """Write a fork to TARGET: as an ordinary LoRA, measuring how near its answers are, or whole as a bundle.

    TARGET is a new or empty folder (peft) or a new file (gguf, bundle); nothing is overwritten. A LoRA is not sealed:
    whoever reads it has the fork's numbers. It is exact as peft, also when a gate of the fork moved, which takes a copy
    of the linear before it. llama.cpp's LoRA cannot express everything; what is left out is said.

    A bundle is all of the fork, history and memory too, sealed to you or to devices that you let in, and signed. It
    needs no torch. 'ipse import' takes it in on another installation that has your key, or that of such a device.
    """
    screen = Screen(as_json=settings.as_json)
    if form == "bundle":
        export_bundle(settings, screen, target, fork, recipients)
        return
    if recipients:
        raise InputError("A LoRA is not sealed, so it is sealed to nobody.", "Leave --to out, or say --format bundle.")
    from ipse.forks.portable import export_gguf, export_peft

    write = {"peft": export_peft, "gguf": export_gguf}[form]
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        at = home.open_fork(info.fork_id, base.layout).folded
    done = write(base, at, info.fork_id, target)
    payload = {"fork": info.fork_id, "height": at.height, "path": target, **asdict(done)}
    screen.result(payload, _export_lines(done, target, at.height))


def _export_lines(done: Exported, target: Path, height: int) -> str:
    size = readable_bytes(sum(done.files.values()))
    lines = [f"Exported at height {height} to {target}: {len(done.files)} file(s), {size}."]
    measured = f"Its logits are within {done.logit_difference:.1e} of the fork's (the bare base's: "
    measured += f"{done.fork_difference:.1e}), measured on a few conversations."
    if done.copies:
        lines.append(f"It holds {done.copies} modules of the base whole: gates of this fork moved.")
    if done.left_out:
        measured = f"Left out, for this form cannot express it: {' and '.join(done.left_out)}. {measured}"
    return "\n".join([*lines, measured, "It is not sealed: whoever reads it has the fork's numbers."])


@click.command(
    "import",
    epilog="\b\nExamples:\n  ipse import ada.bundle\n  ipse import --peft some-lora --fork ada\n",
)
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--peft",
    "folder",
    type=click.Path(path_type=Path),
    help="Instead of a bundle: folder of a LoRA, as PEFT's save_pretrained writes it.",
)
@click.option(
    "--fork",
    "fork",
    metavar="OWNER|ID",
    help=f"Whose fork the LoRA is added onto, made if it is new.  [default: a first fork of {DEFAULT_OWNER}]",
)
@click.option("--any-base", is_flag=True, help="Take a bundle in though its fork is of another base than --base.")
@model_options
def import_command(
    settings: Settings, bundle: Path | None, folder: Path | None, fork: str | None, any_base: bool
) -> None:
    """Take in a fork from a BUNDLE, or a LoRA that was trained elsewhere on the same base.

    A bundle opens with your key, or with that of a device which the fork's owner let in. All of it is checked before
    anything is written, and then all of it is written or nothing. Where the fork is here already, what is new is added;
    a history that parts from the one here is refused. It needs no torch; without it the base is not checked.

    A LoRA becomes one record that can be undone. A fork holds the part of it that lies in the base's shared basis; how
    much that is, is said, and what was ignored too. It is a share of the change of the weights, not of what the LoRA is
    good for.
    """
    screen = Screen(as_json=settings.as_json)
    if (bundle is None) == (folder is None):
        raise InputError("Expected one thing to import: a bundle, or a LoRA.", "Give FILE, or --peft DIR.")
    if bundle is not None:
        if fork is not None:
            raise InputError("A bundle says whose fork it is.", "Leave --fork out.")
        import_bundle(settings, screen, bundle, any_base=any_base)
    elif folder is not None:
        _import_lora(settings, screen, folder, fork)


def _import_lora(settings: Settings, screen: Screen, folder: Path, fork: str | None) -> None:
    from ipse.forks.portable import imported

    owner = fork or DEFAULT_OWNER
    with opened_home(settings, create=True) as home:
        there = home.find(owner)
        if there is not None and fork is None:
            raise InputError(
                f"There is a fork of {owner} already.",
                f"Give --fork {owner} to add onto it, or --fork NAME for a new one.",
            )
        base = open_base(settings, screen)
        found = imported(base, folder)  # before a fork is made: a broken adapter leaves nothing behind
        name = first_line(folder.resolve().name, _NAME_WIDTH)
        with opened_life(home, base, owner, fork_id=there.fork_id if there else None) as life:
            done = life.adopt(found.values, f"LoRA {name}, {found.kept:.1%} of it kept")
            fork_id = life.fork.fork_id
    payload = {
        "fork": fork_id,
        "owner": there.owner if there else owner,
        "new": there is None,
        "record": done.seq,
        "height": done.height,
        "change": done.change,
        **_kept_json(found),
    }
    screen.result(payload, _import_lines(found, done, owner, new=there is None))


def _kept_json(found: Projection) -> dict[str, Any]:
    return {
        "kept": found.kept,
        "kept_by_kind": dict(found.kept_by_kind),
        "output_kept": found.output_kept,
        "ignored": list(found.ignored),
    }


def _import_lines(found: Projection, done: Adopted, owner: str, *, new: bool) -> str:
    where = f"a new fork of {owner}" if new else f"the fork of {owner}"
    kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in found.kept_by_kind.items())
    lines = [
        f"Imported into {where} as record {done.seq}; change {done.change:.2f}; its height is {done.height}.",
        f"Kept: {found.kept:.1%} of the change of the weights, by squared norm ({kinds}).",
    ]
    if found.kept < _MOST:
        lines.append("Most of it lies outside this base's basis: do not expect the fork to answer as that LoRA does.")
    if found.output_kept is not None:
        lines.append(f"Kept: {found.output_kept:.1%} of the head's bias, as output embedding.")
    if found.ignored:
        more = len(found.ignored) - _SHOWN_IGNORED
        named = ", ".join(first_line(name, _NAME_WIDTH) for name in found.ignored[:_SHOWN_IGNORED])
        lines.append(f"Ignored: {named}{f' and {more} more' if more > 0 else ''}.")
    return "\n".join([*lines, f"To take that back: ipse fork undo {done.seq} --fork {owner}"])
