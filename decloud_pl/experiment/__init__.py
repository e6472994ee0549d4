"""Trainings without a chain: one, or a sweep of them, with the score that a validator would compute."""
