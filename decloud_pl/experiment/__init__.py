"""Trainings without a chain: a single experiment or a sweep, with the score that a validator would compute."""
