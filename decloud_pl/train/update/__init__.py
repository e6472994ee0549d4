"""Updates: the weight delta of a training, and how it is written for a validator."""
