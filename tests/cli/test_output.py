"""Tables fit 80 columns; nothing but text leaves a command whose output is no terminal."""

from __future__ import annotations

import pytest

from decloud_pl.cli.output import print_table
from decloud_pl.cli.times import until


def test_a_table_is_aligned_and_ends_each_line_cleanly(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([">round", "data set"], [["7", "mnist"], ["1234567", "x"]])
    assert capsys.readouterr().out == "  round  data set\n      7  mnist\n1234567  x\n"


@pytest.mark.parametrize("text", ["word " * 40, "x" * 300, "one,two," * 30])
def test_a_long_cell_goes_on_below(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "value", "origin"], [["a" * 20, text, "built-in"]], flexible=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].endswith("built-in")
    cells = "".join(line[22:70].strip() for line in lines[1:])
    assert cells.removesuffix("built-in").replace(" ", "").replace("built-in", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "in 0 s"), (59, "in 59 s"), (60, "in 1 min"), (7200, "in 2 h"), (90_000, "in 1 d"), (-61, "1 min ago")],
)
def test_times_in_words(seconds: int, text: str) -> None:
    assert until(seconds) == text
