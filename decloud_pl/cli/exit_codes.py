"""Exit codes beside those of `decloud_pl.errors`. All of them are part of the public interface."""

EXIT_UNWELL = 14
"""``doctor`` found something that needs the user."""
EXIT_INTERRUPTED = 130

TABLE = """\
exit codes: 0 success, 1 defect, 2 usage, 3 configuration, 4 wallet, 5 chain, 6 refused by the program,
7 storage, 8 data set, 9 model, 10 training, 11 journal, 12 local network, 13 round, 14 doctor found something,
15 notification, 16 shortage on this machine, 130 interrupted
"""
