"""Exit codes that do not belong to an error in `decloud_pl.errors`. All are part of the public interface."""

EXIT_UNWELL = 14
"""``doctor`` found a problem."""
EXIT_INTERRUPTED = 130

TABLE = """\
exit codes: 0 success, 1 internal error, 2 usage, 3 configuration, 4 wallet, 5 chain, 6 refused by the program,
7 storage, 8 data set, 9 model, 10 training, 11 journal, 12 local network, 13 round, 14 doctor found a problem,
15 notification, 16 shortage on this machine, 17 audit, 130 interrupted
"""
