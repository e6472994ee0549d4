"""An upload shows a bar on a terminal, which disappears at the end."""

from __future__ import annotations

import io

from decloud_pl.cli.ui.report import TerminalReporter
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import Changed, Uploading


def test_an_upload_has_a_bar_until_it_is_pinned() -> None:
    reporter = TerminalReporter()
    reporter.console.file = io.StringIO()
    row = RoundRecord(3, State.PUBLISHING, "custom", "digits", "cid", 1, update_size=1000)
    reporter.report(Changed(row))
    reporter.report(Uploading(3, "pinata", 250, 1000))
    reporter.report(Uploading(3, "pinata", 500, 1000))
    (task,) = reporter.progress.tasks
    assert task.description == "Round 3: pinning with pinata"
    assert (task.completed, task.total, task.fields["unit"]) == (500, 1000, "bytes")
    pinned = RoundRecord(3, State.PUBLISHING, "custom", "digits", "cid", 1, update_size=1000, pinned_cid="cid")
    reporter.report(Changed(pinned))
    assert reporter.progress.tasks == []
