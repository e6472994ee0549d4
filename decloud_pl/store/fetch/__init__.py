"""Downloads from gateways that nobody has to trust, checked and kept."""
