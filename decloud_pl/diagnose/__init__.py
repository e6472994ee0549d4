"""Find problems with this machine, its settings and the RPC endpoints."""
