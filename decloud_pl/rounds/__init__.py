"""Find rounds, decide which to join, and take each joined round through its steps."""
