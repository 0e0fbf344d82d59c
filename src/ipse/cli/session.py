# SPDX-License-Identifier: Apache-2.0
"""A chat from its first line to its last: show the reply, learn, tell what was learned, read on.

What was shown as learned is on disk: the quiet line is printed after the record is durable, and never before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.table import Table
from rich.text import Text

from ipse.cli.interrupts import Interruptible
from ipse.cli.lines import Lines
from ipse.cli.screen import Screen, printable
from ipse.cli.slash import Message, Slash, help_lines, needed_number, number, parse, switch
from ipse.cli.told import history_table, learned_json, learned_line, rollback_json, rollback_line
from ipse.errors import InputError, IpseError, StoreBusy, StoreFull
from ipse.forks.interact import LearningReport, UserInput, UserModelLifecycle

EARLIER_MESSAGES = 200
"""How many of the fork's earlier messages the arrow keys reach."""

_SURVIVED = (InputError, StoreBusy, StoreFull)
"""Errors after which the session goes on: nothing was changed, and the next line may do better."""


class ChatSession:
    """One chat with one fork."""

    def __init__(self, life: UserModelLifecycle, screen: Screen) -> None:
        self._life = life
        self._screen = screen
        self._commands: dict[str, Callable[[str], None]] = {
            "good": lambda _: self._tell(self._life.rate(good=True), "learned towards it"),
            "bad": lambda _: self._tell(self._life.rate(good=False), "learned away from it"),
            "edit": self._edit,
            "undo": self._undo,
            "rollback": self._rollback,
            "why": lambda _: self._why(),
            "history": self._history,
            "learn": self._learn,
            "incognito": self._incognito,
            "help": lambda _: self._help(),
        }

    def run(self, lines: Lines, *, scripted: bool) -> int:
        """Read and answer until the lines end.

        Args:
            scripted: a script cannot see an error and try again, so its exit code tells.

        Returns:
            0, or for a script the code of the worst line: 1 something went wrong, 2 it could not be used.
        """
        worst: IpseError | None = None
        while True:
            try:
                if not self.handle(lines.next_line(), scripted=scripted):
                    break
            except EOFError:
                break
            except KeyboardInterrupt:
                if scripted:
                    raise
                self._screen.quiet("Ctrl-D or /quit leaves.")
            except _SURVIVED as error:
                worst = error if worst is None or isinstance(worst, InputError) else worst
                self._report(error)
        if worst is None or not scripted:
            return 0
        return 2 if isinstance(worst, InputError) else 1

    def handle(self, line: str, *, scripted: bool = False) -> bool:
        """Do one line; False when it was the last."""
        said = parse(line)
        if said == Slash("quit", ""):
            return False
        with Interruptible() as stop:
            if isinstance(said, Message):
                self._converse(said.text, stop)
            else:
                self._commands[said.name](said.argument)
                if stop():
                    self._screen.quiet("Ctrl-C: the work was finished first.")
        if stop() and scripted:
            raise KeyboardInterrupt
        return True

    def earlier_messages(self) -> list[str]:
        """What the owner said before, oldest first."""
        return [e.input_text for e in self._life.history() if e.kind == "interaction"][-EARLIER_MESSAGES:]

    def standing(self) -> str:
        """One line on how the fork stands now."""
        fork = self._life.fork
        learning = "incognito" if self._life.incognito else f"learning {'on' if self._life.learning else 'off'}"
        return f" {fork.owner} · height {fork.fork_height} · {learning} · /help"

    # -- a message --------------------------------------------------------------------------------

    def _converse(self, text: str, stop: Interruptible) -> None:
        screen = self._screen
        shown = not screen.as_json
        if shown:
            screen.out.print(Text("ipse › ", "bold magenta"), end="")
        try:
            output = self._life.interact(UserInput(text), on_text=screen.stream if shown else None, cancelled=stop)
        finally:
            if shown:
                screen.out.print()
        if screen.as_json:
            screen.json({"event": "reply", "text": output.text, "finish": output.finish})
        if stop():
            screen.quiet("Ctrl-C: the reply was stopped.")
        stop_before = stop()
        report = self._life.learn_pending()
        if report is not None:
            self._tell(report, "learned")
        elif self._life.incognito:
            screen.quiet("  incognito: nothing learned, nothing recorded")
        if stop() and not stop_before:
            screen.quiet("Ctrl-C: the update was finished first.")

    def _tell(self, report: LearningReport, what: str) -> None:
        if self._screen.as_json:
            self._screen.json({"event": "learned", **learned_json(report)})
        else:
            self._screen.quiet(f"  {learned_line(report, what)}")

    # -- commands ---------------------------------------------------------------------------------

    def _edit(self, text: str) -> None:
        if not text:
            raise InputError("/edit wants the words that the reply should have been.", "Type /edit TEXT.")
        self._tell(self._life.edit(text), "learned the correction")

    def _undo(self, argument: str) -> None:
        undone = self._life.undo(number("undo", argument))
        self._event({"event": "undone", "record": undone}, f"undone: record {undone}")

    def _rollback(self, argument: str) -> None:
        done = self._life.rollback(needed_number("rollback", argument, least=0))
        height = self._life.fork.fork_height
        self._event(
            {"event": "rolled_back", **rollback_json(done, height)},
            f"{rollback_line(done, height)} /undo {done.seq} takes that back.",
        )

    def _why(self) -> None:
        why = self._life.why()
        parts = ", ".join(f"{name} {share:.0%}" for name, share in why.top)
        words = ", ".join(printable(word) for word in why.nearest_words)
        self._event(
            {"event": "why", "top": [list(item) for item in why.top], "nearest_words": why.nearest_words},
            f"changed most: {parts}\n  more likely now: {words}",
        )

    def _history(self, argument: str) -> None:
        entries = self._life.history()[-(number("history", argument) or 10) :]
        if self._screen.as_json:
            self._screen.json({"event": "history", "entries": entries})
        elif entries:
            self._screen.out.print(history_table(entries, self._screen.out.width))
        else:
            self._screen.quiet("  nothing yet")

    def _learn(self, argument: str) -> None:
        self._life.learning = switch("learn", argument)
        self._event({"event": "learn", "on": self._life.learning}, f"learning is {argument}")

    def _incognito(self, argument: str) -> None:
        self._life.incognito = switch("incognito", argument) if argument else not self._life.incognito
        on = self._life.incognito
        self._event(
            {"event": "incognito", "on": on},
            "incognito: from here nothing is learned and nothing is recorded" if on else "no longer incognito",
        )

    def _help(self) -> None:
        if self._screen.as_json:
            self._screen.json({"event": "help", "commands": dict(help_lines())})
            return
        table = Table.grid(padding=(0, 2))
        for usage, meaning in help_lines():
            table.add_row(Text(f"  {usage}", "cyan"), meaning)
        self._screen.out.print(table)

    # -- inside -----------------------------------------------------------------------------------

    def _event(self, payload: dict[str, Any], shown: str) -> None:
        if self._screen.as_json:
            self._screen.json(payload)
        else:
            self._screen.quiet(f"  {shown}")

    def _report(self, error: IpseError) -> None:
        if self._screen.as_json:
            self._screen.json({"event": "error", "error": error.message, "hint": error.hint})
        self._screen.error(error.message, error.hint)
