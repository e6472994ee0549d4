"""Find problems with this machine, the trainer's settings and the RPC endpoints."""
