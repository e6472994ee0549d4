"""Show the rounds in this machine's journal.

Needs no wallet and no internet connection.

Examples:
  decloud-trainer history
  decloud-trainer history --last 20
  decloud-trainer history network=mainnet
  decloud-trainer history --json
  decloud-trainer history --csv > rounds.csv
  decloud-trainer history --plot earnings.png
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import FILE, WholeNumber, as_json, command, overrides
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from decloud_pl.config import NetworkConfig, Settings
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
_LOCAL = "local"


@command(__doc__)
@click.option("--last", type=WholeNumber(0), default=0, metavar="N", help="show only the last N rounds (default: all)")
@click.option("--csv", is_flag=True, help="print comma-separated values, amounts in lamports")
@click.option("--plot", type=FILE, metavar="FILE", help="draw the earnings on one network: .png, .svg or .pdf")
@as_json
@overrides
def run(last: int, csv: bool, plot: Path | None, as_json: bool, overrides: list[str]) -> int:
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.journal.schema import JOURNAL_FILE

    if csv + as_json + (plot is not None) > 1:
        raise UsageError("--csv, --json and --plot exclude each other.", fix="Give one of them.")
    settings = open_settings(overrides)
    path = settings.home_path / JOURNAL_FILE
    with JournalReader(path) as journal:
        rows, costs = journal.all_rounds(), journal.all_costs()
    names = _network_names(settings)
    if any(override.startswith("network=") for override in overrides):
        rows = [row for row in rows if _is_on(settings.network, row[0].network, names)]
    shown = rows[-last:] if last else rows
    totals = _totals(rows)
    if plot is not None:
        _plot(plot, shown, list(dict.fromkeys(names.get(network, _LOCAL) for network in totals)))
    elif csv:
        _print_csv(shown, costs)
    elif as_json:
        summed = [
            {"network": network, "rounds": rounds, "earned_lamports": earned}
            for network, (rounds, earned) in totals.items()
        ]
        entries = [{**owner._asdict(), **dataclasses.asdict(record)} for owner, record in shown]
        print_json({"journal": str(path), "networks": summed, "rounds": entries})
    elif rows:
        _print_table(shown, totals, names)
    else:
        print("The journal has no rounds yet." if not overrides else "The journal has no such rounds yet.")
    return 0


def _network_names(settings: Settings) -> dict[str, str]:
    """Return the names of the networks in ``conf/network``, by genesis hash. Local networks have no fixed hash."""
    from yaml import YAMLError

    from decloud_pl.config.group_files import definition
    from decloud_pl.config.names import choices
    from decloud_pl.config_dir import conf_folders

    folders, place = conf_folders(settings.home_path), "network.genesis"
    found: dict[str, str] = {}
    for name in choices("network", *folders):
        with suppress(OSError, ValueError, RecursionError, YAMLError):  # `network=NAME` reports a damaged file
            genesis = definition(folders, "network", name).get(place)
            if isinstance(genesis, str):
                found[genesis] = name
    return found


def _is_on(chosen: NetworkConfig, network: str, names: Mapping[str, str]) -> bool:
    """Return whether a row's network (its genesis hash) is the chosen one.

    Raises:
        UsageError: the chosen network has no fixed genesis hash and is not local, so its rows cannot be told.
    """
    if chosen.genesis:
        return network == chosen.genesis
    if chosen.name != _LOCAL:
        raise UsageError(
            f"The rounds of network={chosen.name} cannot be told from others, because it has no fixed genesis hash.",
            fix="Name the network itself, for example network=mainnet.",
        )
    return network not in names


def _totals(rows: Sequence[tuple[Owner, RoundRecord]]) -> dict[str, tuple[int, int]]:
    """Return the number of rounds and the lamports earned on each network, by its genesis hash."""
    totals: dict[str, tuple[int, int]] = {}
    for owner, record in rows:
        rounds, earned = totals.get(owner.network, (0, 0))
        totals[owner.network] = (rounds + 1, earned + record.earned)
    return totals


def _plot(path: Path, rows: Sequence[tuple[Owner, RoundRecord]], networks: Sequence[str]) -> None:
    """Draw the earnings of rows.

    Raises:
        UsageError: the rows belong to several ``networks``, whose SOL cannot be added; or see `plots.earnings`.
    """
    from decloud_pl.domain import format_rounds, format_sol
    from decloud_pl.observers.plots import earnings

    if len(networks) > 1:
        raise UsageError(
            "The journal has rounds of several networks, whose SOL cannot be added.",
            fix=f"Add network=NAME: {', '.join(networks)}.",
        )
    claims = [(record.updated_at, record.earned) for _, record in rows if record.earned]
    earnings(claims, path)
    print(f"{path}: {format_sol(sum(earned for _, earned in claims))} in {format_rounds(len(claims))}")


def _print_table(
    rows: Sequence[tuple[Owner, RoundRecord]], totals: Mapping[str, tuple[int, int]], names: Mapping[str, str]
) -> None:
    """Print the rows and the total of each network. All local networks count as one."""
    from decloud_pl.cli.ui.output import print_table
    from decloud_pl.dashboard.formats import stamp
    from decloud_pl.domain import format_rounds, format_sol

    summed: dict[str, tuple[int, int]] = {}
    for genesis, (rounds, earned) in totals.items():
        name = names.get(genesis, _LOCAL)
        before = summed.get(name, (0, 0))
        summed[name] = (before[0] + rounds, before[1] + earned)
    several = len(summed) > 1
    table = [
        [
            str(record.round_id),
            *([names.get(owner.network, _LOCAL)] if several else []),
            stamp(record.updated_at)[:16],
            record.dataset,
            record.state.value,
            _accuracy(record),
            format_sol(record.earned).removesuffix(" SOL"),
        ]
        for owner, record in rows
    ]
    network = ["network"] if several else []
    header = [">round", *network, "when", "data set", "state", "accuracy %", ">SOL"]
    print_table(header, table, flexible=header.index("data set"))
    print()
    for name, (rounds, earned) in summed.items():
        where = f" on {name}" if several else ""
        print(f"{format_rounds(rounds)}, {format_sol(earned)} earned{where}")


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
