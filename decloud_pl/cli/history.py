"""``decloud-trainer history``: what this machine has done, from its journal alone."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.cli.arguments import add_command, add_json, add_overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decloud_pl.journal.view import Row

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
_EXAMPLES = """\
decloud-trainer history
decloud-trainer history --last 20
decloud-trainer history --json
decloud-trainer history --csv > rounds.csv
decloud-trainer history --plot earnings.png

It reads the journal on this machine and asks no network; it needs no wallet.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "history", "show the rounds this machine has worked on", _EXAMPLES)
    parser.add_argument("--last", type=int, default=0, metavar="N", help="only the last N (default: all)")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values, amounts in lamports")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE", help="draw the earnings: .png, .svg or .pdf")
    add_json(parser)
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.cli.output import print_json, print_table
    from decloud_pl.cli.session import open_settings
    from decloud_pl.cli.times import clock_time
    from decloud_pl.domain import format_sol
    from decloud_pl.journal.view import view_journal

    settings = open_settings(arguments.overrides)
    with view_journal(settings.journal_path) as journal:
        rows = [] if journal is None else journal.rows()
    earned = sum(_earned(row) for row in rows)
    shown = rows[-arguments.last :] if arguments.last > 0 else rows
    if arguments.plot is not None:
        from decloud_pl.observers.plots import earnings

        claims = [(row.updated_at, _earned(row)) for row in rows if _earned(row)]
        earnings(claims, arguments.plot)
        print(f"{arguments.plot}: {format_sol(earned)} in {len(claims)} rounds")
        return 0
    if arguments.csv:
        _print_csv(shown, settings.home_path)
        return 0
    if arguments.json:
        document = {
            "journal": str(settings.journal_path),
            "earned_lamports": earned,
            "rounds": [
                {
                    "network": row.network,
                    "program_id": row.program_id,
                    "wallet": row.wallet,
                    "updated_at": row.updated_at,
                    **dataclasses.asdict(row.record),
                    "state": row.record.state.value,
                }
                for row in shown
            ],
        }
        print_json(document)
        return 0
    if not rows:
        print("This machine has worked on no round yet.")
        return 0
    table = [
        [
            str(row.record.round_id),
            clock_time(row.updated_at)[:16],
            row.record.dataset,
            row.record.state.value,
            _accuracy(row),
            format_sol(_earned(row)).removesuffix(" SOL"),
        ]
        for row in shown
    ]
    print_table([">round", "when", "data set", "state", "accuracy %", ">SOL"], table, flexible=2)
    print(f"\n{len(rows)} rounds, {format_sol(earned)} earned")
    return 0


def _print_csv(rows: Sequence[Row], home: Path) -> None:
    """One line per round: amounts in lamports, accuracies 0 to 1, times in seconds."""
    import csv
    import sys
    from datetime import UTC, datetime

    from decloud_pl.journal.owner import Scope
    from decloud_pl.observers.reader import JournalReader

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(_CSV_COLUMNS)
    costs: dict[Scope, dict[int, int]] = {}
    for row in rows:
        scope = Scope(row.network, row.program_id, row.wallet)
        if scope not in costs:
            with JournalReader(home, scope) as reader:
                costs[scope] = reader.costs()
        record = row.record
        before, after = record.accuracy_before, record.accuracy_after
        spans = (record.join_seconds, record.train_seconds, record.publish_seconds, record.claim_seconds)
        out.writerow(
            [
                record.round_id,
                row.network,
                row.program_id,
                row.wallet,
                datetime.fromtimestamp(row.updated_at, tz=UTC).isoformat(timespec="seconds"),
                record.state.value,
                record.dataset,
                record.reward_amount,
                _earned(row),
                costs[scope].get(record.round_id, 0),
                record.contribution_bps,
                before,
                after,
                None if before is None or after is None else f"{after - before:.6g}",
                *(None if seconds is None else f"{seconds:.3f}" for seconds in spans),
                record.reason,
            ]
        )


def _earned(row: Row) -> int:
    """Lamports that were claimed."""
    return (row.record.claimed_lamports or 0) if row.record.state.value == "claimed" else 0


def _accuracy(row: Row) -> str:
    before, after = row.record.accuracy_before, row.record.accuracy_after
    return "-" if before is None or after is None else f"{before * 100:.1f} → {after * 100:.1f}"
