"""Training with PyTorch Lightning: from a base model and a data set to an update file."""
