# SPDX-License-Identifier: Apache-2.0
"""Where things that can be computed again are kept: weight digests and SVD bases.

Nothing here is needed for correctness: a folder that cannot be written only makes the next start slower.
The folder is the user's own; whoever can write to it could as well replace the weights.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_dir

logger = logging.getLogger(__name__)

VARIABLE = "IPSE_CACHE"
"""Environment variable that names another folder."""


def cache_folder() -> Path:
    """The folder, which need not exist yet."""
    return Path(os.environ.get(VARIABLE) or user_cache_dir("ipse"))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data``: a reader, or a process that dies here, sees all of it or the old one.

    Raises:
        OSError: when the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def remember(path: Path, data: bytes) -> None:
    """Like :func:`write_atomically`, but a folder that cannot be written is only worth a log line."""
    try:
        write_atomically(path, data)
    except OSError as error:
        logger.info("Could not keep %s in the cache folder: %s", path.name, error)
