"""``config.json``: the settings a user keeps, in the folder ``DECLOUD_HOME`` names.

One flat JSON object from setting names (see `names`) to values, with a ``version``. It can hold secrets, so it has
mode 0600. A file that cannot be understood is refused and left as it is.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decloud_pl.config.names import find, secret_names
from decloud_pl.config.schema import CONFIG_FILE
from decloud_pl.config.values import Value, from_json
from decloud_pl.durable import locked, make_private, write_atomically
from decloud_pl.errors import ConfigError
from decloud_pl.redact import redact_tree
from decloud_pl.secrets import IN_KEYRING

logger = logging.getLogger(__name__)

VERSION = 1
_MOST_BYTES = 1 << 20
_MEND = "It was left as it is. Correct it with `decloud-trainer config --edit`, or start over with `config --reset`."


class ConfigFile:
    """The settings in one home folder, which is made when something is written."""

    def __init__(self, home: Path) -> None:
        self.path = home / CONFIG_FILE

    def read(self) -> dict[str, Value]:
        """The settings it holds, by name; an empty mapping when there is no file.

        Raises:
            ConfigError: the file cannot be read, or holds something that is not a setting.
        """
        if self.path.exists() and not self.path.is_file():  # reading from a pipe would wait for a writer
            raise ConfigError(f"{self.path} is no file.", fix="Move it away.")
        try:
            with self.path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            if self.path.is_symlink():  # its disk may not be mounted, and other settings would be another network's
                raise ConfigError(
                    f"{self.path} is a link to {self.path.readlink()}, which is not there.",
                    fix="Bring that file back, or remove the link.",
                ) from None
            return {}
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.", fix="Check its mode.") from error
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"{self.path} is larger than {_MOST_BYTES >> 20} MB, which no settings are.", fix=_MEND)
        values, mode = parse(data, str(self.path), self.path.parent), self.mode() or 0
        if mode & 0o077 and self.holds_secret(values):
            logger.warning(
                "%s holds a secret and others can read it (mode %03o). Run: chmod 600 %s", self.path, mode, self.path
            )
        return values

    def edit(self, change: Callable[[dict[str, Value]], None]) -> None:
        """Reads, changes and writes the settings, with other commands waiting meanwhile.

        Raises:
            ConfigError: as `read`, or the file cannot be written; then it is as it was.
        """
        with self._writing() as write:
            values = self.read()
            change(values)
            write(to_json(values))

    def write_text(self, text: str) -> None:
        """Replaces the file. The text must have been checked with `parse`."""
        with self._writing() as write:
            write(text)

    def reset(self) -> Path | None:
        """Puts the file aside, broken or not, and returns where it is now; None when there was none."""
        with self._writing():
            if not os.path.lexists(self.path):
                return None
            number = 1
            while os.path.lexists(aside := self.path.with_name(f"{CONFIG_FILE}.old-{number}")):
                number += 1
            return self.path.rename(aside)

    def mode(self) -> int | None:
        """Its permission bits, None when there is no file."""
        try:
            return self.path.stat().st_mode & 0o777
        except OSError:
            return None

    def holds_secret(self, values: Mapping[str, Value]) -> bool:
        """Whether one of its values is a secret in the clear, or an address that may hold one."""
        secrets = secret_names(self.path.parent)
        return any((name in secrets and one != IN_KEYRING) or redact_tree(one) != one for name, one in values.items())

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str], None]]:
        try:
            make_private(self.path.parent)
            with locked(self.path.with_name(f".{CONFIG_FILE}.lock")):
                # Through a link to the file it leads to: people keep such files elsewhere.
                yield lambda text: write_atomically(self.path.resolve(), text.encode(), mode=0o600)
        except OSError as error:
            fix = "Make its folder writable or set DECLOUD_HOME to another one."
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}.", fix=fix) from error


def parse(data: bytes, where: str, home: Path) -> dict[str, Value]:
    """Checks the content of a home folder's config.json; ``where`` names it in messages.

    Raises:
        ConfigError: the first thing that is wrong, with the nearest right one.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"{where} names {twice[0]!r} twice.", fix=_MEND)
        return dict(pairs)

    try:
        text = data.decode("utf-8-sig")
        tree = json.loads(text, parse_constant=int, object_pairs_hook=unique)  # int refuses NaN
        exact = json.loads(text, parse_float=str)  # an amount of SOL must not pass through a float
    except json.JSONDecodeError as error:
        # The error's own text can quote the file, and the file can hold a key.
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where} is not JSON ({error.msg} at {place}).", fix=_MEND) from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{where} is not JSON.", fix=_MEND) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} is not a JSON object.", fix=_MEND)
    version = tree.pop("version", VERSION)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ConfigError(
            f"{where} has version {version}, this program knows {VERSION}.",
            fix="It was left as it is. Use the program version that wrote it, or set DECLOUD_HOME to another folder.",
        )
    values: dict[str, Value] = {}
    for name, value in tree.items():
        try:
            setting = find(name, home)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", fix=error.fix) from None
        if setting.kind == "amount":
            value = exact[name]  # noqa: PLW2901
        elif setting.kind == "secret" and isinstance(value, list):
            value = json.dumps(value)  # noqa: PLW2901  # a key file's content, pasted as it is
        values[setting.name] = from_json(setting, value, f"{name} in {where}")
    return values


def to_json(values: Mapping[str, Value]) -> str:
    """The text of a config.json."""
    return json.dumps({"version": VERSION, **values}, indent=2, ensure_ascii=False) + "\n"
