"""The local network's creator and validator. They use the trainer's own client code."""
