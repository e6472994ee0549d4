"""The architectures that this package brings."""
