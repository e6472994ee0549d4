"""``config --set`` and the other changes of config.json: checked as a whole, then written."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.output import print_json
from decloud_pl.errors import ConfigError, UsageError
from decloud_pl.redact import redact_tree
from decloud_pl.settings.file import ConfigFile
from decloud_pl.settings.load import composed, sources_of
from decloud_pl.settings.names import find
from decloud_pl.settings.schema import default_home
from decloud_pl.settings.secrets import IN_KEYRING, keyring_delete, keyring_set, mask
from decloud_pl.settings.values import from_text, to_display

if TYPE_CHECKING:
    from decloud_pl.settings.values import Value

ASK = "-"


@dataclass(frozen=True)
class Change:
    """A setting, or one key of a table, with its new value and what to show of that; None where it goes."""

    setting: str
    value: Any = None
    shown: str | None = None
    key: str = ""

    @property
    def name(self) -> str:
        return f"{self.setting}.{self.key}" if self.key else self.setting


def change(arguments: argparse.Namespace) -> int:
    """Makes the changes of one call together, or none of them."""
    home = default_home(os.environ)
    changes = _changes(arguments, home)

    def apply(values: dict[str, Value]) -> None:
        for one in changes:
            _apply(one, values, home)
        check_kept(values, home)

    file = ConfigFile(home)
    file.edit(apply)
    if arguments.json:
        changed = [{"setting": one.name, "now": one.shown} for one in changes]
        print_json({"path": str(file.path), "changed": changed})
    else:
        for one in changes:
            print(f"{one.name} = {one.shown}" if one.shown is not None else f"{one.name} is no longer kept")
    return 0


def reset(arguments: argparse.Namespace) -> int:
    """Puts config.json aside."""
    file = ConfigFile(default_home(os.environ))
    aside = file.reset()
    if arguments.json:
        print_json({"path": str(file.path), "old": None if aside is None else str(aside)})
    elif aside is None:
        print(f"There is no {file.path}; every setting is as built in.")
    else:
        print(f"Every setting is as built in again. The old file, with any secret in it, is {aside}.")
    return 0


def check_kept(values: dict[str, Value], home: Path) -> None:
    """Refuses settings that could not be used.

    Raises:
        ConfigError: the first thing wrong with them, as a whole.
    """
    from decloud_pl.cli.dataset_names import check_names

    settings = composed(sources_of(values, home)).settings
    check_names(settings.datasets, settings.mappings, settings.paths, settings.own_conf)


def _changes(arguments: argparse.Namespace, home: Path) -> list[Change]:
    changes = [_assignment(text, home, keyring=arguments.keyring) for text in arguments.set]
    changes += [Change(find(name).name) for name in arguments.unset]
    for option, table in (("add_mapping", "mappings"), ("add_path", "paths")):
        for text in getattr(arguments, option):
            key, value = _pair(text, f"--{option.replace('_', '-')}", path=table == "paths")
            changes.append(Change(table, value, value, key))
    for option, table in (("remove_mapping", "mappings"), ("remove_path", "paths")):
        changes += [Change(table, key=key) for key in getattr(arguments, option)]
    return changes


def _apply(change: Change, values: dict[str, Value], home: Path) -> None:
    if change.key:
        kept = values.get(change.setting)
        table: dict[str, Any] = dict(kept) if isinstance(kept, dict) else {}
        if change.shown is not None:
            table[change.key] = change.value
        elif table.pop(change.key, None) is None:
            known = ", ".join(sorted(table)) or "none"
            raise ConfigError(f"{change.setting} has no {change.key!r}.", fix=f"Kept: {known}.")
        values[change.setting] = table
        if not table:
            del values[change.setting]
    elif change.shown is not None:
        values[change.setting] = change.value
    elif values.pop(change.setting, None) == IN_KEYRING:
        keyring_delete(change.setting, str(home))


def _assignment(text: str, home: Path, *, keyring: bool) -> Change:
    name, equals, word = text.partition("=")
    if not equals:
        raise UsageError(f"--set {name!r} has no value.", fix="Write --set KEY=VALUE, for example --set epochs=2.")
    setting = find(name.strip())
    where = f"--set {setting.name}"
    if setting.kind != "secret":
        if word == ASK and setting.kind in ("text", "names"):  # an address with a key in it
            word = ask_secret(f"{setting.name}: ")
        value = from_text(setting, word, where)
        return Change(setting.name, value, to_display(redact_tree(value)))
    if word == ASK:
        word = ask_secret(f"{setting.name}: ")
    else:
        print(f"{setting.name} is now in your shell's history; {setting.name}=- asks for it instead.", file=sys.stderr)
    secret = checked_secret(setting.name, word)
    if keyring:
        keyring_set(setting.name, str(home), secret)
        return Change(setting.name, IN_KEYRING, f"{mask(secret)} (in the system keyring)")
    return Change(setting.name, secret, mask(secret))


def ask_secret(prompt: str) -> str:
    """Reads a secret without showing it; from a pipe, its first line."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt, stream=sys.stderr)
    return sys.stdin.readline()


def checked_secret(name: str, text: str) -> str:
    """A secret as it is kept.

    Raises:
        ConfigError: it is empty or has blanks or line breaks inside.
        WalletError: a private key that is none.
    """
    secret = text.strip()
    if not secret:
        raise ConfigError(f"{name} is empty.", fix=f"Use --unset {name} to forget it.")
    if name == "private_key":
        from decloud_pl.chain.wallet import parse_key

        parse_key(secret, "The text you gave")
    elif not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(f"{name} holds characters that no such key has.", fix="Copy it again, in one piece.")
    return secret


def _pair(text: str, option: str, *, path: bool) -> tuple[str, str]:
    key, colon, value = (part.strip() for part in text.partition(":"))
    if not (key and colon and value):
        example = "mnist:/data/mnist" if path else "custom:digits"
        raise UsageError(f"{option} {text!r} is not a pair.", fix=f"Write it like {option} {example}.")
    if not path:
        return key, value
    # A table of texts is named with its columns: reviews.csv?text=review.
    place, mark, columns = value.partition("?")
    absolute = Path(place).expanduser().resolve()
    if not absolute.exists():
        raise ConfigError(f"{absolute} does not exist.", fix=f"Name the folder that holds the files of {key}.")
    return key, f"{absolute}{mark}{columns}"
