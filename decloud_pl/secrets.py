"""Keys and credentials: kept out of the configuration tree, shown only in part, kept in a keyring if wished.

What this does not cover: the values are in this process's memory, and config.json holds them in the clear,
protected by its file mode alone. The system keyring is the way out of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from decloud_pl.errors import ConfigError, first_line

SECRET_NAMES = ("private_key", "notify_urls")
"""The secrets besides those of storage providers."""
IN_KEYRING = "@keyring"
"""What config.json holds in place of a secret that the system keyring has."""

_SERVICE = "decloud-trainer"
_SHOWN = 4


def mask(secret: str) -> str:
    """The first and last four characters; nothing of a secret so short that these would give it away."""
    if len(secret) < 4 * _SHOWN:
        return "…"
    return f"{secret[:_SHOWN]}…{secret[-_SHOWN:]}"


class Secrets:
    """Values by name. ``repr`` and ``str`` show masked ones; pickling is refused.

    Args:
        values: by name; `IN_KEYRING` stands for a value that the keyring has.
        home: the folder whose secrets these are, which names them in the keyring.
    """

    __slots__ = ("_home", "_values")

    def __init__(self, values: Mapping[str, str] | None = None, *, home: str = "") -> None:
        self._values = dict(values or {})
        self._home = home

    def get(self, name: str) -> str | None:
        """A secret's value, None when it is set nowhere.

        Raises:
            ConfigError: the keyring should have it and does not, or there is no keyring.
        """
        value = self._values.get(name)
        if value != IN_KEYRING:
            return value or None
        found = keyring_get(name, self._home)
        if found is None:
            raise ConfigError(
                f"The system keyring does not hold {name}.",
                fix=f"Enter it again: decloud-trainer config --set {name}=- --keyring",
            )
        return found

    def in_keyring(self, name: str) -> str | None:
        """What the keyring has for the home folder, wherever else the secret is set.

        Raises:
            ConfigError: there is no keyring.
        """
        return keyring_get(name, self._home)

    def shown(self, name: str) -> str | None:
        """What may be shown of a secret: its first and last four characters, or where it is."""
        value = self._values.get(name)
        if not value:
            return None
        return "in the system keyring" if value == IN_KEYRING else mask(value)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.shown(name)}" for name, value in self._values.items() if value)
        return f"Secrets({shown})"

    def __copy__(self) -> Secrets:
        return self

    def __deepcopy__(self, _memo: object) -> Secrets:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not to be pickled: they would leave this process")


def keyring_is_usable() -> bool:
    """Whether this machine has a keyring that could keep a secret: the package, and a service behind it."""
    try:
        import keyring
    except ImportError:
        return False
    return bool(keyring.get_keyring().priority > 0)


def keyring_get(name: str, home: str) -> str | None:
    """The keyring's value for one home folder, None when it has none.

    Raises:
        ConfigError: there is no keyring on this machine, or it is locked.
    """
    return _ask("get_password", _SERVICE, f"{name}@{home}")


def keyring_set(name: str, home: str, value: str) -> None:
    """Puts a secret into the keyring.

    Raises:
        ConfigError: as `keyring_get`.
    """
    _ask("set_password", _SERVICE, f"{name}@{home}", value)


def keyring_delete(name: str, home: str) -> None:
    """Takes a secret out of the keyring; one that is not there is no error.

    Raises:
        ConfigError: as `keyring_get`.
    """
    if keyring_get(name, home) is not None:
        _ask("delete_password", _SERVICE, f"{name}@{home}")


def _ask(call: str, *arguments: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise ConfigError(
            "The system keyring cannot be used: the package keyring is not installed.",
            fix="Install it with: pip install 'decloud_pl[keyring]'",
        ) from None
    try:
        answer = getattr(keyring, call)(*arguments)
    except KeyringError as error:
        raise ConfigError(
            f"The system keyring cannot be used: {first_line(error)}.",
            fix="Unlock it, or keep the secret in config.json or in the environment.",
        ) from None
    return answer if isinstance(answer, str) else None
