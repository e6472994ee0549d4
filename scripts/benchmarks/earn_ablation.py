"""One row per ingredient of the recipes: the same training without it, or with it, in the same time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from earn_sides import COMPETE, Course

_FAST = (COMPETE, "recipe=fast")
ROWS: dict[str, tuple[str, ...]] = {
    "fast": _FAST,
    "without flips": (*_FAST, "recipe.datamodule.augment.flip=false"),
    "the network's own dropout": (*_FAST, "recipe.module.dropout=null"),
    "batch 32": (*_FAST, "recipe.datamodule.batch_size=32", "recipe.optimizer.lr=0.001"),
    "batch 256": (*_FAST, "recipe.datamodule.batch_size=256", "recipe.optimizer.lr=0.003"),
    "batch 512": (*_FAST, "recipe.datamodule.batch_size=512", "recipe.optimizer.lr=0.004"),
    "with shifts": (*_FAST, "+recipe.datamodule.augment.shift=2"),
    "with label smoothing": (*_FAST, "+recipe.module.label_smoothing=0.1"),
    "with EMA": (*_FAST, "callbacks=ema"),
    "SGD with Nesterov": (COMPETE, "recipe=sgd"),
    "Muon on the filters": (COMPETE, "recipe=muon"),
    "long": (COMPETE, "recipe=long"),
    "short": (COMPETE, "recipe=short"),
    "short with the network's dropout": (COMPETE, "recipe=short", "recipe.module.dropout=null"),
    "short with flips": (COMPETE, "recipe=short", "+recipe.datamodule.augment.flip=true"),
    "documented": ("budget=documented",),
}


def measure(
    run: Callable[[Course], dict[str, Any]], *, rows: list[str], base: int, seconds: float, seeds: int
) -> list[dict[str, Any]]:
    """Return a row per ingredient: the accuracies of all seeds, their mean, and the mean CPU seconds."""
    found = []
    for row in rows:
        runs = [run(Course("ours", base, seconds, seed, ROWS[row])) for seed in range(seeds)]
        accuracies = [one["accuracy"] for one in runs]
        found.append(
            {
                "row": row,
                "base": base,
                "accuracies": accuracies,
                "mean": round(statistics.mean(accuracies), 2),
                "cpu_seconds": round(statistics.mean(one["cpu_seconds"] for one in runs), 1),
                "notes": sorted({one["note"] for one in runs}),
            }
        )
    return found
