# SPDX-License-Identifier: Apache-2.0
"""``ipse key``: what opens your forks: a key file, a passphrase, and 24 words on paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ipse.cli.passphrase import new_passphrase, passphrase_of
from ipse.cli.screen import Screen, printable
from ipse.cli.settings import Settings, store_options
from ipse.errors import InputError
from ipse.vault.keyring import root_name
from ipse.vault.keys import root_check
from ipse.vault.wraps import load_wrap

if TYPE_CHECKING:
    from ipse.vault.keyring import KeyRing
    from ipse.vault.keys import RootKey

WORDS_PER_LINE = 4
_MAX_WORDS_BYTES = 4096


@click.group(
    "key",
    epilog="""\b
Examples:
  ipse key show
  ipse key words                write them on paper: they bring everything back
  ipse key set-passphrase       then, if you like: ipse key remove-file
  ipse key restore              from the 24 words
""",
)
def key_group() -> None:
    """Look after the key of your forks.

    One root key opens all of them. It can lie in a key file, under a passphrase, and on paper as 24 words; any of
    the three is enough, and none of these commands touches a fork.
    """


@key_group.command("show", epilog="\b\nExample:\n  ipse key show --json\n")
@store_options
def show(settings: Settings) -> None:
    """Which root key this folder has, and what opens it. Asks for nothing and shows no secret."""
    screen = Screen(as_json=settings.as_json)
    keys = _keys(settings)
    if not keys.has_file and not keys.has_passphrase:
        _tell(
            screen,
            {"root": None, "key_file": None, "passphrase": None},
            f"No key in {settings.data}; 'ipse chat' makes one, 'ipse key restore' brings yours back.",
        )
        return
    facts: dict[str, Any] = {"key_file": None, "passphrase": None}
    key_file, passphrase = "none", "none; 'ipse key set-passphrase' makes one"
    if keys.has_passphrase:
        wrap = load_wrap(keys.wrap_path)
        check, cost = wrap.check, wrap.cost
        facts["passphrase"] = {"file": keys.wrap_path, "kdf": "argon2id", "cost": cost}
        passphrase = f"{keys.wrap_path}: {cost.memory_kib // 1024} MiB and {cost.passes} passes of Argon2id a guess"
    if keys.has_file:
        check = root_check(_opened(settings))
        facts["key_file"] = keys.key_path
        key_file = f"{keys.key_path}: opens without a question"
    _tell(
        screen,
        {"root": check, **facts},
        f"root         {root_name(check)}: what this key is called; no secret",
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
    from ipse.forks.home import confirm_root
    from ipse.vault.words import root_of

    screen = Screen(as_json=settings.as_json)
    root = root_of(_given_words())
    forks = confirm_root(settings.data, root)
    keys = _keys(settings)
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


def _tell(screen: Screen, payload: dict[str, Any], *lines: str) -> None:
    """The answer as JSON, or line by line: a path is never broken."""
    if screen.as_json:
        screen.json(payload)
    for line in lines:
        screen.say(line)


def _keys(settings: Settings) -> KeyRing:
    from ipse.forks.home import key_ring

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
