"""The journal: one SQLite file with the intended step of each round, written before every effect."""
