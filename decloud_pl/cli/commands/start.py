"""Find, join, train, submit and claim until stopped.

Runs the daemon until Ctrl-C. Further settings are Hydra overrides, KEY=VALUE or GROUP=CHOICE; conf/config.yaml lists
them. They apply to this run only. `decloud-trainer config --set` saves settings permanently.

Examples:
  decloud-trainer start
  decloud-trainer start --preset image-small --min-reward 0.05
  decloud-trainer start --dataset mnist,cifar10 --epochs 2 --max-parallel 2
  decloud-trainer start --no-auto-claim -- network=devnet optimizer=sgd
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from decloud_pl.cli.arguments import Override, command, given, overrides
from decloud_pl.errors import ConfigError

_DATASET = "data sets to train for, separated by commas"
_PRESET = "a preset; `decloud-trainer config --preset list` lists them"
_NO_TRAIN = "join and claim, but do not train; `decloud-trainer train` does"
_FORCE = "also submit updates that would be withheld, or were before"


@command(__doc__)
@click.option("--preset", type=Override(), metavar="NAME", help=_PRESET)
@click.option("--dataset", "datasets", type=Override(), metavar="LIST", help=_DATASET)
@click.option("--min-reward", type=Override(), metavar="SOL", help="minimum reward of a round")
@click.option("--max-reward", type=Override(), metavar="SOL", help="maximum reward of a round, 0 for no limit")
@click.option("--epochs", type=Override(), metavar="N", help="epochs per training")
@click.option("--max-parallel", "max_concurrent_rounds", type=Override(), metavar="N", help="rounds at the same time")
@click.option("--no-auto-train", is_flag=True, help=_NO_TRAIN)
@click.option("--no-auto-claim", is_flag=True, help="do not claim rewards; `decloud-trainer claim` does")
@click.option("--force", is_flag=True, help=_FORCE)
@click.option("--plain", is_flag=True, help="print one line with the time for each event, even on a terminal")
@overrides
def run(plain: bool, **options: Any) -> int:
    from decloud_pl.cli.config.session import checked
    from decloud_pl.cli.config.shown import warn_if_covered
    from decloud_pl.cli.task import run_daemon
    from decloud_pl.config.layers import sources

    found = checked(sources(all_overrides(**options)))
    if found.settings.task == "experiment":
        raise ConfigError(
            "`decloud-trainer start` does not run experiments.", fix="Run `python -m decloud_pl task=experiment …`."
        )
    warn_if_covered(found.sources)
    return run_daemon(found.settings, preset=found.preset, plain=plain)


def all_overrides(
    overrides: Sequence[str], *, no_auto_train: bool, no_auto_claim: bool, force: bool, **options: str | None
) -> list[str]:
    """Return the options as Hydra overrides, followed by the given ``overrides``, which take precedence."""
    switches = {"auto_train=false": no_auto_train, "auto_claim=false": no_auto_claim, "update.force=true": force}
    return [*given(options), *(override for override, on in switches.items() if on), *overrides]
