"""The on-chain program of the local network: C sources, and one built shared object per revision.

Where the protocol leaves a choice, the README or a comment in the source states the decision.
"""

from __future__ import annotations

from decloud_pl.errors import ConfigError, nearest

REVISIONS = ("v1.0", "v1.1", "v1.2")
"""The dialects that the program is built for, in order of publication."""
OLDEST, *_, NEWEST = REVISIONS


def file_name(dialect: str) -> str:
    """Return the file name of a dialect's shared object.

    Raises:
        ConfigError: the program is not built for this dialect.
    """
    if dialect not in REVISIONS:
        raise ConfigError(
            f"The local network does not support the dialect {dialect!r}.", fix=nearest(dialect, REVISIONS)
        )
    return f"federated_ai-{dialect}.so"


def shared_object(dialect: str) -> bytes:
    """Return a dialect's program, ready for the loader (an sBPF version 0 ELF file).

    Raises:
        ConfigError: the program is not built for this dialect.
        FileNotFoundError: the package was installed without the file.
    """
    from importlib.resources import files  # slow to import; the command line needs only the names

    return files(__package__).joinpath(file_name(dialect)).read_bytes()
