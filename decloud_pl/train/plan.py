"""The two files that define a worker's training. The daemon writes them, so this module does not import torch.

``config.yaml`` has the composed training nodes. ``round.json`` has the settings that are specific to the round.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from decloud_pl.config.training import FitConfig, TrainingConfig, TuneConfig, UpdateConfig, is_given
from decloud_pl.domain import Convention, Payout, ScoreSplit
from decloud_pl.durable import sha256_of, write_atomically
from decloud_pl.errors import TrainingError, first_line

CONFIG_FILE = "config.yaml"
ROUND_FILE = "round.json"
BASE_MODEL_FILE = "base-model"
UPDATE_FILE = "update.pt"
LAST_UPDATE_FILE = "update-of-all-data.pt"
BASE_WEIGHTS_FILE = "base.safetensors"
CHECKPOINT_FILE = "training.ckpt"
LOWER_RATE_CHECKPOINT_FILE = "lower-rate.ckpt"
LOWER_RATE_UPDATE_FILE = "update-at-a-lower-rate.pt"
PROBE_FILE = "probe.json"
BUDGET_FILE = "budget.json"

# The nodes that determine the resulting weights. `update` only determines how they are written, and `fit` and `logger`
# have no influence on either.
_WEIGHTS = (
    *("seed", "dataset", "module", "datamodule", "callbacks", "optimizer", "scheduler", "trainer", "tune"),
    *("budget", "budget_seconds", "recipe"),
)


@dataclass(frozen=True)
class RoundFile:
    """The part of a plan that is specific to a round.

    Attributes:
        base_model: the base model's file as fetched from the network, not yet checked.
        folder: the folder for the update and for working files.
        finish_by: when the update must be on disk, in Unix seconds of this machine's clock; None for no deadline.
        threads: number of processor threads to use.
        convention: the convention in which the update is written.
        read_as: the convention in which the round's validator reads the update; the network's convention if the
            validator's is not known.
        gradient_rate: η of the ``gradient`` convention.
        score_split: the data on which the update's accuracies are measured: ``held_out`` for the held-out part, or, in
            experiments only, ``test`` for the validators' test split. With a custom data module, they are always
            measured on ``held_out``. The gate's verdict always uses the held-out part.
        given: the dotted names of the training settings that the user has set.
        allow_packages: packages that the user allows in the configuration, in addition to the allow-list.
        payout: what a submission may earn and what it costs; None if the plan belongs to no round.
    """

    base_model: Path
    folder: Path
    finish_by: float | None = None
    threads: int = 1
    convention: Convention = "delta"
    read_as: Convention = "delta"
    gradient_rate: float = 0.1
    score_split: ScoreSplit = "held_out"
    given: tuple[str, ...] = ()
    allow_packages: tuple[str, ...] = ()
    payout: Payout | None = None

    @cached_property
    def base_model_hash(self) -> str:
        """SHA-256 of the base model's file, in hexadecimal.

        It is cached, because a probe needs it for each of its short trainings.
        """
        return sha256_of(self.base_model)

    def is_given(self, name: str) -> bool:
        """Return whether the user has set this setting or a setting below it."""
        return is_given(name, self.given)


@dataclass(frozen=True)
class TrainingPlan:
    """The complete definition of one training. The result depends only on the plan."""

    round: RoundFile
    config: TrainingConfig = field(default_factory=TrainingConfig)

    def write(self, folder: Path) -> None:
        """Write both files, each atomically."""
        nodes = dataclasses.asdict(self.config)
        round_ = dataclasses.asdict(self.round)
        text = yaml.safe_dump(nodes, sort_keys=False, allow_unicode=True)
        write_atomically(folder / CONFIG_FILE, text.encode())
        write_atomically(folder / ROUND_FILE, json.dumps(round_, default=str, indent=2).encode())

    @classmethod
    def read(cls, folder: Path) -> TrainingPlan:
        """Read a plan that `write` has written.

        Raises:
            TrainingError: the files are missing, damaged or of another version.
        """
        try:
            nodes = yaml.safe_load((folder / CONFIG_FILE).read_bytes())
            fields = json.loads((folder / ROUND_FILE).read_bytes())
            places = {name: Path(fields[name]) for name in ("base_model", "folder")}
            lists = {name: tuple(fields[name]) for name in ("given", "allow_packages")}
            given = {**fields, **places, **lists, "payout": fields["payout"] and Payout(**fields["payout"])}
            typed = {
                "fit": FitConfig(**nodes["fit"]),
                "update": UpdateConfig(**nodes["update"]),
                "tune": TuneConfig(**nodes["tune"]),
            }
            return cls(RoundFile(**given), TrainingConfig(**{**nodes, **typed}))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            raise TrainingError(
                f"The plan in {folder} cannot be read: {first_line(error)}.",
                fix="Start the round again to create a new plan.",
            ) from error

    def fingerprint(self) -> str:
        """Return a hash of the base model and of all settings that determine the trained weights.

        Plans with the same hash can share a checkpoint. The base model's file must exist.
        """
        return _hash({**self._weights(), "base_model": self.round.base_model_hash})

    def differs_from(self, folder: Path) -> bool:
        """Return whether the plan in ``folder`` leads to another update or verdict than this plan.

        Return False if no plan can be read there.
        """
        try:
            other = TrainingPlan.read(folder)
        except TrainingError:
            return False
        return self.update_key() != other.update_key()

    def update_key(self) -> str:
        """Return a hash of the settings that determine the update and its verdict."""
        written = {name: getattr(self.round, name) for name in ("convention", "read_as", "gradient_rate")}
        return _hash({**self._weights(), "update": dataclasses.asdict(self.config.update), "round": written})

    def _weights(self) -> dict[str, Any]:
        nodes = dataclasses.asdict(self.config)
        kept = {name: nodes[name] for name in _WEIGHTS}
        # A published data set is the same in any data folder. A custom data set may differ under another path.
        kept["dataset"] = {name: value for name, value in kept["dataset"].items() if name != "data"}
        return kept


def _hash(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
