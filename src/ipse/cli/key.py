# SPDX-License-Identifier: Apache-2.0
"""``ipse key``: what opens your forks: a key file, a passphrase, and 24 words on paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ipse.cli.devices import devices_group
from ipse.cli.opening import opened_home, publish_heads
from ipse.cli.passphrase import new_passphrase, passphrase_of
from ipse.cli.screen import Screen, printable
from ipse.cli.settings import Settings, store_options
from ipse.errors import InputError
from ipse.vault.keyring import root_name
from ipse.vault.keys import root_check
from ipse.vault.wraps import load_wrap

if TYPE_CHECKING:
    from ipse.vault.identity import PublicIdentity
    from ipse.vault.keyring import KeyRing
    from ipse.vault.keys import RootKey

WORDS_PER_LINE = 4
_MAX_WORDS_BYTES = 4096


@click.group(
    "key",
    epilog="""\b
Examples:
  ipse key init
  ipse key words                write them on paper: they bring everything back
  ipse key set-passphrase       then, if you like: ipse key remove-file
  ipse key restore              from the 24 words
  ipse key devices add phone.txt --name "my phone"
  ipse key rotate               a new key takes over
""",
)
def key_group() -> None:
    """Look after the key of your forks.

    One root key opens all of them. It can lie in a key file, under a passphrase, and on paper as 24 words; any of
    the three is enough. Only 'devices' and 'rotate' add records to forks: of who may read and write them.
    """


@key_group.command("init", epilog="\b\nExamples:\n  ipse key init\n  ipse key init --data ./forks --json\n")
@store_options
def init(settings: Settings) -> None:
    """Make the root key of a folder now, as the first chat would. Never replaces one."""
    from ipse.forks.home import new_root

    screen = Screen(as_json=settings.as_json)
    root = new_root(settings.data)
    identity = _public(root)
    path = _keys(settings).key_path
    _tell(
        screen,
        {"root": root_check(root), "identity": identity.name, "key_file": path},
        f"root         {root_name(root_check(root))}",
        f"identity     {identity.name}: how others know you",
        f"key file     {path}",
        "Keep a copy of that file, or write its 24 words on paper: ipse key words",
    )


@key_group.command("show", epilog="\b\nExamples:\n  ipse key show --json\n  ipse key show --public > me.txt\n")
@click.option("--public", is_flag=True, help="Only the public identity, one line to give to others; opens the key.")
@store_options
def show(settings: Settings, public: bool) -> None:
    """Which root key this folder has, and what opens it. Shows no secret.

    Asks for nothing, but with --public, where only the passphrase opens the key.
    """
    screen = Screen(as_json=settings.as_json)
    if public:
        _show_public(settings, screen)
        return
    keys = _keys(settings)
    if not keys.is_there:
        _tell(
            screen,
            {"root": None, "identity": None, "key_file": None, "passphrase": None},
            f"No key in {settings.data}; 'ipse key init' makes one, 'ipse key restore' brings yours back.",
        )
        return
    facts: dict[str, Any] = {"identity": None, "key_file": None, "passphrase": None}
    identity, key_file = "'ipse key show --public' opens the key and prints it", "none"
    passphrase = "none; 'ipse key set-passphrase' makes one"
    if keys.has_passphrase:
        wrap = load_wrap(keys.wrap_path)
        check, cost = wrap.check, wrap.cost
        facts["passphrase"] = {"file": keys.wrap_path, "kdf": "argon2id", "cost": cost}
        passphrase = f"{keys.wrap_path}: {cost.memory_kib // 1024} MiB and {cost.passes} passes of Argon2id a guess"
    if keys.has_file:
        root = _opened(settings)
        check, facts["key_file"] = root_check(root), keys.key_path
        facts["identity"] = identity = _public(root).name
        key_file = f"{keys.key_path}: opens without a question"
    _tell(
        screen,
        {"root": check, **facts},
        f"root         {root_name(check)}: what this key is called; no secret",
        f"identity     {identity}",
        f"key file     {key_file}",
        f"passphrase   {passphrase}",
        "24 words     stored nowhere; 'ipse key words' shows them",
    )


@key_group.command("words", epilog="\b\nExample:\n  ipse key words\n")
@click.option("--yes", is_flag=True, help="Show them without asking.")
@store_options
def words(settings: Settings, yes: bool) -> None:
    """Show the 24 recovery words of your key.

    Write them on paper. They are the key: whoever reads them can read every fork of it, now and later. They are
    stored nowhere and follow the BIP 39 standard. 'ipse key restore' turns them into a key file again.
    """
    from ipse.vault.words import words_of

    screen = Screen(as_json=settings.as_json)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("There is no terminal to ask whether the words may be shown.", "Say so with --yes.")
        click.confirm("Whoever sees these words owns every fork of this key. Show them?", abort=True, err=True)
    root = _opened(settings)
    found = words_of(root)
    table = Table.grid(padding=(0, 4))
    for start in range(0, len(found), WORDS_PER_LINE):
        table.add_row(*(f"{start + at + 1:2d} {found[start + at]}" for at in range(WORDS_PER_LINE)))
    screen.result({"root": root_check(root), "words": found}, table)
    screen.quiet("On paper, not in a file or a picture. Then clear the screen.")


@key_group.command("restore", epilog="\b\nExamples:\n  ipse key restore\n  ipse key restore --data ./forks --json\n")
@store_options
def restore(settings: Settings) -> None:
    """Write the key file from the 24 words.

    The words are asked for, or read from standard input, with or without their numbers. They are checked against the
    forks of the folder and the passphrase beside them; the key of another root is never overwritten.
    """
    from ipse.forks.home import confirm_root, key_ring
    from ipse.vault.words import root_of

    screen = Screen(as_json=settings.as_json)
    root = root_of(_given_words())
    forks = confirm_root(settings.data, root)
    keys = key_ring(settings.data)  # also while a rotation waits to be finished: it may need this root
    written = keys.add_file(root)
    name = root_name(root_check(root))
    what = f"wrote {keys.key_path}" if written else f"{keys.key_path} has this key already"
    opens = f"it opens the {forks} fork{'' if forks == 1 else 's'} here" if forks else "there are no forks here yet"
    _tell(
        screen,
        {"root": root_check(root), "key_file": keys.key_path, "written": written, "forks": forks},
        f"Root {name}: {what}; {opens}.",
    )


@key_group.command(
    "set-passphrase",
    epilog="\b\nExamples:\n  ipse key set-passphrase\n  ipse key set-passphrase --new-passphrase-file new.txt\n",
)
@click.option(
    "--new-passphrase-file", type=click.Path(path_type=Path), help="Where to read the new one.  [default: ask, twice]"
)
@store_options
def set_passphrase(settings: Settings, new_passphrase_file: Path | None) -> None:
    """Let a passphrase open your key, or change it.

    The old one is asked for only where there is no key file. A changed passphrase does not change the key: who kept
    the old root.wrap can still open that with the old one.
    """
    screen = Screen(as_json=settings.as_json)
    keys = _keys(settings)
    changed = keys.has_passphrase
    if changed:
        load_wrap(keys.wrap_path)  # before anybody types: a damaged one is not written over
    root = _opened(settings)
    keys.set_passphrase(root, new_passphrase(new_passphrase_file))
    lines = [f"The passphrase is {'changed' if changed else 'set'}; it opens {keys.wrap_path}."]
    if keys.has_file:
        lines.append("The key file still opens your forks without a question; 'ipse key remove-file' ends that.")
    _tell(screen, {"root": root_check(root), "passphrase": keys.wrap_path, "changed": changed}, *lines)


@key_group.command("remove-passphrase", epilog="\b\nExample:\n  ipse key remove-passphrase\n")
@store_options
def remove_passphrase(settings: Settings) -> None:
    """Remove the passphrase.

    The key file must be there, open, and hold the same key.
    """
    screen = Screen(as_json=settings.as_json)
    keys = _keys(settings)
    keys.remove_passphrase()
    _tell(
        screen,
        {"passphrase": None, "key_file": keys.key_path},
        f"The passphrase is removed; {keys.key_path} opens your forks without a question.",
    )


@key_group.command("add-file", epilog="\b\nExample:\n  ipse key add-file\n")
@store_options
def add_file(settings: Settings) -> None:
    """Let your forks open without a question.

    Writes the key file again, after the passphrase has opened the key.
    """
    screen = Screen(as_json=settings.as_json)
    keys = _keys(settings)
    written = keys.add_file(_opened(settings))
    _tell(
        screen,
        {"key_file": keys.key_path, "written": written},
        f"{'Wrote' if written else 'There is'} {keys.key_path}; it opens your forks without a question.",
    )


@key_group.command("remove-file", epilog="\b\nExample:\n  ipse key remove-file\n")
@store_options
def remove_file(settings: Settings) -> None:
    """Let only the passphrase open your forks.

    Removes the key file, after the passphrase was given and has opened the same key. The 24 words stay good. Copies
    in backups, and what the disk keeps of a removed file, are not reached.
    """
    screen = Screen(as_json=settings.as_json)
    keys = _keys(settings)
    keys.remove_file(lambda: passphrase_of(settings))
    _tell(
        screen,
        {"key_file": None, "passphrase": keys.wrap_path},
        f"{keys.key_path} is removed; from now on your forks open with the passphrase.",
    )


@key_group.command(
    "rotate",
    epilog="\b\nExamples:\n  ipse key rotate\n  ipse key rotate --keep-old old-root.key\n"
    "  ipse key rotate --passphrase-file old.txt --new-passphrase-file new.txt\n",
)
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    help="Where to read the passphrase of the new key, if the old one has one.  [default: ask, twice]",
)
@click.option(
    "--keep-old", metavar="FILE", type=click.Path(path_type=Path), help="Keep the old key, as a key file of this name."
)
@store_options
def rotate(settings: Settings, new_passphrase_file: Path | None, keep_old: Path | None) -> None:
    """Let a new root key take over every fork, and remove the old one.

    For when somebody may have seen the old one. What is recorded from then on opens with the new key only; copies of
    what was before still open with the old one. The new key gets a key file, a passphrase or both, as the old one
    has. End every other Ipse of this folder first. Stopped or killed, the same command finishes it.
    """
    from ipse.forks.rotation import rotate as rotated

    screen = Screen(as_json=settings.as_json)
    done = rotated(
        settings.data, lambda: passphrase_of(settings), lambda: new_passphrase(new_passphrase_file), keep_old=keep_old
    )
    if done.handed_over and _keys(settings).has_file:  # else the next command does it: nobody is asked twice
        with opened_home(settings, create=False) as home:
            publish_heads(home)
    old = "the old one" if done.old is None else root_name(done.old)
    forks = "1 fork goes" if done.forks == 1 else f"{done.forks} forks go"
    lines = [
        f"{'Finished: root' if done.resumed else 'Root'} {root_name(done.new)} has taken over from {old}; {forks} on.",
        f"identity     {done.identity.name}",
        "Your old words open nothing any more: write the new ones down: ipse key words",
    ]
    facts = {"root": done.new, "old": done.old, "identity": done.identity.name, "forks": done.forks}
    _tell(screen, facts | {"resumed": done.resumed, "kept": keep_old}, *lines)


for _name, _command in (("add-passphrase", set_passphrase), ("recover", restore)):
    key_group.add_command(_command, _name)
key_group.add_command(devices_group)


def _show_public(settings: Settings, screen: Screen) -> None:
    identity = _public(_opened(settings))
    if screen.as_json:
        screen.json({"identity": identity.name, "public": identity.to_text()})
    else:
        screen.stream(f"{identity.to_text()}\n")  # never broken, however narrow the terminal


def _public(root: RootKey) -> PublicIdentity:
    from ipse.vault.identity import Identity

    return Identity(root).public


def _tell(screen: Screen, payload: dict[str, Any], *lines: str) -> None:
    """The answer as JSON, or line by line: a path is never broken."""
    if screen.as_json:
        screen.json(payload)
    for line in lines:
        screen.say(line)


def _keys(settings: Settings) -> KeyRing:
    from ipse.forks.home import confirm_settled, key_ring

    confirm_settled(settings.data)
    return key_ring(settings.data)


def _opened(settings: Settings) -> RootKey:
    return _keys(settings).open(lambda: passphrase_of(settings))


def _given_words() -> str:
    """What a person types until there are enough words, or all of standard input."""
    from ipse.vault.words import WORD_COUNT, is_word, words_in

    if sys.stdin.isatty():
        typed: list[str] = []
        while len(typed) < WORD_COUNT:
            line = words_in(
                click.prompt(f"Word {len(typed) + 1}, or several", default="", show_default=False, err=True)
            )
            if not line:
                break
            wrong = [word for word in line if not is_word(word)]
            if wrong:  # said at once: nobody should type 24 words twice
                click.echo(f"{printable(wrong[0])} is not a recovery word; type this line again.", err=True)
            else:
                typed += line
        return " ".join(typed)
    data = sys.stdin.buffer.read(_MAX_WORDS_BYTES + 1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError("The words on standard input are not UTF-8.", "Send the 24 words as text.") from error
