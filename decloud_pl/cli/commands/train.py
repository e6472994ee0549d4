"""Train, pin and submit for one round.

Waits until the validator starts the training of a round you joined, then trains, pins the update and submits it. An
update that is expected to earn less than the fee is withheld.

Examples:
  decloud-trainer train 42
  decloud-trainer train 42 --epochs 3 --max-batches 100
  decloud-trainer train 42 optimizer=sgd
  decloud-trainer train 42 --force
"""

from __future__ import annotations

import click

from decloud_pl.cli.arguments import Override, as_json, command, given, overrides, round_id


@command(__doc__)
@round_id
@click.option("--epochs", type=Override(), metavar="N", help="epochs of this training")
@click.option("--max-batches", type=Override(), metavar="N", help="batches per epoch, 0 for all")
@click.option("--force", is_flag=True, help="also submit an update that would be withheld, or was before")
@as_json
@overrides
def run(round_id: int, force: bool, as_json: bool, overrides: list[str], **options: str | None) -> int:
    from decloud_pl.cli.manual import take_step

    forced = ["update.force=true"] if force else []
    return take_step("train", round_id, [*forced, *given(options), *overrides], json=as_json)
