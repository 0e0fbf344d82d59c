# SPDX-License-Identifier: Apache-2.0
"""What ``ipse export --format bundle`` and ``ipse import BUNDLE`` do; the commands are in portability.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ipse.cli.opening import existing_fork, identity_in, open_base, opened_home, publish_heads
from ipse.cli.told import readable_bytes
from ipse.errors import BaseMismatch, InputError

if TYPE_CHECKING:
    from ipse.cli.screen import Screen
    from ipse.cli.settings import Settings
    from ipse.forks.carry import Arrival
    from ipse.forks.home import Home
    from ipse.ledger.bundle import CheckedBundle, Manifest

_DIGEST_SHOWN = 8


def export_bundle(settings: Settings, screen: Screen, target: Path, fork: str, recipients: Sequence[Path]) -> None:
    """Write a fork to a new file, sealed to these identities or to this home's own."""
    from ipse.forks.carry import carried_out

    given = [identity_in(path) for path in recipients]
    _check_free(target)
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        sealed_to = given or [home.identity.public]
        data = carried_out(home, info.fork_id, sealed_to)
    _create(target, data)
    names = [each.name for each in sealed_to]
    payload = {"fork": info.fork_id, "owner": info.owner, "path": target, "bytes": len(data), "recipients": names}
    lines = [
        f"Exported the fork of {info.owner} to {target}: {readable_bytes(len(data))}, sealed and signed.",
        f"It opens for {', '.join(names)}.",
        "Take it in elsewhere: ipse import " + str(target),
    ]
    _tell(screen, payload, lines)


def import_bundle(settings: Settings, screen: Screen, path: Path, *, any_base: bool) -> None:
    """Check a bundle, then take in what is new of it."""
    from ipse.forks.carry import received, take_in
    from ipse.forks.home import key_ring

    if not key_ring(settings.data).is_there:
        raise InputError(
            f"There is no key in {settings.data}, so no bundle opens here.",
            "Bring yours back first: `ipse key restore`. For a device, make one: `ipse key init`.",
        )
    data = _bundle(path)
    with opened_home(settings, create=True) as home:
        bundle = received(home, data)
        base_checked = _check_base(settings, screen, home, bundle.manifest, any_base=any_base)
        arrived = take_in(home, bundle)
        publish_heads(home)
    manifest = bundle.manifest
    payload = {
        "fork": manifest.fork_id,
        "owner": manifest.owner,
        "base": manifest.base_id,
        "base_name": manifest.base_name,
        "base_checked": base_checked,
        "new": arrived.new,
        "added": arrived.added,
        "records": len(bundle.records) + arrived.ahead,
        "root": bundle.head.root,
        "exporter": bundle.exporter.name,
        "exported_ms": manifest.exported_ms,
        "published": [{"origin": bundle.log.origin, "size": each.size} for each in bundle.published if bundle.log],
    }
    _tell(screen, payload, _import_lines(bundle, arrived, base_checked=base_checked))


def _import_lines(bundle: CheckedBundle, arrived: Arrival, *, base_checked: bool) -> list[str]:
    owner, total = bundle.manifest.owner, _records(len(bundle.records))
    if arrived.ahead:
        return [f"The fork of {owner} is here already, and {_records(arrived.ahead)} further than the bundle."]
    if not arrived.added:
        return [f"The fork of {owner} is here already with its {total}; nothing to do."]
    if not arrived.new:
        lines = [f"Added {_records(arrived.added)} to the fork of {owner}, which has {total} now."]
    else:
        lines = [f"Imported the fork of {owner}: {total}, made on {bundle.manifest.base_name}."]
    lines.append("Checked: every signature, every record, the head over all of them, and that your key may have it.")
    if arrived.new and not base_checked:
        lines.append(f"Not checked: whether the base here is {bundle.manifest.base_id}, the one that it was made on.")
    for each in bundle.published:
        origin = bundle.log.origin if bundle.log else ""
        lines.append(f"Its first {_records(each.size)} are in the public log {origin}, by the proof that came along.")
    return lines


def _check_base(settings: Settings, screen: Screen, home: Home, manifest: Manifest, *, any_base: bool) -> bool:
    """Pass if the fork belongs to the base that is used here.

    Returns:
        Whether that is known: it is not asked without torch, nor with ``any_base``. A fork that is here has its base.

    Raises:
        BaseMismatch: it belongs to another.
    """
    if home.find(manifest.fork_id) is not None:
        return True
    if any_base or find_spec("torch") is None:
        return False
    base = open_base(settings, screen)
    if base.layout.digest != manifest.layout_digest:
        theirs, ours = manifest.layout_digest.hex(), base.layout.digest.hex()
        raise BaseMismatch(
            f"The fork is of base {manifest.base_id} ({manifest.base_name}) with layout {theirs[:_DIGEST_SHOWN]}, and "
            f"here is base {base.reference.base_id} ({base.reference.name}) with layout {ours[:_DIGEST_SHOWN]}.",
            "Nothing was written. Name its base with --base (and its --rank and --basis), or say --any-base.",
        )
    return True


def _bundle(path: Path) -> bytes:
    from ipse.ledger.bundle import MAX_BUNDLE_BYTES

    try:
        if not path.is_file():
            raise InputError(f"There is no bundle at {path}.", "Check the path.")
        with path.open("rb") as stream:
            if stream.seek(0, 2) > MAX_BUNDLE_BYTES:
                raise InputError(f"{path} is longer than any bundle.", "Check the path.")
            stream.seek(0)
            return stream.read()
    except OSError as error:
        raise InputError(f"The bundle {path} cannot be read: {error.strerror}.", "Check its owner.") from error


def _create(target: Path, data: bytes) -> None:
    """Write a new file, for its owner alone. Nothing is linked or renamed: the target may lie on a memory stick."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        _check_free(target)
        raise
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        target.unlink(missing_ok=True)  # half a bundle is none
        raise


def _check_free(target: Path) -> None:
    if target.exists():
        raise InputError(f"There is something at {target} already.", "Choose another name; nothing is overwritten.")


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"


def _tell(screen: Screen, payload: dict[str, object], lines: Sequence[str]) -> None:
    """The answer as JSON, or line by line: an identity is never broken, however narrow the terminal."""
    if screen.as_json:
        screen.json(payload)
    for line in lines:
        screen.say(line)
