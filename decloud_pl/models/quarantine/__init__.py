"""Files from strangers, opened in a child process that has nothing to lose."""
