"""Report folders: metrics during a training, curves afterwards, and settings without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.config import Secrets, compose
from decloud_pl.daemon.settings import banner, facts, public_settings
from decloud_pl.errors import UsageError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.observers import plots
from decloud_pl.observers.reports import (
    COLUMNS,
    CONFIG_FILE,
    CURVES_FILE,
    METRICS_FILE,
    NOTES_FILE,
    ReportWriter,
    read_metrics,
)
from decloud_pl.rounds.events import Changed, Training

PNG = b"\x89PNG\r\n"


def fit(step: int, loss: float) -> Training:
    return Training(3, "fit", 0, step, 100, loss, None)


def trained() -> Changed:
    row = RoundRecord(3, State.TRAINING, "custom", "digits", "bafybase", 10**9, update_cid="bafyupdate")
    return Changed(row)


async def test_a_training_leaves_metrics_settings_and_curves(tmp_path: Path) -> None:
    writer = ReportWriter(tmp_path, {"epochs": 2}, now=lambda: 12.5)
    writer.report(Training(3, "prepare", 0, 0, 0, None, None))
    writer.report(Training(3, "probe", 0, 0, 0, None, None, "Probe: nothing was better."))
    writer.report(Training(3, "choose", 0, 0, 0, None, None))
    writer.report(Training(3, "probe", 0, 7, 9, 5.5, None))
    writer.report(Training(3, "baseline", 0, 0, 0, None, 0.1))
    for step in (1, 50, 100):
        writer.report(fit(step, 1 / step))
        # Each line must be on disk immediately, because the dashboard plots a running training.
        assert read_metrics(tmp_path / "3" / METRICS_FILE)[-1].step == step
    writer.report(Training(3, "score", 0, 0, 0, None, 0.9))
    writer.report(trained())
    await writer.aclose()
    lines = (tmp_path / "3" / METRICS_FILE).read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    # Messages without a measurement have no line.
    assert lines[2:4] == ["12.500,baseline,0,0,0,,0.1", "12.500,fit,0,1,100,1,"]
    assert (tmp_path / "3" / NOTES_FILE).read_text() == "1970-01-01T00:00:12+00:00 Probe: nothing was better.\n"
    assert json.loads((tmp_path / "3" / CONFIG_FILE).read_text()) == {"epochs": 2}
    assert (tmp_path / "3" / CURVES_FILE).read_bytes().startswith(PNG)
    metrics = read_metrics(tmp_path / "3" / METRICS_FILE)
    assert plots.accuracies(metrics) == [(0, 0.1), (100, 0.9)]
    assert plots.losses(metrics) == [(1, 1.0), (50, 0.02), (100, 0.01)], "without the steps of a trial"


def test_a_resumed_training_replaces_the_steps_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    rows = ["1,prepare,0,0,0,,", "1,fit,0,10,100,2,", "1,fit,0,20,100,1,", "2,prepare,0,0,0,,", "2,fit,0,15,100,1.5,"]
    path.write_text("\n".join([",".join(COLUMNS), *rows, "3,fit,0,"]))  # the last line is incomplete
    assert [(row.stage, row.step) for row in read_metrics(path) if row.stage == "fit"] == [("fit", 10), ("fit", 15)]


async def test_a_note_at_the_end_of_a_fit_keeps_the_curve(tmp_path: Path) -> None:
    writer = ReportWriter(tmp_path, {}, now=lambda: 1.0)
    for step in (1, 2):
        writer.report(fit(step, 1 / step))
    writer.report(Training(3, "fit", 0, 0, 0, None, None, "Stopped after 2 of 100 steps."))
    await writer.aclose()
    assert [row.loss for row in read_metrics(tmp_path / "3" / METRICS_FILE)] == [1.0, 0.5]
    assert (tmp_path / "3" / NOTES_FILE).read_text().endswith(" Stopped after 2 of 100 steps.\n")


@pytest.mark.parametrize(
    ("rows", "steps"),
    [
        (["1,prepare,0,0,0,,", "1,fit,0,0,100,2.3,", "1,fit,0,1,100,2,"], [1]),  # accumulated gradients
        (["1,fit,0,1,100,2,", "1,fit,0,2,100,1,", "1,fit,0,0,0,,"], [1, 2]),  # a note of an earlier version
        (["1,fit,0,-1,100,2,", "1,fit,0,1,-100,2,", "1,fit,0,1,100,2,"], [1]),
        (["1,fit,0,5,100,2,", "1,fit,0,3,100,2,", "1,fit,0,5,100,2,", "1,fit,0,5,100,2,"], [3, 5]),
        (["1,fit,0,1,100,2,", f"1,fit,0,{'9' * 400},100,2,", f"1,fit,0,2,{'9' * 400},2,"], [1]),
        (['1,"fit,0,1,100,2,', "1,fit,0,1,100,2,"], [1]),
        ([f"1,{'x' * 200_000},0,1,100,2,", "1,fit,0,1,100,2,"], [1]),
        (["", ",,,,,,", "1", "fit", "1,fit,0,1,100,2,,,,,", "\0,\0"], [1]),
    ],
)
def test_odd_rows_leave_the_other_rows(tmp_path: Path, rows: list[str], steps: list[int]) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    assert [row.step for row in read_metrics(path) if row.stage == "fit"] == steps


def test_no_file_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "absent.csv") == []


async def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    writer = ReportWriter(tmp_path / "file", {})
    writer.report(fit(1, 2.0))
    writer.report(fit(2, 1.0))
    writer.report(trained())
    await writer.aclose()
    assert len(caplog.records) == 1


def test_settings_are_told_without_secrets() -> None:
    settings = compose(
        [
            "network.rpc_url='https://user:pass@rpc.example/KEY-IN-PATH?api-key=KEY-IN-QUERY'",
            "network.ws_url=wss://rpc.example/KEY-IN-PATH",
            "network.gateways=[https://gateway.example/KEY-IN-PATH]",
            "network.fallback_rpc_urls=['https://other.example/?api-key=KEY-IN-QUERY']",
        ]
    )
    settings.secrets = Secrets({"notify_urls": "json://KEY-OF-NOTES", "private_key": "KEY-OF-WALLET"})
    text = json.dumps(public_settings(settings), ensure_ascii=False)
    assert "KEY" not in text
    assert "pass" not in text
    assert "https://…@rpc.example/…" in text
    assert json.loads(text)["epochs"] == 1
    assert facts(settings, "quick-test")["preset"] == "quick-test"


def test_a_log_begins_with_the_settings() -> None:
    """The log has the facts of the documented banner, one per line."""
    plain = ["0 SOL", "unlimited", "1", "as many as fit in 600 s", "yes", "yes"]
    chosen = ["rewards.min=0.01", "rewards.max=2", "epochs=2", "max_concurrent_rounds=3", "auto_train=false"]
    rows = {
        "none": ([], ["any", *plain]),
        "image-small": (["preset=image-small"], ["mnist, fashionmnist, cifar10", *plain]),
        "mine": ([*chosen, "auto_claim=false"], ["any", "0.01 SOL", "2 SOL", "3", "2", "no", "no"]),
    }
    names = ("Data sets", "Min reward", "Max reward", "Max parallel", "Epochs", "Auto-train", "Auto-claim")
    for preset, (overrides, values) in rows.items():
        first, second, *lines = banner(compose(overrides), preset, "the address")
        assert (first.split(maxsplit=1), second.split()) == (["Wallet", "the address"], ["Preset", preset])
        assert lines == [f"{name:<12}  {value}" for name, value in zip(names, values, strict=True)]
    header = facts(compose(chosen), "mine")
    assert (header["rounds"], header["automatic"]) == ("3 at a time, epochs: 2", "join, claim")


def test_earnings_are_drawn(tmp_path: Path) -> None:
    claims = [(1_700_000_000.0 + day * 86_400, 10**8) for day in range(5)]
    plots.earnings(claims, tmp_path / "earnings.png")
    assert (tmp_path / "earnings.png").read_bytes().startswith(PNG)
    plots.earnings(claims, tmp_path / "earnings.svg")
    assert "Earned 0.5 SOL in 5 rounds" in (tmp_path / "earnings.svg").read_text()


@pytest.mark.parametrize(
    ("name", "claims", "words"),
    [
        ("a.png", [], "no earnings to plot"),
        ("a.docx", [(1.0, 1)], "png, .svg or .pdf"),
        ("absent/a.png", [(1.0, 1)], "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, name: str, claims: list[tuple[float, int]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plots.earnings(claims, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_daemon_loads_no_plotting_library() -> None:
    code = "import sys, decloud_pl.daemon.assemble, decloud_pl.dashboard.app; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
