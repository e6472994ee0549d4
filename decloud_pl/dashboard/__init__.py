"""The web dashboard on loopback. It reads rounds, trainings, earnings and the log from the daemon's files."""
