"""Data sets: the catalog of those that this package can read, and the readers."""
