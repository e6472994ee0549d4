"""The log contains all events, has a limited size, and only its owner can read it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.errors import ConfigError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.observers.log import LOG_FILE, logged
from decloud_pl.rounds.events import Changed, DaemonEvent, Skipped, Training, Trouble


class Nobody:
    def __init__(self) -> None:
        self.events: list[DaemonEvent] = []

    def report(self, event: DaemonEvent) -> None:
        self.events.append(event)


def test_events_are_written_and_handed_on(tmp_path: Path) -> None:
    nobody = Nobody()
    events: list[DaemonEvent] = [
        Skipped(7, "it is completed"),
        Changed(RoundRecord(8, State.SEEN, "custom", "digits", "bafy", 1, reason="it fits")),
        Training(8, "fit", 0, 1, 2, 0.5, None),
        Trouble(8, "The store is down."),
    ]
    with logged(nobody, tmp_path) as reporter:
        for event in events:
            reporter.report(event)
        logging.getLogger("decloud_pl.chain.watch").info("The WebSocket is gone")
    logging.getLogger("decloud_pl.chain.watch").warning("not written any more")
    lines = [line.split(" ", 1)[1] for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert lines == [
        "INFO round 7 not joined: it is completed",
        "INFO round 8 seen: it fits",
        "WARNING round 8: The store is down.",
        "INFO The WebSocket is gone",
    ]
    assert nobody.events == events


def test_a_strangers_text_forges_no_line(tmp_path: Path) -> None:
    with logged(Nobody(), tmp_path) as reporter:
        reporter.report(Trouble(8, "bad\r\n2026-01-01T00:00:00+0000 INFO round 8 claimed\x1b[2J\u202e"))
        logging.getLogger("decloud_pl.chain").warning("%s", "y" * 5_000_000)
    first, second = (tmp_path / LOG_FILE).read_bytes().splitlines()
    assert first.endswith(b"round 8: bad  2026-01-01T00:00:00+0000 INFO round 8 claimed\\x1b[2J\\u202e")
    assert len(second) < 10_000


def test_its_folder_and_its_files_are_private(tmp_path: Path) -> None:
    with logged(Nobody(), tmp_path / "home") as reporter:
        for _ in range(1_300):
            reporter.report(Trouble(8, "x" * 4_000))
    files = sorted((tmp_path / "home/logs").iterdir())
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "home", tmp_path / "home/logs")} == {0o700}


def test_a_state_is_written_once_and_again_for_a_new_reason(tmp_path: Path) -> None:
    row = RoundRecord(3, State.TRAINING, "custom", "digits", "bafy", 1)
    publishing = replace(row, state=State.PUBLISHING, update_cid="bafyupdate")
    failed = replace(publishing, reason="The store is down.", attempts=1, next_try_at=9)
    submitted = replace(row, state=State.SUBMITTED, reason="submitted, waiting for the other trainers")
    with logged(Nobody(), tmp_path) as reporter:
        for event in (
            *(Changed(row), Changed(replace(row, update_cid="bafyupdate", train_seconds=2.0)), Changed(publishing)),
            *(Changed(failed), Trouble(3, "The store is down."), Changed(replace(failed, reason=""))),
            *(Changed(submitted), Changed(submitted), Changed(replace(submitted, reason="submitted, waiting"))),
            *(Changed(replace(row, state=State.CLAIMED)), Changed(submitted)),
        ):
            reporter.report(event)
    lines = [line.split(" ", 2)[2] for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert lines == [
        "round 3 training",
        "round 3 publishing",
        "round 3: The store is down.",
        "round 3 submitted: submitted, waiting for the other trainers",
        "round 3 submitted: submitted, waiting",
        "round 3 claimed",
        "round 3 submitted: submitted, waiting for the other trainers",
    ]


def test_it_rotates(tmp_path: Path) -> None:
    with logged(Nobody(), tmp_path) as reporter:
        for number in range(9_000):
            reporter.report(Trouble(number, "x" * 4_000))
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["daemon.log", *(f"daemon.log.{number}" for number in range(1, 6))]
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) < 31_000_000


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ConfigError, match=r"daemon\.log cannot be written"), logged(Nobody(), tmp_path):
        pass


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / LOG_FILE).symlink_to("/dev/full")
    nobody = Nobody()
    with logged(nobody, tmp_path) as reporter:
        for number in range(3):
            reporter.report(Trouble(number, "The store is down."))
    said = [event.message for event in nobody.events if isinstance(event, Trouble)]
    assert [message for message in said if "cannot be written" in message] == said[:1]
    assert len(said) == 4
    assert capsys.readouterr().err == ""
