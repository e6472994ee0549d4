"""Every outcome of a command becomes one sentence on standard error and a stable exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.cli.ui.streams import cannot_be_written, with_advice
from decloud_pl.errors import ConfigError, DecloudError
from decloud_pl.shortage import shortage


def exit_code(name: str, run: Callable[[], int]) -> int:
    """Runs a command.

    Args:
        name: of the program, at the beginning of what is said.
        run: the command; what it has printed leaves before the code is known.
    """
    try:
        code = run()
        sys.stdout.flush()
    except DecloudError as error:
        return say(name, error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        known = _as_ours(error)
        if known is None:
            raise
        return say(name, known)
    return code


def say(name: str, error: DecloudError) -> int:
    """Says what went wrong; gives the exit code for it."""
    print(f"{name}: {with_advice(error)}", file=sys.stderr)
    return error.exit_code


def _as_ours(error: Exception) -> DecloudError | None:
    if isinstance(error, RuntimeError) and "Could not determine home directory" in str(error):
        return ConfigError("This user has no home folder.", fix="Set HOME to a folder of this user.")
    if isinstance(error, OSError):
        if "No usable temporary directory" in str(error):
            where = "No folder for temporary files can be used: they are full, or may not be written"
            return ConfigError(f"{where}.", fix="Set TMPDIR to a folder with room.")
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return cannot_be_written(error)
    return shortage(error)
