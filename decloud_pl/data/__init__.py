"""The catalog of the data sets that this package can read, and their readers."""
