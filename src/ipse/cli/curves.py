# SPDX-License-Identifier: Apache-2.0
"""Learning curves, drawn in the terminal (plotext) and as a picture (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

# Okabe and Ito's blue and vermilion: told apart by every kind of eye, on dark and on light.
_PICTURE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_TERMINAL_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167))

_PICTURE_STYLES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"linewidth": 2.2}, {"fontsize": 9}),
    ({"linewidth": 1, "linestyle": (0, (4, 3)), "alpha": 0.7}, {"fontsize": 8, "alpha": 0.8}),
)
"""Of a fork's line and of its name: on its own user's words, on the other's."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss against what was learned.

    Attributes:
        name: whose.
        points: (interactions learned, loss in nats per token), in order.
        other: the same fork on the other user's words; drawn thin and dashed, in the picture only.
    """

    name: str
    points: tuple[tuple[int, float], ...] = ()
    other: tuple[tuple[int, float], ...] = field(default=())

    def reached(self, learned: int, loss: float, loss_on_other: float) -> Curve:
        """The curve with one more point."""
        return Curve(self.name, (*self.points, (learned, loss)), (*self.other, (learned, loss_on_other)))


def terminal_chart(curves: Sequence[Curve], *, width: int, height: int, most: int) -> Text:
    """The curves as text with colours.

    Args:
        width, height: in character cells.
        most: interactions at the right edge, so that a growing curve does not rescale.
    """
    import plotext

    losses = [loss for curve in curves for _, loss in curve.points]
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    figure.axes(False, side=1)  # no frame above and at the right
    for curve, colour in zip(curves, _TERMINAL_COLOURS, strict=False):
        signal = figure.signal(
            [x for x, _ in curve.points],
            [y for _, y in curve.points],
            marker=plotext.marker("braille", pixel=colour),
        )
        figure.draw(signal.lines(True))
    low, high = _rounded(min(losses)), _rounded(max(losses), up=True)
    step = 0.25 if high - low <= 1.5 else 0.5 if high - low <= 3 else 1.0
    levels = [low + step * count for count in range(int((high - low) / step) + 1)]
    turns = list(range(0, most + 1, 10 if most <= 100 else 50)) if most >= 10 else [0, most]
    figure.ruler("x").lim(0, most).ticks(turns, [str(turn) for turn in turns])
    figure.ruler("y").lim(low, high).ticks(levels, [f"{level:.2f}" for level in levels])
    chart = Text("\n").join(_line(line) for line in figure.build().string().splitlines())
    chart.no_wrap = True
    return chart.append("\n").append(_legend(curves))


def _line(ansi: str) -> Text:
    line = Text.from_ansi(ansi)
    line.rstrip()
    return line


def _legend(curves: Sequence[Curve]) -> Text:
    """Which colour is whose, and what the axes are."""
    legend = Text("    ")
    for curve, colour in zip(curves, _TERMINAL_COLOURS, strict=False):
        legend.append("⠤⠤ ", f"bold rgb({colour[0]},{colour[1]},{colour[2]})").append(f"{curve.name}'s fork   ")
    return legend.append("across: turns learned, up: loss", "dim")


def save_picture(curves: Sequence[Curve], path: Path) -> None:
    """The curves as a PNG; its folder is made.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for at, (curve, colour) in enumerate(zip(curves, _PICTURE_COLOURS, strict=False)):
        drawn = [(curve.points, curve.name)]
        if curve.other:
            drawn.append((curve.other, curves[1 - at].name))
        for (points, words), (line, text) in zip(drawn, _PICTURE_STYLES, strict=False):
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, **line)
            name = f"{curve.name}'s fork,\n{words}'s words"
            axes.annotate(name, (x[-1], y[-1]), (6, 0), textcoords="offset points", color=colour, va="center", **text)
    axes.set_xlabel("turns learned")
    axes.set_ylabel("loss on held-out words (nats per token)")
    axes.set_title("Two forks of one base, each learning its own user", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlim(left=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _rounded(value: float, *, up: bool = False) -> float:
    """To the next quarter, so that the axis stands still while curves move a little."""
    quarters = value * 4
    floor = int(quarters // 1)
    return (floor + 1 if up and quarters > floor else floor) / 4
