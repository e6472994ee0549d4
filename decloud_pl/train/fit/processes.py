"""Decisions that all processes of a training make together."""

from __future__ import annotations

from lightning.pytorch import Trainer

_BATCHES = 10
"""Batches between two joint decisions, rounded up to whole optimizer steps. Each decision costs a message."""


def batches_ahead(trainer: Trainer, batch_idx: int) -> int:
    """Return the number of batches until the next decision, or 0 if no decision follows the batch ``batch_idx``.

    A single process decides after every batch. Several processes decide after the first optimizer step of an epoch,
    then at a fixed distance, and after the last batch of the epoch. Each of these batches ends a step.
    """
    if trainer.world_size == 1:
        return 1
    of_step = trainer.accumulate_grad_batches
    every = -(-_BATCHES // of_step)
    if trainer.is_last_batch:
        return every * of_step
    steps, partly = divmod(batch_idx + 1, of_step)
    return 0 if partly or (steps - 1) % every else every * of_step


def agree(trainer: Trainer, wanted: bool) -> bool:
    """Return whether ``wanted`` is true in any process of the training. Every process must call this function."""
    return trainer.strategy.reduce_boolean_decision(wanted, all=False) if trainer.world_size > 1 else wanted
