"""The journal: one SQLite file that stores the next step of each round before the daemon takes that step."""
