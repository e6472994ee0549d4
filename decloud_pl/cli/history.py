"""``decloud-trainer history``: what this machine has done, from its journal alone."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from decloud_pl.cli.arguments import add_command, add_json, add_overrides

if TYPE_CHECKING:
    from decloud_pl.daemon.journal_view import Row

_EXAMPLES = """\
decloud-trainer history
decloud-trainer history --last 20
decloud-trainer history --json

It reads the journal on this machine and asks no network; it needs no wallet.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "history", "show the rounds this machine has worked on", _EXAMPLES)
    parser.add_argument("--last", type=int, default=0, metavar="N", help="only the last N (default: all)")
    add_json(parser)
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.cli.output import print_json, print_table
    from decloud_pl.cli.session import open_settings
    from decloud_pl.cli.times import clock_time
    from decloud_pl.daemon.journal_view import view_journal
    from decloud_pl.domain import format_sol

    settings = open_settings(arguments.overrides)
    with view_journal(settings.journal_path) as journal:
        rows = [] if journal is None else journal.rows()
    earned = sum(_earned(row) for row in rows)
    shown = rows[-arguments.last :] if arguments.last > 0 else rows
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


def _earned(row: Row) -> int:
    """Lamports that were claimed."""
    return (row.record.claimed_lamports or 0) if row.record.state.value == "claimed" else 0


def _accuracy(row: Row) -> str:
    before, after = row.record.accuracy_before, row.record.accuracy_after
    return "-" if before is None or after is None else f"{before * 100:.1f} → {after * 100:.1f}"
