# SPDX-License-Identifier: Apache-2.0
"""What every command can be told: where the data lies, which base, how to print.

An option on the command line wins over its environment variable, which wins over the default. There is no
configuration file: a fork must not behave differently because of a file somebody forgot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_OWNER = "me"
"""Whose fork a command speaks of when ``--fork`` is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The shared options of one call.

    Attributes:
        data: folder of the store and of the key file; for a witness, its own.
        passphrase_file: where the passphrase of the root key is read, None to ask on the terminal.
        base: directory or hub id of the base model, None for the one shipped with Ipse.
        rank: rank of the basis, None for the base's own.
        basis: auto (the base's own, else by SVD), svd, or the path of a basis file.
        device: where the base runs: cpu, cuda or mps.
        dtype: float32 or bfloat16, of the frozen weights.
        as_json: print one JSON object (or one a line) on standard output instead of text.
        verbose: log what happens, and show where an unexpected failure came from.
    """

    data: Path
    passphrase_file: Path | None = None
    base: str | None = None
    rank: int | None = None
    basis: str = "auto"
    device: str = "cpu"
    dtype: str = "float32"
    as_json: bool = False
    verbose: bool = False


def default_data_dir() -> Path:
    """Where forks live unless somebody says otherwise."""
    return Path(platformdirs.user_data_dir("ipse", appauthor=False))


_STORE_OPTIONS = (
    click.option(
        "--data",
        "data",
        type=click.Path(file_okay=True, path_type=Path),
        envvar="IPSE_HOME",
        help="Folder of the forks and their key.  [env: IPSE_HOME; default: the user's data folder]",
    ),
    click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        envvar="IPSE_PASSPHRASE_FILE",
        help="Where to read the key's passphrase, if it has one.  [env: IPSE_PASSPHRASE_FILE; default: ask]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output."),
    click.option("-v", "--verbose", is_flag=True, help="Log what happens to standard error."),
)

_WITNESS_OPTIONS = (
    click.option(
        "--data",
        "data",
        type=click.Path(file_okay=True, path_type=Path),
        envvar="IPSE_WITNESS",
        default=lambda: default_data_dir() / "witness",
        help="Folder of the witness.  [env: IPSE_WITNESS; default: witness in the user's data folder]",
    ),
    *_STORE_OPTIONS[2:],
)

_MODEL_OPTIONS = (
    click.option(
        "--base",
        "base",
        metavar="DIR|HUB_ID",
        envvar="IPSE_BASE",
        help="Base model.  [env: IPSE_BASE; default: the one shipped with Ipse]",
    ),
    click.option(
        "--basis",
        metavar="auto|svd|FILE",
        default="auto",
        envvar="IPSE_BASIS",
        help="Basis of the forks.  [env: IPSE_BASIS; default: the base's own, else by SVD]",
    ),
    click.option("--rank", type=click.IntRange(1, 64), help="Rank of the basis.  [default: the base's own]"),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda", "mps"]),
        default="cpu",
        envvar="IPSE_DEVICE",
        help="Where the base runs.  [env: IPSE_DEVICE; default: cpu]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        envvar="IPSE_DTYPE",
        help="Precision of the frozen weights.  [env: IPSE_DTYPE; default: float32]",
    ),
)

fork_option = click.option(
    "--fork",
    "fork",
    metavar="OWNER|ID",
    default=DEFAULT_OWNER,
    show_default=True,
    help="Whose fork.",
)

no_key_option = click.option("--no-key", is_flag=True, help="Ask for no key: check only what a stranger could.")

policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    help="Witnesses, and how many must have cosigned (C2SP tlog-policy); its log lines are keys too.",
)

keys_option = click.option(
    "--key", "keys", metavar="VKEY", multiple=True, help="Verifier key of the log, once for each of its keys."
)


def store_options(command: Command) -> Command:
    """Give a command ``--data``, ``--passphrase-file``, ``--json``, ``--verbose``: one `Settings`, ``settings``."""
    return _with_options(command, _STORE_OPTIONS)


def model_options(command: Command) -> Command:
    """The same and ``--base``, ``--basis``, ``--rank``, ``--device``, ``--dtype``."""
    return _with_options(command, _STORE_OPTIONS + _MODEL_OPTIONS)


def witness_options(command: Command) -> Command:
    """Give a command ``--data`` (of a witness), ``--json`` and ``--verbose``."""
    return _with_options(command, _WITNESS_OPTIONS)


def model_arguments(settings: Settings) -> list[str]:
    """The same base and passphrase file, said to another ``ipse`` process."""
    arguments = ["--basis", settings.basis, "--device", settings.device, "--dtype", settings.dtype]
    arguments += ["--base", settings.base] if settings.base else []
    arguments += ["--passphrase-file", str(settings.passphrase_file)] if settings.passphrase_file else []
    return arguments + (["--rank", str(settings.rank)] if settings.rank else [])


def _with_options(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in Settings.__slots__ if name in given}
        shared["data"] = shared["data"] or default_data_dir()
        return command(settings=Settings(**shared), **given)

    wrapped: Any = gathered
    for option in reversed(options):
        wrapped = option(wrapped)
    result: Command = wrapped
    return result
