"""Opening a round's base model in quarantine. Imports no torch."""

from __future__ import annotations

import os

from decloud_pl.models.quarantine.opening import BaseModelOpening
from decloud_pl.train.plan import BASE_WEIGHTS_FILE, RoundFile


def begin_opening(round_: RoundFile) -> BaseModelOpening:
    """Starts the quarantine of a round's base model; each process of a training opens it for itself."""
    return BaseModelOpening(round_.base_model, round_.folder / f"{_rank_prefix()}{BASE_WEIGHTS_FILE}")


def _rank_prefix() -> str:
    """Sets the files of further processes apart, which torchrun, SLURM or Lightning started."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in names if os.environ.get(name, "").isdecimal()), "0")
    node = os.environ.get("NODE_RANK", "0") if "RANK" not in os.environ else "0"
    return "" if (rank, node) == ("0", "0") else f"rank-{node}-{rank}-"
