"""The revisions of the program. Each is a folder that defines ``DIALECT``, a dataclass that is a `NetworkDialect`.

A folder is called after its revision, with ``_`` for each dot: ``v1_0`` is the revision v1.0. A later revision inherits
from the one before and defines only what changed.
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
    """The revisions that this program speaks, the oldest first; imports none."""
    return sorted(entry.name.replace("_", ".") for entry in iter_modules(__path__) if entry.ispkg)


def check_name(name: str) -> None:
    """Refuses a name that no revision has, and imports none.

    Raises:
        ConfigError: there is no such revision.
    """
    known = names()
    if name not in known:
        raise ConfigError(f"network.dialect is {name!r}.", fix=nearest(name, ["auto", *known]))


def get_dialect(
    name: str = DEFAULT,
    program_id: Pubkey | None = None,
    *,
    treasury: Pubkey | None = None,
    referrer: Pubkey | None = None,
) -> NetworkDialect:
    """A revision of the program at an address. One that knows no treasury or referrer ignores them.

    Args:
        name: of the revision, for example ``v1.0``.
        program_id: None for the address of the revision's public program.
        treasury: who receives the fee of what the program pays; None for the public program's treasury.
        referrer: who receives half of that fee; None for nobody.

    Raises:
        ConfigError: there is no such revision.
    """
    check_name(name)
    revision = import_module(f"{__name__}.{name.replace('.', '_')}")
    known = {entry.name for entry in fields(revision.DIALECT)}
    given = {"program_id": program_id, "treasury": treasury, "referrer": referrer}
    arguments = {key: value for key, value in given.items() if value is not None and key in known}
    dialect: NetworkDialect = revision.DIALECT(**arguments)
    return dialect
