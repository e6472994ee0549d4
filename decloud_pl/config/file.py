"""Read and write ``config.json``, the user's settings in the folder ``DECLOUD_HOME``.

The file is a flat JSON object that maps setting names (see `names`) to values, plus a ``version``. It has mode 0600,
because it can contain secrets. An invalid file raises an error and is never changed.
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
_MEND = "The file is unchanged. Correct it with `decloud-trainer config --edit`, or start over with `config --reset`."


class ConfigFile:
    """The config.json of a home folder. Writing it creates the folder."""

    def __init__(self, home: Path) -> None:
        self.path = home / CONFIG_FILE

    def read(self) -> dict[str, Value]:
        """Return the settings by name; an empty mapping if the file does not exist.

        Raises:
            ConfigError: the file cannot be read, or an entry is not a valid setting.
        """
        try:
            if self.path.exists() and not self.path.is_file():  # reading from a pipe would wait for a writer
                raise ConfigError(f"{self.path} is not a regular file.", fix="Move it to another place.")
            with self.path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            if self.path.is_symlink():  # without its settings, e.g. on an unmounted disk, defaults would apply
                raise ConfigError(
                    f"{self.path} is a link to {self.path.readlink()}, which does not exist.",
                    fix="Restore that file, or remove the link.",
                ) from None
            return {}
        except OSError as error:
            fix = "Check its permissions, or set DECLOUD_HOME to another folder."
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.", fix=fix) from error
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"{self.path} is larger than {_MOST_BYTES >> 20} MB, too large for settings.", fix=_MEND)
        values, mode = parse(data, str(self.path), self.path.parent), self.mode() or 0
        if mode & 0o077 and self.holds_secret(values):
            logger.warning(
                "Other users can read the secrets in %s (mode %03o). Run: chmod 600 %s", self.path, mode, self.path
            )
        return values

    def edit(self, change: Callable[[dict[str, Value]], None]) -> None:
        """Read the settings, let ``change`` modify them, and write them. If a step fails, the old file remains."""
        with self._writing() as write:
            values = self.read()
            change(values)
            write(to_json(values))

    def write_text(self, text: str) -> None:
        """Replace the file. The caller must check the text with `parse` first."""
        with self._writing() as write:
            write(text)

    def reset(self) -> Path | None:
        """Rename the file, even an invalid one, and return its new path. Return None if there is no file."""
        with self._writing():
            if not os.path.lexists(self.path):
                return None
            number = 1
            while os.path.lexists(aside := self.path.with_name(f"{CONFIG_FILE}.old-{number}")):
                number += 1
            return self.path.rename(aside)

    def mode(self) -> int | None:
        """Return the file's permission bits, or None if it does not exist."""
        try:
            return self.path.stat().st_mode & 0o777
        except OSError:
            return None

    def holds_secret(self, values: Mapping[str, Value]) -> bool:
        """Return whether a value is a secret in plain text, or a URL that may contain one."""
        secrets = secret_names(self.path.parent)
        return any((name in secrets and one != IN_KEYRING) or redact_tree(one) != one for name, one in values.items())

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str], None]]:
        try:
            make_private(self.path.parent)
            with locked(self.path.with_name(f".{CONFIG_FILE}.lock")):
                # Users may keep the file elsewhere, behind a symbolic link, so the link is followed.
                yield lambda text: write_atomically(self.path.resolve(), text.encode(), mode=0o600)
        except OSError as error:
            fix = "Make its folder writable, or set DECLOUD_HOME to another folder."
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}.", fix=fix) from error


def parse(data: bytes, where: str, home: Path) -> dict[str, Value]:
    """Parse and check the content of a config.json, and return its settings by name.

    Args:
        data: the content.
        where: the name of the content in error messages.
        home: the home folder, whose ``conf/`` may define further settings.

    Raises:
        ConfigError: the content is invalid. The message names the first invalid entry and the nearest valid name.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"{where} contains {twice[0]!r} twice.", fix=_MEND)
        return dict(pairs)

    try:
        text = data.decode("utf-8-sig")
        tree = json.loads(text, parse_constant=int, object_pairs_hook=unique)  # int refuses NaN
        exact = json.loads(text, parse_float=str)  # a float would round an amount of SOL
    except (ValueError, RecursionError) as error:
        why = ""
        if isinstance(error, json.JSONDecodeError):  # its whole text can quote the file, which may contain a key
            why = f" ({error.msg} at line {error.lineno}, column {error.colno})"
        raise ConfigError(f"{where} is not JSON{why}.", fix=_MEND) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} is not a JSON object.", fix=_MEND)
    version = tree.pop("version", VERSION)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ConfigError(
            f"{where} has format version {version}, but this program supports only {VERSION}.",
            fix="Use the version of decloud_pl that wrote it, or set DECLOUD_HOME to another folder.",
        )
    values: dict[str, Value] = {}
    for name, value in tree.items():
        try:
            setting = find(name, home)
            if setting.kind == "amount":
                value = exact[name]  # noqa: PLW2901
            elif setting.kind == "secret" and isinstance(value, list):
                value = json.dumps(value)  # noqa: PLW2901  # the pasted content of a key file
            values[setting.name] = from_json(setting, value, name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", fix=error.fix or _MEND) from None
    return values


def check_text(values: Mapping[str, Value]) -> None:
    """Raise `ConfigError` if a name or a value contains text that a file in UTF-8 cannot hold."""
    for name, value in values.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{name} contains characters that are not UTF-8.", fix="Write them in UTF-8.") from None


def to_json(values: Mapping[str, Value]) -> str:
    """Return the text of a config.json."""
    return json.dumps({"version": VERSION, **values}, indent=2, ensure_ascii=False) + "\n"
