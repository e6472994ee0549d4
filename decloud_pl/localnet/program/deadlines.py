"""The deadlines of a round in seconds. The protocol leaves them open; these are the local network's."""

from __future__ import annotations

VALIDATOR_SECONDS = 3600
"""From the posting, for a validator to claim the round."""
JOIN_SECONDS = 600
"""From the claim, for trainers to join."""
START_SECONDS = 3600
"""From the join deadline, for the validator to start the training; later anyone may let the round expire."""
SUBMIT_SECONDS = 3600
"""From the start, for trainers to submit."""
VALIDATION_SECONDS = 604_800
"""From the submit deadline, for the validator to end the validation; later anyone may let the round expire.

A week, because trainers lose their reward by it: a network that was stopped for a night must not do that."""
