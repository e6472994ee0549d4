"""The life of a round: discover it, decide about it, and do the next step."""
