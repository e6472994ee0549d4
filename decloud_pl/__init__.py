"""decloud_pl: train models in DECLOUD rounds with PyTorch Lightning and earn SOL."""

__version__ = "0.1.0"
