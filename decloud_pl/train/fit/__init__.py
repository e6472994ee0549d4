"""Fit a network with Lightning: the data, the module, the optimizer, the checkpoints and the Trainer."""
