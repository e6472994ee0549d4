"""Decisions that all processes of a training make together."""

from __future__ import annotations

from lightning.pytorch import Trainer

LOOK_EVERY = 10
"""Steps between two joint decisions. Each decision costs a message."""


def agree(trainer: Trainer, wanted: bool) -> bool:
    """Return whether any process of the training wants this. Every process must call it."""
    return trainer.strategy.reduce_boolean_decision(wanted, all=False) if trainer.world_size > 1 else wanted
