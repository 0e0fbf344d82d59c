# SPDX-License-Identifier: Apache-2.0
"""START HERE: the ``ipse`` command.

`main` runs one command and turns whatever happens into an exit code and at most one ``error:`` and one
``hint:`` line on standard error:

| code | meaning |
|---|---|
| 0 | done |
| 1 | it went wrong: base, key, store, disk |
| 2 | what was asked cannot be done: unknown command or option, unusable input |
| 130 | Ctrl-C |
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata

import click

from ipse.cli.base import base_group
from ipse.cli.bench import bench
from ipse.cli.chat import chat
from ipse.cli.demo import demo
from ipse.cli.doctor import doctor
from ipse.cli.fork import fork_group
from ipse.cli.generate import generate
from ipse.cli.key import key_group
from ipse.cli.ledger import ledger_group
from ipse.cli.portability import export, import_command
from ipse.cli.replay import replay
from ipse.cli.screen import Screen
from ipse.cli.verify import verify_group
from ipse.cli.witness import witness_group
from ipse.errors import InputError, IpseError, MissingExtra

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 128 + 2

_LOCAL_PARTS = frozenset(
    {
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "huggingface_hub",
        "jinja2",
        "bm25s",
        "plotext",
        "matplotlib",
    }
)
"""Top-level packages that only ``ipse[local]`` brings."""


@click.group(
    epilog="""\b
Examples:
  ipse demo                     two people, one base: watch both forks learn
  ipse chat                     talk to a fork of your own
  ipse replay conversations.json
  ipse fork history
""",
)
@click.version_option(package_name="ipse", message="ipse %(version)s")
def cli() -> None:
    """A language model of your own that learns as you talk.

    Everything you are shown as learned is on your disk, sealed under your key, and can be undone.
    """


for _command in (
    chat,
    replay,
    generate,
    fork_group,
    export,
    import_command,
    key_group,
    ledger_group,
    verify_group,
    witness_group,
    base_group,
    bench,
    doctor,
    demo,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None takes the process's.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "-v" in given or "--verbose" in given
    _configure_logging(verbose=verbose)
    screen = Screen(as_json=False)
    try:
        code = cli.main(args=given, prog_name="ipse", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.Abort):
        screen.error("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`ipse ... | head`): say nothing, and keep Python from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if verbose:
            logging.getLogger(__name__).exception("The command failed")
        message, hint, code = explain(error)
        screen.error(message, hint)
        return code


def explain(error: Exception) -> tuple[str, str, int]:
    """(message, hint, exit code) of anything that a command may raise."""
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else "ipse"
        return error.format_message(), f"See '{where} --help'.", EXIT_INPUT
    if isinstance(error, click.ClickException):
        return error.format_message(), "", EXIT_INPUT
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _LOCAL_PARTS:
        error = MissingExtra(f"This needs {error.name}, which is not installed.", "Run: pip install 'ipse[local]'")
    if isinstance(error, IpseError):
        return error.message, error.hint, EXIT_INPUT if isinstance(error, InputError) else EXIT_FAILED
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}.", "Check the path, its permissions and the free space.", EXIT_FAILED
    if isinstance(error, MemoryError):
        return "Out of memory.", "Use a smaller base, or close other programs.", EXIT_FAILED
    hint = "Run it again with --verbose and report what it prints; nothing that was shown as learned is lost."
    return f"This is a fault in Ipse: {type(error).__name__}: {error}", hint, EXIT_FAILED


def version() -> str:
    """Version of the installed package."""
    return metadata.version("ipse")


def _configure_logging(*, verbose: bool) -> None:
    """Warnings to standard error, everything of ours with ``--verbose``."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ipse").setLevel(logging.INFO if verbose else logging.WARNING)
