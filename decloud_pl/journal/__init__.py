"""What the trainer intends for each round, in one SQLite file, written down before every effect."""
