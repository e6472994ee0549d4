"""Where a training runs: in a child process here, or on a Ray cluster."""
