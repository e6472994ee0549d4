"""Which arguments of Lightning's ``Trainer`` a training honours, and which it refuses. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decloud_pl.errors import ConfigError

HONOURED = frozenset(
    {
        *("accelerator", "strategy", "devices", "num_nodes", "precision", "plugins", "sync_batchnorm"),
        *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "limit_train_batches"),
        *("limit_val_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"),
        *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark"),
        *("use_distributed_sampler", "reload_dataloaders_every_n_epochs", "detect_anomaly"),
        *("log_every_n_steps", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"),
        *("enable_autolog_hparams", "profiler"),
    }
)
"""Passed on to the Trainer as they are; ``precision`` also takes ``auto``."""

REFUSED: Mapping[str, tuple[object, str]] = {
    "logger": (None, "Choose one of the group logger instead, for example logger=tensorboard."),
    "callbacks": (None, "Add to the group callbacks instead, for example callbacks=[ema,early_stopping]."),
    "fast_dev_run": (False, "It trains nothing that could be submitted; use max_batches=1 for a short training."),
    "overfit_batches": (0, "It validates on training data, so no gain would be measured; use max_batches instead."),
    "limit_test_batches": (None, "A training does not test with the Trainer: the gate scores the update itself."),
    "limit_predict_batches": (None, "A training does not predict with the Trainer."),
    "inference_mode": (True, "A training only fits, and Lightning does not use it for the validation in a fit."),
    "barebones": (False, "It turns off the callbacks that stop in time and write the update."),
    "default_root_dir": (None, "Files go to the round's folder; set home to keep them elsewhere."),
    "model_registry": (None, "It uploads the model to Lightning's cloud; updates are published by the storage."),
}
"""What the training must own: the only value that is accepted, and what to do instead."""


def check_trainer(node: Mapping[str, Any]) -> None:
    """Checks the keys of a ``trainer`` node.

    Raises:
        ConfigError: an argument that a training must own, or one that Lightning's ``Trainer`` does not have.
    """
    for name, value in node.items():
        if name in REFUSED and value != REFUSED[name][0]:
            raise ConfigError(f"trainer.{name}={value} is refused.", fix=REFUSED[name][1])
        if name not in HONOURED and name not in REFUSED and name != "_target_":
            raise ConfigError(
                f"Lightning's Trainer takes no argument {name!r} (trainer.{name}).",
                fix="See conf/trainer/default.yaml.",
            )
    limit = node.get("limit_train_batches", 1.0)
    share = type(limit) is float and 0 < limit <= 1
    if limit is not None and not share and not (type(limit) is int and limit >= 1):
        raise ConfigError(
            f"trainer.limit_train_batches is {limit}.",
            fix="Set it to a number of batches, 1 or more, or to a share of them above 0.0 and up to 1.0.",
        )
    epochs = node.get("max_epochs")
    if type(epochs) is not int or epochs < 1:
        raise ConfigError(
            f"trainer.max_epochs is {epochs}.",
            fix="Set it to 1 or more; a deadline ends the training earlier, and max_steps or max_time may.",
        )
