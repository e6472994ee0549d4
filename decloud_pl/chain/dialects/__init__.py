"""The revisions of the program. Each package here defines ``DIALECT``, a dataclass that implements `NetworkDialect`.

The name of a package is the name of its revision with ``_`` instead of each dot: ``v1_0`` is the revision v1.0. A later
revision inherits from the previous revision and defines only the differences.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from solders.pubkey import Pubkey

    from decloud_pl.chain.dialect import NetworkDialect

DEFAULT = "v1.0"


def names() -> list[str]:
    """Return the names of the supported revisions, the oldest first, without importing the revisions."""
    return sorted(entry.name.replace("_", ".") for entry in iter_modules(__path__) if entry.ispkg)


def check_name(name: str) -> None:
    """Check that a revision exists, without importing it.

    Raises:
        ConfigError: the revision does not exist.
    """
    known = names()
    if name not in known:
        raise ConfigError(
            f"network.dialect must be auto or a revision of the program (got {name!r}).",
            fix=nearest(name, ["auto", *known]),
        )


def get_dialect(
    name: str = DEFAULT,
    program_id: Pubkey | None = None,
    *,
    treasury: Pubkey | None = None,
    referrer: Pubkey | None = None,
) -> NetworkDialect:
    """Return the dialect of a revision. v1.0 ignores ``treasury`` and ``referrer``.

    Args:
        name: the revision, for example ``v1.0``.
        program_id: the address of the program; None for the revision's public program.
        treasury: the account that receives the fee of each payment; None for the public program's treasury.
        referrer: the account that receives half of that fee; None for no referrer.

    Raises:
        ConfigError: the revision does not exist.
    """
    check_name(name)
    revision = import_module(f"{__name__}.{name.replace('.', '_')}")
    known = {entry.name for entry in fields(revision.DIALECT)}
    given = {"program_id": program_id, "treasury": treasury, "referrer": referrer}
    arguments = {key: value for key, value in given.items() if value is not None and key in known}
    dialect: NetworkDialect = revision.DIALECT(**arguments)
    return dialect
