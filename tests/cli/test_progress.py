"""What takes time says how far it has come, in plain lines where there is no terminal."""

from __future__ import annotations

import pytest

from decloud_pl.cli.ui.progress import steps, transfer


def test_a_transfer_has_a_line_at_once_and_another_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with transfer("Downloading mnist", monotonic=lambda: now[0]) as report:
        for second in range(25):
            now[0] = float(second)
            report("train-images-idx3-ubyte.gz", second * 1_000_000, 30_000_000)
        now[0] = 31.0
        report("labels", 2_000_000, 0)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "Downloading mnist…",
        "Downloading mnist: train-images-idx3-ubyte.gz, 10 of 30 MB",
        "Downloading mnist: train-images-idx3-ubyte.gz, 20 of 30 MB",
        "Downloading mnist: labels, 2 MB",
    ]


def test_steps_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with steps() as tell:
        tell("Round 7: scoring…")
    assert capsys.readouterr().err == "Round 7: scoring…\n"


def test_a_terminal_gets_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with transfer("Downloading mnist") as report:
        report("labels", 5_000_000, 10_000_000)
    assert "Downloading mnist: labels" in capsys.readouterr().err
