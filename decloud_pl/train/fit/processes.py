"""Decisions that all processes of a training make together."""

from __future__ import annotations

from lightning.pytorch import Trainer

LOOK_EVERY = 10
"""Steps between two joint decisions. Each decision costs a message."""


def agree(trainer: Trainer, wanted: bool) -> bool:
    """Return whether ``wanted`` is true in any process of the training. Every process must call this function."""
    return trainer.strategy.reduce_boolean_decision(wanted, all=False) if trainer.world_size > 1 else wanted
