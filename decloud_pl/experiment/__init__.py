"""Run one training or a sweep of trainings without a chain, and score each update as a validator would."""
