"""Which arguments of Lightning's ``Trainer`` a training supports. This module does not import torch."""

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
"""Arguments that are passed to the Trainer unchanged; ``precision`` also accepts ``auto``."""

REFUSED: Mapping[str, tuple[object, str]] = {
    "logger": (None, "Choose one of the group logger instead, for example logger=tensorboard."),
    "callbacks": (None, "Add to the group callbacks instead, for example callbacks=[ema,early_stopping]."),
    "fast_dev_run": (False, "Its result cannot be submitted. Use max_batches=1 for a short training."),
    "overfit_batches": (0, "It validates on training data, which hides the real gain. Use max_batches instead."),
    "limit_test_batches": (None, "A training never tests with the Trainer. The gate scores the update instead."),
    "limit_predict_batches": (None, "A training never predicts with the Trainer."),
    "inference_mode": (True, "Lightning does not use it for validation during a fit."),
    "barebones": (False, "It disables the callbacks that stop before the deadline and write the update."),
    "default_root_dir": (None, "Files go to the round's folder. Set home to move that folder."),
    "model_registry": (None, "It uploads the model to Lightning's cloud. The storage publishes updates instead."),
}
"""Arguments that the training sets itself: the only accepted value, and the reason or an alternative."""


def check_trainer(node: Mapping[str, Any]) -> None:
    """Check the arguments in a ``trainer`` node.

    Raises:
        ConfigError: the node changes an argument that only the training may set, names an argument that Lightning's
            ``Trainer`` does not have, or has an invalid value.
    """
    for name, value in node.items():
        if name in REFUSED and value != REFUSED[name][0]:
            raise ConfigError(f"trainer.{name}={value} is not supported.", fix=REFUSED[name][1])
        if name not in HONOURED and name not in REFUSED and name != "_target_":
            raise ConfigError(
                f"Lightning's Trainer has no argument {name!r} (trainer.{name}).",
                fix="See conf/trainer/default.yaml.",
            )
    limit = node.get("limit_train_batches", 1.0)
    share = type(limit) is float and 0 < limit <= 1
    if limit is not None and not share and not (type(limit) is int and limit >= 1):
        raise ConfigError(
            "trainer.limit_train_batches must be a whole number of batches or a share above 0.0 up to 1.0 "
            f"(got {limit}).",
        )
    epochs = node.get("max_epochs")
    if type(epochs) is not int or epochs < 1:
        raise ConfigError(
            f"trainer.max_epochs must be at least 1 (got {epochs}).",
            fix="To end a training earlier, set max_steps or max_time.",
        )
