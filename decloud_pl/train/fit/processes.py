"""Decisions that the processes of one training have to take together."""

from __future__ import annotations

from lightning.pytorch import Trainer

LOOK_EVERY = 10
"""Steps between decisions of several processes: each costs a message."""


def agree(trainer: Trainer, wanted: bool) -> bool:
    """Whether any process of a training wants something; every process has to ask."""
    return trainer.strategy.reduce_boolean_decision(wanted, all=False) if trainer.world_size > 1 else wanted
