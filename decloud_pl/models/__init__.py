"""Models: architectures by name, the package format, and the quarantine that opens files from strangers."""
