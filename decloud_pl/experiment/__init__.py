"""Run trainings without a chain, one or a sweep of many, and score each update as a validator would."""
