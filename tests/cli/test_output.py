"""Tables fit 80 columns, and commands print plain text unless stdout is a terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from decloud_pl.cli.results import lines as experiment_lines
from decloud_pl.cli.ui.output import print_table, until
from decloud_pl.cli.ui.report import lines_of
from decloud_pl.experiment.results import Result
from decloud_pl.journal.record import RoundRecord, State
from tests.cli.terminal import Terminal


def test_a_table_is_aligned_and_ends_each_line_cleanly(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([">round", "data set"], [["7", "mnist"], ["1234567", "x"]])
    assert capsys.readouterr().out == "  round  data set\n      7  mnist\n1234567  x\n"


@pytest.mark.parametrize("text", ["word " * 40, "x" * 300, "one,two," * 30])
def test_a_long_cell_is_wrapped(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "value", "origin"], [["a" * 20, text, "built-in"]], flexible=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].endswith("built-in")
    cells = "".join(line[22:70].strip() for line in lines[1:])
    assert cells.removesuffix("built-in").replace(" ", "").replace("built-in", "") == text.replace(" ", "")


LIST = (sys.executable, "-m", "decloud_pl.cli", "config", "--preset", "list")


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)], ids=str
)
def test_colours_on_a_terminal_unless_nobody_wants_them(environ: dict[str, str], coloured: bool) -> None:
    with Terminal(LIST, {**os.environ, **environ}) as terminal:
        assert terminal.end() == 0
    assert "image-small" in terminal.shown
    assert ("\x1b[" in terminal.shown) is coloured


def test_nothing_but_text_goes_into_a_pipe() -> None:
    done = subprocess.run(LIST, capture_output=True, text=True, check=True, env={**os.environ, "TERM": "xterm"})
    assert "image-small" in done.stdout
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-1])


def test_a_closed_pipe_is_not_a_failure() -> None:
    with subprocess.Popen(LIST, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "in 0 s"), (59, "in 59 s"), (60, "in 1 min"), (7200, "in 2 h"), (90_000, "in 1 d"), (-61, "1 min ago")],
)
def test_times_in_words(seconds: int, text: str) -> None:
    assert until(seconds) == text


def test_an_update_without_accuracies_is_not_measured() -> None:
    trained = RoundRecord(
        3, State.TRAINING, "custom", "digits", "bafymodel", 10**9, update_cid="bafyu", train_seconds=2
    )
    assert lines_of(trained, (State.TRAINING, "")) == ["Round 3: trained in 2.0 s, accuracy not measured."]
    result = Result("", "0", "digits", {}, architecture="mine", update_bytes=4_000, encoding="float16", seconds=1.5)
    assert [line for line in experiment_lines(result) if line.startswith(("accuracy", "gain"))] == [
        "accuracy before   not measured",
        "accuracy after    not measured",
        "gain              not measured",
    ]
