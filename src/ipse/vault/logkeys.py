# SPDX-License-Identifier: Apache-2.0
"""Where the keys of this installation's public log lie: ``log.key``, a file of signerfile.py.

They are random and belong to the installation, not to an owner: the log of many owners has one signer, and a root key
that moves to another machine does not take the log along. A key that is given up is kept beside the new one, as
``log.key.1`` and so on: whoever finds the newest copy of that log can go on with it.

Not protected: who can read the file can sign two histories in the log's name. That does not open a fork and does not
forge a record; only witnesses tell.
"""

from __future__ import annotations

import os
import secrets
from base64 import b32encode
from collections.abc import Callable
from pathlib import Path

from ipse.errors import VaultError
from ipse.vault.files import changing
from ipse.vault.signerfile import Signer, create_signer, load_signer

FILE_NAME = "log.key"

_RANDOM_BYTES = 10


def new_origin(rng: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A random name for a log: ``ipse.local/`` and 16 letters or digits."""
    return f"ipse.local/{b32encode(rng(_RANDOM_BYTES)).decode().lower()}"


def load_log_key(path: Path) -> Signer:
    """Read a log's keys, as ``load_signer`` does.

    Raises:
        VaultError: no file, others may read it, or it does not hold exactly one signer.
    """
    if not path.exists():
        raise VaultError(
            f"There is no log key at {path}.",
            "Put your copy of it back; if the log is lost, `ipse ledger new` starts another one.",
        )
    return load_signer(path)


def renew_log_key(path: Path, origin: str) -> Signer:
    """Make another log's keys in the place of those that are there, if any; those are kept beside them.

    Killed in the middle, it leaves no key file, and all old ones under their numbers.

    Raises:
        InputError: the origin cannot name a log.
        VaultError: it cannot be written.
    """
    Signer.check_name(origin)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with changing(path.parent):
            if path.exists():
                _keep_aside(path)
                path.unlink()
            return create_signer(path, origin)
    except OSError as error:
        raise VaultError(
            f"The log key {path} cannot be written: {error.strerror}.", "Choose a folder that you can write to."
        ) from error


def _keep_aside(path: Path) -> None:
    """Give the file that is there a second name."""
    number = 1
    while True:
        try:
            os.link(path, path.with_name(f"{path.name}.{number}"))
        except FileExistsError:
            number += 1
        else:
            return
