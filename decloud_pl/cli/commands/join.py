"""Join one round.

Joins the round regardless of its data set and reward, and does not train.

Examples:
  decloud-trainer join 42
  decloud-trainer join 42 network=devnet --json
"""

from __future__ import annotations

from decloud_pl.cli.arguments import as_json, command, overrides, round_id


@command(__doc__)
@round_id
@as_json
@overrides
def run(round_id: int, as_json: bool, overrides: list[str]) -> int:
    from decloud_pl.cli.manual import take_step

    return take_step("join", round_id, overrides, json=as_json)
