"""List the rounds on chain.

Examples:
  decloud-trainer list
  decloud-trainer list --status waiting-trainers
  decloud-trainer list --status completed --limit 5000
  decloud-trainer list --json network=devnet
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import Choice, as_json, command, overrides
from decloud_pl.cli.rounds import next_deadline, round_fields, status_name

if TYPE_CHECKING:
    from pathlib import Path

    from decloud_pl.config import NetworkConfig
    from decloud_pl.domain import Round

_STATUSES = (
    "waiting-validator",
    "waiting-trainers",
    "training",
    "validating",
    "completed",
    "expired",
    "cancelled",
)


@command(__doc__)
@click.option("--status", type=Choice(_STATUSES), metavar="S", help=f"filter by status: {', '.join(_STATUSES)}")
@click.option("--limit", type=click.IntRange(0), default=500, help="search the latest N rounds (500); 0 for all")
@as_json
@overrides
def run(status: str | None, limit: int, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    # Imported before the settings load Hydra, because pydantic searches all loaded modules for each of its classes.
    import solana.rpc.async_api  # noqa: F401

    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.domain import format_sol
    from decloud_pl.journal.schema import JOURNAL_FILE

    settings = open_settings(overrides)
    rounds, now = asyncio.run(_rounds(settings.network, settings.home_path / JOURNAL_FILE, limit or None))
    shown = [round_ for round_ in rounds if status in (None, status_name(round_))]
    if as_json:
        print_json({"now": now, "rounds": [round_fields(round_) for round_ in shown]})
        return 0
    rows = [
        [
            str(round_.id),
            status_name(round_),
            round_.dataset,
            format_sol(round_.net_reward).removesuffix(" SOL"),
            f"{round_.trainers_count}/{round_.max_trainers}",
            next_deadline(round_, now),
        ]
        for round_ in shown
    ]
    if rows:
        print_table([">round", "status", "data set", ">SOL", ">joined", "next deadline"], rows, flexible=2)
    else:
        print("No matching rounds." if rounds else "The network has no rounds yet.")
    if rounds and rounds[0].id > 0 and len(rounds) >= limit > 0:
        print(f"Rounds before {rounds[0].id} were not searched. Use --limit 0 to search all rounds.")
    return 0


async def _rounds(network: NetworkConfig, journal: Path, limit: int | None) -> tuple[list[Round], int]:
    from decloud_pl.cli.config.session import open_chain

    async with open_chain(network, journal) as chain:
        latest = [round_ async for round_ in chain.latest_rounds(limit)]
        return latest[::-1], await chain.rpc.clock()
