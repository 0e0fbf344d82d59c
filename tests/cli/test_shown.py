# SPDX-License-Identifier: Apache-2.0
"""What reaches the terminal: nothing raw, nothing cut, and curves that can be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from ipse.cli.curves import Curve, save_picture, terminal_chart
from ipse.cli.screen import Screen, first_line, printable
from ipse.cli.told import readable_bytes


@given(st.text())
def test_no_escape_and_no_direction_override_survives(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & {"\x1b", "\x00", "\x07", "\x9b", "\r", "\u202e"}


def test_markup_in_a_reply_is_words_and_not_markup() -> None:
    out = io.StringIO()
    screen = Screen(as_json=False, out=Console(file=out, width=80), err=Console(file=out, width=80))
    screen.stream("[red]hi[/red] :smile:")
    screen.say(" [bold]x")
    screen.error("no [such] thing", "try [/that]")
    assert out.getvalue() == "[red]hi[/red] :smile: [bold]x\nerror: no [such] thing\nhint: try [/that]\n"


@given(st.text(max_size=200), st.integers(1, 40))
def test_a_first_line_is_one_line_that_fits(text: str, width: int) -> None:
    line = first_line(text, width)
    assert len(line) <= width
    assert "\n" not in line


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (7_216, "7.2 kB"), (111_000_000, "111.0 MB"), (7 * 10**10, "70.0 GB")],
)
def test_bytes_are_told_in_decimal_units(count: int, shown: str) -> None:
    assert readable_bytes(count) == shown


def test_json_is_one_line_with_bytes_as_hex_and_paths_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(as_json=True).result({"op": b"\x01\xff", "at": Path("a/b"), "say": "größe"}, "not this")
    assert capsys.readouterr().out == '{"op": "01ff", "at": "a/b", "say": "größe"}\n'
    with pytest.raises(TypeError):
        Screen(as_json=True).json(object())


CURVES = (
    Curve("ada", ((0, 5.4), (5, 5.0), (10, 4.6)), ((0, 4.7), (5, 4.6), (10, 4.6))),
    Curve("bert", ((0, 4.7), (5, 4.4), (10, 4.2)), ((0, 5.4), (5, 5.3), (10, 5.2))),
)


def test_a_chart_fits_its_size_and_names_whose_curve_is_whose() -> None:
    chart = terminal_chart(CURVES, width=70, height=12, most=20)
    lines = chart.plain.splitlines()
    assert max(len(line) for line in lines) <= 70
    assert len(lines) == 12 + 1
    assert "ada's fork" in lines[-1]
    assert "bert's fork" in lines[-1]
    assert any(line.startswith("5.50") for line in lines)
    assert "\x1b" not in chart.plain


@pytest.mark.parametrize("points", [((0, 5.0),), ((0, 5.0), (1, 5.0))])
def test_a_chart_of_almost_nothing_is_drawn_too(points: tuple[tuple[int, float], ...]) -> None:
    assert "5.00" in terminal_chart([Curve("ada", points, points)], width=60, height=10, most=1).plain


def test_the_picture_is_a_picture_in_a_folder_that_it_makes(tmp_path: Path) -> None:
    save_picture(CURVES, tmp_path / "out" / "curves.png")
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.size == (1200, 675)
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 10
