"""Updates: the difference that a training makes, and how it is written for a validator."""
