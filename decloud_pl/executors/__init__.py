"""Run trainings in a child process on this machine, or on a Ray cluster."""
