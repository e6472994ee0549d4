"""The on-chain program of the local network, as C source and as one built shared object per revision.

Where the protocol leaves a choice, a comment in the source says what was decided.
"""

from __future__ import annotations

from decloud_pl.errors import ConfigError, nearest

REVISIONS = ("v1.0", "v1.1", "v1.2")
"""The dialects that the program is built for, in the order of their publication."""
OLDEST, *_, NEWEST = REVISIONS


def file_name(dialect: str) -> str:
    """Of the shared object that speaks a dialect.

    Raises:
        ConfigError: the program is not built for it.
    """
    if dialect not in REVISIONS:
        raise ConfigError(f"The local network does not run {dialect!r}.", fix=nearest(dialect, REVISIONS))
    return f"federated_ai-{dialect}.so"


def shared_object(dialect: str) -> bytes:
    """The program that speaks a dialect, built and ready for the loader (an sBPF version 0 ELF file).

    Raises:
        ConfigError: the program is not built for this dialect.
        FileNotFoundError: the package was installed without it.
    """
    from importlib.resources import files  # the command line wants the names alone

    return files(__package__).joinpath(file_name(dialect)).read_bytes()
