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
from decloud_pl.cli.config.session import open_chain, open_settings
from decloud_pl.cli.rounds import next_deadline, round_fields, status_name
from decloud_pl.domain import RoundStatus, format_sol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from decloud_pl.config import RewardsConfig, Settings
    from decloud_pl.domain import Round
    from decloud_pl.rounds.select import Check

_STATUSES = tuple(map(status_name, RoundStatus))


@command(__doc__)
@click.option("--status", type=Choice(_STATUSES), metavar="S", help=f"filter by status: {', '.join(_STATUSES)}")
@click.option("--limit", type=click.IntRange(0), default=500, help="search the latest N rounds (500); 0 for all")
@as_json
@overrides
def run(status: str | None, limit: int, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    # Imported before the settings load Hydra, because pydantic searches all loaded modules for each of its classes.
    import solana.rpc.async_api  # noqa: F401

    from decloud_pl.cli.ui.output import print_json, print_table

    settings = open_settings(overrides)
    rounds, now, known = asyncio.run(_rounds(settings, limit or None))
    shown = [round_ for round_ in rounds if status in (None, status_name(round_.status))]
    excluded = _excluded(shown, settings.rewards, known)
    if as_json:
        fields = [
            {**round_fields(round_), "excluded": [rule.detail for rule in excluded.get(round_.id, ())]}
            for round_ in shown
        ]
        print_json({"now": now, "rounds": fields})
        return 0
    rows = [
        [
            str(round_.id),
            status_name(round_.status),
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
    if excluded:
        print("\nYour rules exclude these open rounds:")
        lines = [[str(number), rule.name, rule.detail] for number, rules in excluded.items() for rule in rules]
        print_table([">round", "rule", "because"], lines)
    if rounds and rounds[0].id > 0 and len(rounds) >= limit > 0:
        print(f"Rounds before {rounds[0].id} were not searched. Use --limit 0 to search all rounds.")
    return 0


def _excluded(
    rounds: Sequence[Round], rewards: RewardsConfig, known: Mapping[str, tuple[int, int]]
) -> dict[int, list[Check]]:
    """Map the ID of each excluded open round to the rules that exclude it.

    Only the user's rules about validators and creators are checked.
    """
    from decloud_pl.rounds.select import party_rules

    found = {
        round_.id: [rule for rule in party_rules(round_, rewards, known) if not rule.passed]
        for round_ in rounds
        if round_.is_open
    }
    return {round_id: rules for round_id, rules in found.items() if rules}


async def _rounds(settings: Settings, limit: int | None) -> tuple[list[Round], int, Mapping[str, tuple[int, int]]]:
    """Return the latest rounds, the chain's time, and each validator's round counts (see `completion`).

    There are no counts if ``rewards.min_completion`` is not set.
    """
    from decloud_pl.journal.owner import Owner
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.journal.schema import JOURNAL_FILE
    from decloud_pl.journal.track_record import completion

    path = settings.home_path / JOURNAL_FILE
    known: Mapping[str, tuple[int, int]] = {}
    async with open_chain(settings.network, path) as chain:
        latest = [round_ async for round_ in chain.latest_rounds(limit)]
        if settings.rewards.min_completion:
            owner = Owner(await chain.rpc.check_same_network(), str(chain.dialect.program_id), "")
            with JournalReader(path, owner) as journal:
                known = completion(journal)
        return latest[::-1], await chain.rpc.clock(), known
