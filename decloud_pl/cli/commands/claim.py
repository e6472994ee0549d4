"""Claim the reward of one round or of all rounds.

Examples:
  decloud-trainer claim 42
  decloud-trainer claim --all
"""

from __future__ import annotations

import click

from decloud_pl.cli.arguments import as_json, command, maybe_round_id, overrides
from decloud_pl.errors import UsageError


@command(__doc__)
@maybe_round_id
@click.option("--all", "every", is_flag=True, help="claim every reward that this wallet has not claimed yet")
@as_json
@overrides
def run(round_id: int | None, every: bool, as_json: bool, overrides: list[str]) -> int:
    if (round_id is None) is not every:
        raise UsageError("claim needs either the ID of a round or --all.", fix="See `decloud-trainer claim --help`.")
    from decloud_pl.cli.manual import take_step

    return take_step("claim", round_id, overrides, json=as_json)
