"""Show the track records of validators or creators.

While the daemon runs, it updates these records from the rounds that it reads anyway. This command needs neither a
wallet nor a network.

Examples:
  decloud-trainer validators
  decloud-trainer validators --creators --long
  decloud-trainer validators --json
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import as_json, command, overrides

if TYPE_CHECKING:
    from decloud_pl.journal.track_record import TrackRecord

_USUAL_LIMIT = 50


@command(__doc__)
@click.option("--creators", is_flag=True, help="show creators instead of validators")
@click.option("--long", is_flag=True, help="show whole addresses")
@click.option(
    "--limit", type=click.IntRange(0), help="show the N with the most rounds (50; all with --json); 0 for all"
)
@as_json
@overrides
def run(creators: bool, long: bool, limit: int | None, as_json: bool, overrides: list[str]) -> int:
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.journal.schema import JOURNAL_FILE
    from decloud_pl.journal.track_record import latest_network, track_records

    settings = open_settings(overrides)
    path = settings.home_path / JOURNAL_FILE
    owner = latest_network(path, settings.network.program_id)
    with JournalReader(path, owner) as journal:
        records, now = track_records(journal, "creator" if creators else "validator"), journal.now()
    if limit is None:
        limit = 0 if as_json else _USUAL_LIMIT
    shown = records[: limit or None]
    if as_json:
        document = {
            "network": owner.network,
            "program_id": owner.program_id,
            "creators" if creators else "validators": [dataclasses.asdict(record) for record in shown],
        }
        print_json(document)
        return 0
    if not records:
        who = "creators" if creators else "validators"
        print(f"No {who} are known yet. The daemon keeps their record while it runs: decloud-trainer start")
        return 0
    if creators:
        headings = ["creator", ">completed", ">abandoned", ">models refused", "last round"]
        print_table(headings, [_creator(record, now, long=long) for record in shown])
    else:
        headings = ["validator", ">completed", ">abandoned", "scores in", "reads as", "shares", "last round"]
        print_table(headings, [_validator(record, now, long=long) for record in shown], flexible=5)
    if len(shown) < len(records):
        print(f"{len(records) - len(shown)} more are known. Use --limit 0 to show all.")
    return 0


def _validator(record: TrackRecord, now: float, *, long: bool) -> list[str]:
    from decloud_pl.dashboard.formats import shares, span

    return [
        *_begin(record, long=long),
        "-" if record.scoring_seconds is None else span(record.scoring_seconds),
        record.convention or "-",
        shares(record),
        _ago(record, now),
    ]


def _creator(record: TrackRecord, now: float, *, long: bool) -> list[str]:
    return [*_begin(record, long=long), str(record.refused), _ago(record, now)]


def _begin(record: TrackRecord, *, long: bool) -> list[str]:
    from decloud_pl.dashboard.formats import short

    return [record.address if long else short(record.address), str(record.completed), str(record.abandoned)]


def _ago(record: TrackRecord, now: float) -> str:
    from decloud_pl.cli.ui.output import until

    return until(min(0, int(record.last_at - now)) or -1)
