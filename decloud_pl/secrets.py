"""Keep keys and credentials outside of the configuration tree, and mask them in output.

Limits: the values are in this process's memory. In config.json they are plain text, protected only by the file mode.
Secrets in the system keyring are not in config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from decloud_pl.errors import ConfigError, first_line

NOTIFY_URLS = "notify_urls"
SECRET_NAMES = ("private_key", NOTIFY_URLS)
"""The secrets that do not belong to a storage provider."""
IN_KEYRING = "@keyring"
"""The value in config.json that stands for a secret in the system keyring."""

_SERVICE = "decloud-trainer"
_SHOWN = 4


def mask(secret: str) -> str:
    """Return the first and last four characters of a secret, or only "…" if it is shorter than 16 characters."""
    if len(secret) < 4 * _SHOWN:
        return "…"
    return f"{secret[:_SHOWN]}…{secret[-_SHOWN:]}"


class Secrets:
    """Secret values by name. ``repr`` and ``str`` mask them, and pickling raises an error.

    Args:
        values: values by name; `IN_KEYRING` stands for a value in the system keyring.
        home: the home folder that the secrets belong to. The name of each secret in the keyring contains it.
    """

    __slots__ = ("_home", "_values")

    def __init__(self, values: Mapping[str, str] | None = None, *, home: str = "") -> None:
        self._values = dict(values or {})
        self._home = home

    def get(self, name: str) -> str | None:
        """Return a secret's value, or None if it is not set.

        Raises:
            ConfigError: the secret is missing in the keyring, or the keyring is not usable.
        """
        value = self._values.get(name)
        if value != IN_KEYRING:
            return value or None
        found = keyring_get(name, self._home)
        if found is None:
            raise ConfigError(
                f"{name} is missing in the system keyring.",
                fix=f"Enter it again: decloud-trainer config --set {name}=- --keyring",
            )
        return found

    def in_keyring(self, name: str) -> str | None:
        """Return the value that the keyring stores for a secret, or None if it stores none.

        A value from config.json or from the environment is ignored.

        Raises:
            ConfigError: the keyring is not usable.
        """
        return keyring_get(name, self._home)

    def shown(self, name: str) -> str | None:
        """Return a secret in masked form, or a note that it is in the keyring; None if the secret is not set."""
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
        raise TypeError("Secrets cannot be pickled, because they must not leave this process.")


def keyring_is_usable() -> bool:
    """Return whether the keyring package is installed and has a backend on this machine."""
    try:
        import keyring
    except ImportError:
        return False
    return bool(keyring.get_keyring().priority > 0)


def keyring_get(name: str, home: str) -> str | None:
    """Return the value that the keyring stores for a secret of a home folder, or None if it stores none.

    Raises:
        ConfigError: the keyring is not usable on this machine, or it is locked.
    """
    return _call("get_password", _SERVICE, f"{name}@{home}")


def keyring_set(name: str, home: str, value: str) -> None:
    """Store a secret of a home folder in the keyring.

    Raises:
        ConfigError: as `keyring_get`.
    """
    _call("set_password", _SERVICE, f"{name}@{home}", value)


def keyring_delete(name: str, home: str) -> None:
    """Remove a secret of a home folder from the keyring, if the keyring has it.

    Raises:
        ConfigError: as `keyring_get`.
    """
    if keyring_get(name, home) is not None:
        _call("delete_password", _SERVICE, f"{name}@{home}")


def _call(function: str, *arguments: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise ConfigError(
            "The system keyring cannot be used: the package keyring is not installed.",
            fix="Install it with: pip install 'decloud_pl[keyring]'",
        ) from None
    try:
        answer = getattr(keyring, function)(*arguments)
    except KeyringError as error:
        raise ConfigError(
            f"The system keyring cannot be used: {first_line(error)}.",
            fix="Unlock it, or keep the secret in config.json or in the environment.",
        ) from None
    return answer if isinstance(answer, str) else None
