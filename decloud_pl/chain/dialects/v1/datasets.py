"""The data sets a round can name, in the order of their index on chain."""

from __future__ import annotations

from decloud_pl.domain import DATASETS

__all__ = ["DATASETS", "DATASET_INDEX"]

DATASET_INDEX: dict[str, int] = {name.lower(): index for index, name in enumerate(DATASETS)}
"""From the lower-case name users write to the index on chain."""
