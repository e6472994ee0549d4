"""The web page on loopback: rounds, trainings, earnings and the log, from the journal alone."""
