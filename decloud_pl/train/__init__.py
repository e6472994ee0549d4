"""Training: from a base model and a data set to an update file, with PyTorch Lightning."""
