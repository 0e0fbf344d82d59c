# SPDX-License-Identifier: Apache-2.0
"""Where a passphrase comes from: a file, or a person at a terminal who types it unseen. Never an argument.

Arguments are seen by every user of the machine (``ps``) and kept in the shell's history.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipse.errors import InputError
from ipse.vault.keyring import nobody_to_ask

if TYPE_CHECKING:
    from ipse.cli.settings import Settings

_MAX_FILE_BYTES = 4096


def passphrase_of(settings: Settings) -> str:
    """The passphrase that opens the root key.

    Raises:
        VaultError: there is neither a file nor a terminal.
        InputError: the file cannot be used.
    """
    if settings.passphrase_file is not None:
        return read_passphrase(settings.passphrase_file)
    if not sys.stdin.isatty():
        return nobody_to_ask()
    return _asked("Passphrase of your key", twice=False)


def new_passphrase(file: Path | None) -> str:
    """A passphrase that is to be set: typed twice, so that a slip is no lock-out.

    Raises:
        InputError: there is neither a file nor a terminal, or the file cannot be used.
    """
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise InputError("There is no terminal to ask for the new passphrase.", "Give --new-passphrase-file FILE.")
    return _asked("New passphrase", twice=True)


def read_passphrase(path: Path) -> str:
    """The first line of a file, which must be its only one. A pipe will do.

    Raises:
        InputError: it cannot be read, others may read it, or it has not exactly one line of UTF-8.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
                raise InputError(f"Other users may read the passphrase file {path}.", f"Run: chmod 600 {path}")
            data = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"The passphrase file {path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in line or len(data) > _MAX_FILE_BYTES:
        raise InputError(f"The passphrase file {path} has more than one line.", "It holds the passphrase and no more.")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"The passphrase file {path} is not UTF-8.", "Save it as UTF-8.") from error


def _asked(what: str, *, twice: bool) -> str:
    answer: str = click.prompt(
        what, hide_input=True, err=True, confirmation_prompt="The same again" if twice else False
    )
    return answer
