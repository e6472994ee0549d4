"""The search for a learning rate and a number of epochs before a training."""
