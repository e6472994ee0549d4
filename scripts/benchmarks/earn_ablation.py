"""One row per ingredient of the recipes: the same training without it, or with it, in the same time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from earn_sides import COMPETE, Course

_FAST = (COMPETE, "recipe=fast")
_SHORT = (COMPETE, "recipe=short")
_SMALL = (COMPETE, "recipe=small")
_TEXT = (COMPETE, "recipe=text")
_MUON = "decloud_pl.train.fit.muon.MuonOnHidden"
Rows = dict[str, tuple[str, ...]]
FASHION_MNIST: Rows = {
    "fast": _FAST,
    "AdamW on all parameters": (COMPETE, "recipe=adamw"),
    "a race of recipes": (COMPETE, "recipe=race"),
    "SGD with Nesterov": (COMPETE, "recipe=sgd"),
    "half of Muon's rate": (*_FAST, "recipe.optimizer.filter_lr=5"),
    "without flips": (*_FAST, "recipe.datamodule.augment.flip=false"),
    "without label smoothing": (*_FAST, "recipe.module.label_smoothing=0"),
    "the network's own dropout": (*_FAST, "recipe.module.dropout=null"),
    "batches of 128": (*_FAST, "recipe.datamodule.batch_size=128"),
    "batches of 512": (*_FAST, "recipe.datamodule.batch_size=512", "recipe.optimizer.lr=0.004"),
    "with shifts by 1": (*_FAST, "+recipe.datamodule.augment.shift=1"),
    "with EMA": (*_FAST, "callbacks=ema"),
    "long": (COMPETE, "recipe=long"),
    "short": _SHORT,
    "short with batches of 32": (*_SHORT, "recipe.datamodule.batch_size=32"),
    "short with the network's dropout": (*_SHORT, "recipe.module.dropout=null"),
    "short with flips": (*_SHORT, "recipe.datamodule.augment.flip=true"),
    "documented": ("budget=documented",),
}
DIGITS: Rows = {
    "small": _SMALL,
    "AdamW on all parameters": (*_SMALL, "recipe.optimizer._target_=torch.optim.AdamW", "~recipe.optimizer.filter_lr"),
    "batches of 32": (*_SMALL, "recipe.datamodule.batch_size=32"),
    "batches of 128": (*_SMALL, "recipe.datamodule.batch_size=128"),
    "at most 60 epochs": (*_SMALL, "recipe.trainer.max_epochs=60"),
    "without label smoothing": (*_SMALL, "recipe.module.label_smoothing=0"),
    "the network's own dropout": (*_SMALL, "recipe.module.dropout=null"),
    "with shifts by 1": (*_SMALL, "+recipe.datamodule.augment.shift=1"),
    "documented": ("budget=documented",),
}
TEXTS: Rows = {
    "text": _TEXT,
    "Muon on hidden layers": (*_TEXT, f"recipe.optimizer._target_={_MUON}"),
    "half the rate": (*_TEXT, "recipe.optimizer.lr=0.0015"),
    "twice the rate": (*_TEXT, "recipe.optimizer.lr=0.006"),
    "batches of 64": (*_TEXT, "recipe.datamodule.batch_size=64"),
    "batches of 128": (*_TEXT, "recipe.datamodule.batch_size=128"),
    "batches of 128, four times the rate": (*_TEXT, "recipe.datamodule.batch_size=128", "recipe.optimizer.lr=0.012"),
    "at most 5 epochs": (*_TEXT, "recipe.trainer.max_epochs=5"),
    "at most 20 epochs": (*_TEXT, "recipe.trainer.max_epochs=20"),
    "label smoothing of 0.1": (*_TEXT, "+recipe.module.label_smoothing=0.1"),
    "documented": ("budget=documented",),
}
ROWS: dict[str, Rows] = {"fashionmnist": FASHION_MNIST, "digits": DIGITS, "text_bag": TEXTS, "text_transformer": TEXTS}
"""The rows of each task."""


def measure(
    run: Callable[[Course], dict[str, Any]], task: str, *, rows: list[str], base: int, seconds: float, seeds: int
) -> list[dict[str, Any]]:
    """Return a row per ingredient: the accuracies of all seeds, their mean, and the mean CPU seconds."""
    found = []
    for row in rows:
        runs = [run(Course("ours", base, seconds, seed, ROWS[task][row], task)) for seed in range(seeds)]
        accuracies = [one["accuracy"] for one in runs]
        found.append(
            {
                "task": task,
                "row": row,
                "base": base,
                "accuracies": accuracies,
                "mean": round(statistics.mean(accuracies), 2),
                "cpu_seconds": round(statistics.mean(one["cpu_seconds"] for one in runs), 1),
                "notes": sorted({one["note"] for one in runs}),
            }
        )
    return found
