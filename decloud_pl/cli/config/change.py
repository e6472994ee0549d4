"""Change config.json. All changes of a call are checked together before the file is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decloud_pl.chain.solana_cli import absolute
from decloud_pl.cli.config.editor import edited
from decloud_pl.cli.config.session import checked
from decloud_pl.cli.config.shown import warn_if_covered
from decloud_pl.cli.ui.output import print_result, to_display
from decloud_pl.cli.ui.prompt import ask_secret, checked_secret
from decloud_pl.config.file import ConfigFile, parse, to_json
from decloud_pl.config.layers import sources, sources_of
from decloud_pl.config.names import Setting, find, names_of
from decloud_pl.config.schema import default_home
from decloud_pl.config.values import Value, from_text
from decloud_pl.durable import make_private
from decloud_pl.errors import ConfigError, UsageError
from decloud_pl.redact import redact_tree
from decloud_pl.secrets import IN_KEYRING, keyring_delete, keyring_set, mask

_FOLDERS = ("data.folder", "storage.path")
_PAIRS = {"mapping": "custom:digits", "path": "mnist:/data/mnist"}  # the tables' options, each with an example


@dataclass(frozen=True)
class Change:
    """A change that sets or removes a setting, or one key of a setting that is a table.

    ``shown`` is the new value as the command prints it. If ``shown`` is None, the change is a removal. If ``secret`` is
    not empty, it is stored in the system keyring.
    """

    setting: str
    value: Any = None
    shown: str | None = None
    key: str = ""
    secret: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return f"{self.setting}.{self.key}" if self.key else self.setting

    def apply(self, values: dict[str, Value]) -> None:
        """Apply the change to ``values``, the settings in config.json."""
        kept, new = values.get(self.setting), self.value
        if self.key:
            new = dict(kept) if isinstance(kept, dict) else {}
            if self.shown is not None:
                new[self.key] = self.value
            elif new.pop(self.key, None) is None:
                known = ", ".join(sorted(new)) or "none"
                raise ConfigError(f"{self.setting} has no entry {self.key!r}.", fix=f"Entries: {known}.")
        if self.shown is not None or new:
            values[self.setting] = new
            return
        names = names_of(self.setting, values)
        if not names:
            fix = "See what it sets with `decloud-trainer config --show --origin`."
            raise ConfigError(f"config.json does not set {self.setting}.", fix=fix)
        for name in names:
            del values[name]

    def apply_to_keyring(self, before: Mapping[str, Value], home: Path) -> None:
        """Apply the change to the system keyring. ``before`` are the settings in config.json before all changes."""
        if self.secret:
            keyring_set(self.setting, str(home), self.secret)
        elif self.shown is None and not self.key and before.get(self.setting) == IN_KEYRING:
            keyring_delete(self.setting, str(home))


def change(options: Mapping[str, Sequence[str]], *, keyring: bool, json: bool) -> None:
    """Make the changes that the options of one call request. If one is invalid, nothing changes."""
    home = default_home()
    changes = [_assignment(text, home, keyring=keyring) for text in options["set"]]
    if keyring and not any(one.secret for one in changes):
        raise UsageError(
            f"--keyring applies only to secrets, and {changes[0].setting} is not one.",
            fix="Leave out --keyring: config.json holds all other settings.",
        )
    changes += [Change(find(name, home).name) for name in options["unset"]]
    for option in _PAIRS:
        changes += [_pair(text, option) for text in options[f"add_{option}"]]
        changes += [Change(f"{option}s", key=key) for key in options[f"remove_{option}"]]
    lines = [f"{one.name} removed" if one.shown is None else f"{one.name} = {one.shown}" for one in changes]
    changed = [{"setting": one.name, "now": one.shown} for one in changes]
    print_result({"path": str(_keep(changes, home)), "changed": changed}, "\n".join(lines), json=json)


def keep_preset(name: str, *, json: bool) -> None:
    """Save a preset, and print which of its settings config.json overrides."""
    path = _keep([Change("preset", name, name)], default_home())
    kept = warn_if_covered(sources())
    print_result({"path": str(path), "preset": name, "covered": kept}, f"preset = {name}", json=json)


def edit(*, json: bool) -> None:
    """Open config.json in the user's editor, even if the file is invalid. Save the edited text only if it is valid."""
    home = default_home()
    file = ConfigFile(home)
    make_private(home)

    def check(text: str) -> None:
        checked(sources_of(parse(text.encode("utf-8", "surrogateescape"), "The edited text", home), home))

    text = edited(file.path, to_json({}), check)
    if text is not None:
        file.write_text(text)
    words = "Nothing was changed." if text is None else f"Saved in {file.path}"
    print_result({"path": str(file.path), "saved": text is not None}, words, json=json)


