"""Show the rounds in this machine's journal.

Needs no wallet and no internet connection.

Examples:
  decloud-trainer history
  decloud-trainer history --last 20
  decloud-trainer history --json
  decloud-trainer history --csv > rounds.csv
  decloud-trainer history --plot earnings.png
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import FILE, as_json, command, overrides

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from decloud_pl.journal.owner import Owner
    from decloud_pl.journal.record import RoundRecord

_CSV_COLUMNS = (
    "round",
    "network",
    "program",
    "wallet",
    "changed",
    "state",
    "dataset",
    "reward_lamports",
    "earned_lamports",
    "cost_lamports",
    "contribution_bps",
    "accuracy_before",
    "accuracy_after",
    "gain",
    "join_seconds",
    "train_seconds",
    "publish_seconds",
    "claim_seconds",
    "reason",
)


@command(__doc__)
@click.option("--last", type=int, default=0, metavar="N", help="show only the last N rounds (default: all)")
@click.option("--csv", is_flag=True, help="print comma-separated values, amounts in lamports")
@click.option("--plot", type=FILE, metavar="FILE", help="draw the earnings: .png, .svg or .pdf")
@as_json
@overrides
def run(last: int, csv: bool, plot: Path | None, as_json: bool, overrides: list[str]) -> int:
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.dashboard.formats import stamp
    from decloud_pl.domain import format_rounds, format_sol
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.journal.schema import JOURNAL_FILE

    path = open_settings(overrides).home_path / JOURNAL_FILE
    with JournalReader(path) as journal:
        rows, costs = journal.all_rounds(), journal.all_costs()
    earned = sum(record.earned for _, record in rows)
    shown = rows[-last:] if last > 0 else rows
    if plot is not None:
        from decloud_pl.observers.plots import earnings

        claims = [(record.updated_at, record.earned) for _, record in rows if record.earned]
        earnings(claims, plot)
        print(f"{plot}: {format_sol(earned)} in {format_rounds(len(claims))}")
        return 0
    if csv:
        _print_csv(shown, costs)
        return 0
    if as_json:
        document = {
            "journal": str(path),
            "earned_lamports": earned,
            "rounds": [{**owner._asdict(), **dataclasses.asdict(record)} for owner, record in shown],
        }
        print_json(document)
        return 0
    if not rows:
        print("The journal has no rounds yet.")
        return 0
    table = [
        [
            str(record.round_id),
            stamp(record.updated_at)[:16],
            record.dataset,
            record.state.value,
            _accuracy(record),
            format_sol(record.earned).removesuffix(" SOL"),
        ]
        for _, record in shown
    ]
    print_table([">round", "when", "data set", "state", "accuracy %", ">SOL"], table, flexible=2)
    print(f"\n{format_rounds(len(rows))}, {format_sol(earned)} earned")
    return 0


def _print_csv(rows: Sequence[tuple[Owner, RoundRecord]], costs: Mapping[tuple[Owner, int], int]) -> None:
    """Print a CSV line per round: amounts in lamports, accuracies from 0 to 1, times in seconds."""
    import csv
    import sys
    from datetime import UTC, datetime

    from decloud_pl.legible import spreadsheet_cell

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(_CSV_COLUMNS)
    for owner, record in rows:
        spans = (record.join_seconds, record.train_seconds, record.publish_seconds, record.claim_seconds)
        out.writerow(
            [
                record.round_id,
                *owner,
                datetime.fromtimestamp(record.updated_at, tz=UTC).isoformat(timespec="seconds"),
                record.state.value,
                spreadsheet_cell(record.dataset),
                record.reward_amount,
                record.earned,
                costs.get((owner, record.round_id), 0),
                record.contribution_bps,
                record.accuracy_before,
                record.accuracy_after,
                None if record.gain is None else f"{record.gain:.6g}",
                *(None if seconds is None else f"{seconds:.3f}" for seconds in spans),
                spreadsheet_cell(record.reason),
            ]
        )


def _accuracy(record: RoundRecord) -> str:
    before, after = record.accuracy_before, record.accuracy_after
    return "-" if before is None or after is None else f"{before * 100:.1f} → {after * 100:.1f}"
