"""Long tasks show their progress, in plain lines without a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.cli.downloads import download_first
from decloud_pl.cli.ui.progress import steps, transfer
from decloud_pl.data.catalog import Catalog, entry
from decloud_pl.data.entry import DataFolder
from decloud_pl.errors import DatasetNotFound


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


def test_an_experiment_shows_the_download_of_its_data_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    catalog = Catalog(DataFolder(tmp_path, mirror="nowhere:"))
    download_first(entry("digits").node, catalog)  # a dependency contains it
    download_first({"_target_": "our_package.Source"}, catalog)
    assert capsys.readouterr().err == ""
    with pytest.raises(DatasetNotFound):
        download_first(entry("svhn").node, catalog)
    assert capsys.readouterr().err == "Downloading svhn…\n"