def reset(*, json: bool) -> None:
    """Rename config.json, so that all settings return to their defaults."""
    file = ConfigFile(default_home())
    aside = file.reset()
    text = f"All settings have their defaults again. The old file, including its secrets, is now {aside}."
    if aside is None:
        text = f"{file.path} does not exist. All settings have their defaults."
    print_result({"path": str(file.path), "old": aside and str(aside)}, text, json=json)


def _keep(changes: list[Change], home: Path) -> Path:
    """Write the changes to config.json if the resulting settings are valid, and return the file's path."""

    def apply(values: dict[str, Value]) -> None:
        before = dict(values)
        for one in changes:
            one.apply(values)
        checked(sources_of(values, home), stored=[one.name for one in changes if one.shown is not None])
        for one in changes:
            one.apply_to_keyring(before, home)

    file = ConfigFile(home)
    file.edit(apply)
    return file.path


def _assignment(text: str, home: Path, *, keyring: bool) -> Change:
    name, equals, word = text.partition("=")
    if not equals:
        raise UsageError(f"--set {name!r} has no value.", fix="Write --set KEY=VALUE, for example --set epochs=2.")
    setting = find(name.strip(), home)
    asked = word == "-" and setting.kind in ("secret", "text", "names")  # a URL can contain a key
    word = ask_secret(setting.name) if asked else word
    if setting.kind != "secret":
        value = _absolute(setting, from_text(setting, word, f"--set {setting.name}"))
        return Change(setting.name, value, to_display(redact_tree(value), setting.kind))
    if not asked:
        print(
            f"Your shell's history contains {setting.name} now. "
            f"To type it with hidden input, use --set {setting.name}=-.",
            file=sys.stderr,
        )
    secret = checked_secret(setting.name, word)
    if keyring:
        return Change(setting.name, IN_KEYRING, f"{mask(secret)} (in the system keyring)", secret=secret)
    return Change(setting.name, secret, mask(secret))


def _absolute(setting: Setting, value: Value) -> Value:
    """Return the value of a setting, with an absolute path in place of a relative one.

    The daemon may run in another folder than this command.
    """
    if setting.name == "keypair_path":
        return absolute(str(value))
    if setting.name == "paths" and isinstance(value, dict):
        return {name: _resolved(path) if _is_relative(path) else path for name, path in value.items()}
    return str(Path.cwd() / str(value)) if setting.name in _FOLDERS and _is_relative(value) else value


def _is_relative(value: Value) -> bool:
    return isinstance(value, str) and value[:1] not in ("", "/", "~", "$")


def _resolved(path: str) -> str:
    """Return the absolute path of a data set. A text table's path may end with columns: reviews.csv?text=review."""
    place, mark, columns = path.partition("?")
    return f"{Path(place).expanduser().resolve()}{mark}{columns}"


def _pair(text: str, option: str) -> Change:
    key, colon, value = (part.strip() for part in text.partition(":"))
    if not (key and colon and value):
        fix = f"Example: --add-{option} {_PAIRS[option]}."
        raise UsageError(f"--add-{option} {text!r} is not a pair.", fix=fix)
    if option == "path":
        value = _resolved(value)
    return Change(f"{option}s", value, value, key)
