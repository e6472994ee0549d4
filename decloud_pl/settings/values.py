"""Values of settings: from text, from JSON, and to what Hydra reads."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from decloud_pl.errors import ConfigError
from decloud_pl.settings.names import Setting

Value: TypeAlias = "bool | int | float | str | list[str] | dict[str, str] | list[Any] | dict[str, Any] | None"

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "text"),
    "secret": ((str,), "text"),
    "choice": ((str, list), "the name of a choice"),
    "switch": ((bool,), "true or false"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "amount": ((str, int, float), "an amount in SOL like 0.05"),
    "names": ((list,), "a list of names like [mnist,cifar10]"),
    "table": ((dict,), "pairs like custom:digits"),
    "any": ((object,), "a JSON value"),
}
"""What JSON has for each kind of setting, and the words for it."""
_SEVERAL = "callbacks"
"""The group whose choices add up."""


def from_text(setting: Setting, text: str, where: str) -> Value:
    """A value as users type it, in ``--set``, in the environment and for options.

    Lists are comma-separated (or JSON), tables are ``from:to`` pairs (or a JSON object).

    Args:
        setting: which setting.
        text: the value; a secret is not repeated in a message.
        where: names the place in a message, for example ``--set epochs``.

    Raises:
        ConfigError: it is not a value of this setting.
    """
    try:
        return from_json(setting, _read(setting.kind, text.strip()), where)
    except (ValueError, KeyError):
        raise wrong(setting, text, where) from None


def from_json(setting: Setting, value: Any, where: str) -> Value:
    """A value as config.json holds it, checked for its type.

    Raises:
        ConfigError: it is not a value of this setting.
    """
    kind, (types, _) = setting.kind, _KINDS[setting.kind]
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types or object in types)
    fits = fits and (not isinstance(value, float) or math.isfinite(value))
    several = kind == "names" or (kind == "choice" and isinstance(value, list))
    if kind == "choice" and several and setting.path != _SEVERAL:
        raise wrong(setting, value, where)
    items = value if several and fits else value.values() if kind == "table" and fits else ()
    if not fits or not all(isinstance(item, str) for item in items) or (kind == "choice" and not value):
        raise wrong(setting, value, where)
    return str(value) if kind == "amount" else value


def wrong(setting: Setting, value: object, where: str) -> ConfigError:
    """The sentence for a value that a setting does not take."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    shown = "not text" if setting.kind == "secret" else text if len(text) <= 60 else f"{text[:57]}…"
    return ConfigError(f"{where} is {shown}.", fix=f"It must be {_KINDS[setting.kind][1]}.")


def to_override(setting: Setting, value: Value) -> str:
    """A value as an override of Hydra's."""
    return f"{setting.path}={value if setting.kind == 'choice' else hydra_text(value)}"


def hydra_text(value: object) -> str:
    """A value in Hydra's override grammar, text always quoted and never an interpolation."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value) if isinstance(value, float) else json.dumps(value)
    if isinstance(value, Mapping):
        keys = {key: re.sub(r"([\\()\[\]{}:=, ])", r"\\\1", str(key)) for key in value}  # which cannot be quoted
        return "{" + ",".join(f"{keys[key]}:{hydra_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(hydra_text(item) for item in value) + "]"
    # Backslashes count only before a quote.
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), literal(str(value)))
    return f"'{quoted}'"


def literal(value: Any) -> Any:
    """A value whose text no composition takes for an interpolation."""
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [literal(item) for item in value]
    if not isinstance(value, str):
        return value
    # Backslashes count only before an interpolation.
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)


def _read(kind: str, text: str) -> object:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    match kind:
        case "switch":
            return _SWITCH[text.lower()]
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "choice" if text.startswith("["):
            return [part.strip() for part in text.strip("[]").split(",") if part.strip()]
        case "names":
            return json.loads(text) if text.startswith("[") else parts
        case "table":
            pairs = [part.partition(":") for part in parts]
            if not text.startswith("{") and not all(key.strip() and value.strip() for key, _, value in pairs):
                raise ValueError
            return json.loads(text) if text.startswith("{") else {key.strip(): value.strip() for key, _, value in pairs}
        case "any":
            with contextlib.suppress(ValueError):
                return json.loads(text)
    return text
