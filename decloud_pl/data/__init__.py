"""Data sets: the catalogue of what this package can read, and the readers."""
