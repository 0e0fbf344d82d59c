# SPDX-License-Identifier: Apache-2.0
"""``ipse witness``: see that logs only grow, and sign that. Needs no fork, no model and no torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ipse.cli.screen import Screen
from ipse.cli.settings import Settings, witness_options
from ipse.errors import InputError, NetworkError, StoreError, VerificationError

if TYPE_CHECKING:
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.keys import VerifierKey
    from ipse.ledger.policy import Policy
    from ipse.store.store import Store
    from ipse.vault.signerfile import Signer

KEY_NAME = "witness.key"

_MAX_KEY_FILE_BYTES = 64 * 1024
_COPY = "Copy the whole line again."


@click.group(
    "witness",
    epilog="""\b
Examples:
  ipse witness init --name example.com/witness
  ipse witness add-log log.vkeys
  ipse witness serve --port 8081
  ipse witness show             its keys, for other people's policies
""",
)
def witness_group() -> None:
    """Be a witness of logs (C2SP tlog-witness).

    A witness cosigns a log's checkpoint only if it continues the last one it cosigned. Who asks for its cosignature
    cannot be shown another history than everybody else. It needs a folder of its own, with keys and a memory; never
    put an older copy of that folder back: of the memory alone that would be noticed, of the whole folder not.
    """


@witness_group.command("init", epilog="\b\nExample:\n  ipse witness init --name example.com/witness\n")
@click.option("--name", required=True, help="What it signs as: an address without scheme, without spaces and plus.")
@witness_options
def init(settings: Settings, name: str) -> None:
    """Make the keys of a witness and its memory. Never replaces any."""
    from ipse.store.store import Store
    from ipse.vault.signerfile import Signer, create_signer

    Signer.check_name(name)
    Store.open(settings.data).close()  # first: keys without a memory would be refused ever after
    signer = create_signer(settings.data / KEY_NAME, name)
    _tell(settings, signer, [], f"Made {settings.data / KEY_NAME}; keep it secret, and never run two copies of it.")


@witness_group.command(
    "add-log",
    epilog="\b\nExamples:\n  ipse witness add-log log.vkeys\n"
    "  ipse witness add-log example.com/log+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
)
@click.argument("keys", nargs=-1, required=True, metavar="VKEYFILE|VKEY...")
@witness_options
def add_log(settings: Settings, keys: tuple[str, ...]) -> None:
    """Witness one more log, given by all of its verifier keys.

    The name of the keys is the log's origin, and each of them must sign its checkpoints. A file has one key a line;
    lines may begin with the word log, as in a policy. A running witness takes the log on at once.
    """
    from ipse.ledger.witness import add_log

    screen = Screen(as_json=settings.as_json)
    log = _log_of([line for given in keys for line in _key_lines(given)])
    with _opened(settings)[1] as store:
        added = add_log(store, log)
    if screen.as_json:
        screen.json({"origin": log.origin, "keys": [key.to_text() for key in log.keys], "added": added})
    state = "witnessed from now on" if added else "was witnessed already"
    screen.say(f"{log.origin}: {state}, {_keys(len(log.keys))}.")


@witness_group.command("serve", epilog="\b\nExample:\n  ipse witness serve --host 127.0.0.1 --port 8081\n")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 takes a free one.")
@witness_options
def serve(settings: Settings, host: str, port: int) -> None:
    """Answer logs that ask for cosignatures, until Ctrl-C. Put a web server with TLS before it."""
    from ipse.ledger.witness import Witness, confirm_memory, cosigning_keys, known_logs
    from ipse.server.witness import WitnessServer

    screen = Screen(as_json=settings.as_json)
    signer, memory = _opened(settings)
    with memory as store:
        for origin in {line.key.name for line in known_logs(store).logs}:
            confirm_memory(store, origin)
        witness = Witness(cosigning_keys(signer), store, clock=lambda: int(time.time()))
        try:
            server = WitnessServer(witness, host, port)
        except OSError as error:
            raise NetworkError(
                f"Cannot listen on {host}, port {port}: {error.strerror or error}.", "Choose another --port or --host."
            ) from error
        try:
            if screen.as_json:
                screen.json({"name": signer.name, "url": server.url})
            screen.say(f"{signer.name} answers at {server.url}/add-checkpoint; Ctrl-C ends it.")
            server.serve_forever()
        except KeyboardInterrupt:
            screen.say("Ended; what was cosigned is remembered.")
        finally:
            server.server_close()


@witness_group.command("show", epilog="\b\nExamples:\n  ipse witness show\n  ipse witness show --json\n")
@witness_options
def show(settings: Settings) -> None:
    """Its verifier keys as lines for a policy, its logs, and the last tree that it cosigned of each."""
    from ipse.ledger.witness import known_logs, last_seen

    logs: list[dict[str, Any]] = []
    signer, memory = _opened(settings)
    with memory as store:
        origins: dict[str, list[str]] = {}
        for line in known_logs(store).logs:
            origins.setdefault(line.key.name, []).append(line.key.to_text())
        for origin, keys in origins.items():
            seen = last_seen(store, origin)
            logs.append({"origin": origin, "keys": keys, "size": seen.size, "root": seen.root, "time_s": seen.time_s})
    _tell(settings, signer, logs)


def _tell(settings: Settings, signer: Signer, logs: list[dict[str, Any]], *lines: str) -> None:
    """The witness as policy lines, and its logs as comments below; or all of it as JSON."""
    screen = Screen(as_json=settings.as_json)
    policy = _policy_of(signer)
    if screen.as_json:
        keys = [line.key.to_text() for line in policy.witnesses]
        screen.json({"name": signer.name, "data": settings.data, "keys": keys, "logs": logs})
    for line in lines:
        screen.say(line)
    for line in policy.to_bytes().decode().splitlines():
        screen.say(line)
    for log in logs:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(log["time_s"])) if log["time_s"] else "nothing yet"
        screen.say(f"# {log['origin']}: {_keys(len(log['keys']))}, size {log['size']}, {when}")


def _policy_of(signer: Signer) -> Policy:
    """The keys of a witness as a group of its name: both must have cosigned."""
    from ipse.ledger.policy import Group, Policy, WitnessLine
    from ipse.ledger.witness import cosigning_keys

    names = {4: "ed25519", 6: "ml-dsa-44"}
    lines = tuple(WitnessLine(f"{signer.name}#{names[key.kind]}", key.verifier()) for key in cosigning_keys(signer))
    group = Group(signer.name, len(lines), tuple(line.name for line in lines))
    return Policy((), lines, (group,), signer.name)


def _opened(settings: Settings) -> tuple[Signer, Store]:
    """Keys and memory of a witness that was made before. A new memory would have forgotten everything."""
    from ipse.store.store import FILE_NAME, Store
    from ipse.vault.signerfile import load_signer

    key, memory = settings.data / KEY_NAME, settings.data / FILE_NAME
    if not key.exists():
        raise InputError(
            f"There is no witness in {settings.data}.", "Make one with `ipse witness init`, or give --data DIR."
        )
    if not memory.exists():
        raise StoreError(
            f"The witness in {settings.data} has lost its memory, {memory.name}.",
            "Put its newest copy back; if there is none, make a new witness of another name in another folder.",
        )
    return load_signer(key), Store.open(settings.data, create=False)


def _key_lines(given: str) -> list[str]:
    """A verifier key as it is; of anything else, the lines of the file of that name."""
    if "+" in given and not Path(given).exists():
        return [given]
    try:
        with Path(given).open("rb") as stream:
            data = stream.read(_MAX_KEY_FILE_BYTES + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"Cannot read keys from {given}: {reason}.", "Give a verifier key, or a file of them."
        ) from error
    if len(data) > _MAX_KEY_FILE_BYTES:
        raise InputError(f"{given} is no file of keys: it is too long.", "Give a file with one verifier key a line.")
    lines = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [words[words[0] == "log" and len(words) > 1] for words in lines if words]


def _log_of(lines: list[str]) -> Log:
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.keys import VerifierKey

    keys: list[VerifierKey] = []
    for line in lines:
        try:
            keys.append(VerifierKey.from_text(line))
        except VerificationError as error:
            raise InputError(f"{line[:60]!r} is no verifier key: {error.message}", error.hint or _COPY) from error
    if not keys:
        raise InputError("There are no keys in it.", "Give a file with one verifier key a line.")
    return Log(keys[0].name, tuple(dict.fromkeys(keys)))


def _keys(count: int) -> str:
    return "one key" if count == 1 else f"{count} keys"
