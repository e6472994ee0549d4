"""The deadlines of a round, in seconds. The protocol leaves them open, so these are the local network's own values."""

from __future__ import annotations

VALIDATOR_SECONDS = 3600
"""Time for a validator to claim a new round."""
JOIN_SECONDS = 600
"""Time for trainers to join after the claim."""
START_SECONDS = 3600
"""Time for the validator to start the training after the join deadline. Later, anyone may let the round expire."""
SUBMIT_SECONDS = 3600
"""Time for trainers to submit after the start."""
VALIDATION_SECONDS = 604_800
"""Time to complete the validation after the submit deadline. Later, anyone may let the round expire.

A week, because trainers lose their reward when a round expires here, and users may stop the network overnight."""
