"""What is wrong: with this machine and its settings, and with how validators read updates."""
