"""Turn the outcome of a command into one message on standard error and a stable exit code."""

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
    """Run a command, print its error if it fails, and return its exit code.

    Args:
        name: name of the program, which begins the message.
        run: the command. Its output is flushed before the exit code is determined.
    """
    try:
        code = run()
        sys.stdout.flush()
    except DecloudError as error:
        return say(name, error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has ended (`| head`). Python would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        known = _as_ours(error)
        if known is None:
            raise
        return say(name, known)
    return code


def say(name: str, error: DecloudError) -> int:
    """Print an error and return its exit code."""
    print(f"{name}: {with_advice(error)}", file=sys.stderr)
    return error.exit_code


def _as_ours(error: Exception) -> DecloudError | None:
    if isinstance(error, RuntimeError) and "Could not determine home directory" in str(error):
        return ConfigError("The home folder of this user is unknown.", fix="Set HOME to a folder of this user.")
    if isinstance(error, OSError):
        if "No usable temporary directory" in str(error):
            where = "Every folder for temporary files is full or not writable"
            return ConfigError(f"{where}.", fix="Set TMPDIR to a writable folder with free space.")
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return cannot_be_written(error)
        if error.errno in (errno.EACCES, errno.ENAMETOOLONG, errno.ENOTDIR) and isinstance(error.filename, str):
            fix = "Check its permissions, or set DECLOUD_HOME to another folder."
            return ConfigError(f"{error.filename} cannot be used: {error.strerror}.", fix=fix)
    return shortage(error)
