"""Values of settings: from text, from JSON, and to what Hydra reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from decloud_pl.domain import parse_sol
from decloud_pl.errors import ConfigError
from decloud_pl.settings.names import Setting

Value: TypeAlias = "bool | int | float | str | list[str] | dict[str, str] | list[Any] | dict[str, Any] | None"

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TABLE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NEEDED = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "amount": "an amount in SOL like 0.05",
    "names": "a list of names like mnist,cifar10",
    "table": "pairs like custom:digits",
    "choice": "the name of a choice",
    "secret": "text",
    "any": "a JSON value",
}


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
    stripped = text.strip()
    try:
        return from_json(setting, _read(setting, stripped), where)
    except ValueError:
        raise wrong(setting, text, where) from None


def _read(setting: Setting, text: str) -> object:
    if setting.optional and text in ("null", ""):
        return None
    if setting.kind == "switch":
        if text.lower() not in _SWITCH:
            raise ValueError
        return _SWITCH[text.lower()]
    if setting.kind == "integer":
        return int(text)
    if setting.kind == "number":
        return float(text)
    if setting.kind == "names":
        return json.loads(text) if text.startswith("[") else [part for part in _parts(text) if part]
    if setting.kind == "table":
        return json.loads(text) if text.startswith("{") else dict(_pair(part) for part in _parts(text) if part)
    if setting.kind == "any":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def from_json(setting: Setting, value: object, where: str) -> Value:
    """A value as config.json holds it, checked.

    Raises:
        ConfigError: it is not a value of this setting.
    """
    kind = setting.kind
    if value is None and setting.optional:
        return None
    if kind == "any" or (kind == "switch" and isinstance(value, bool)):
        return value  # type: ignore[return-value]  # JSON holds nothing else
    if kind == "amount" and isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        return _amount(value, where)
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "number" and isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number):
            return number
    if kind == "secret" and isinstance(value, list) and all(type(item) is int for item in value):
        return json.dumps(value)  # a key file's content, pasted as it is
    if kind in ("text", "choice", "secret") and isinstance(value, str) and not (kind == "choice" and not value):
        return value
    if kind == "names" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    if kind == "table" and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        for key in value:
            if not _TABLE_KEY.fullmatch(key):
                raise ConfigError(f"{where} has the key {key!r}.", fix="Name a data set in lower case.")
        return dict(value)
    raise wrong(setting, value, where)


def wrong(setting: Setting, value: object, where: str) -> ConfigError:
    """The sentence for a value that a setting does not take."""
    shown = "" if setting.kind == "secret" else f" {_brief(value)}"
    return ConfigError(f"{where} is{shown or ' not text'}.", fix=f"It must be {_NEEDED[setting.kind]}.")


def to_override(setting: Setting, value: Value) -> str:
    """A value as an override of Hydra's."""
    return f"{setting.path}={value if setting.kind == 'choice' else hydra_text(value)}"


def hydra_text(value: object) -> str:
    """A value in Hydra's override grammar, text always quoted and never an interpolation."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{hydra_text(str(key))}:{hydra_text(item)}" for key, item in value.items()) + "}"
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


def to_display(value: object) -> str:
    """A value as it could be typed again."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{to_display(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(to_display(item) for item in value)
    return str(value)


def _amount(value: str | int | Decimal, where: str) -> str:
    text = str(value).strip()
    try:
        parse_sol(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}.", fix="Write it like 0.05.") from None
    return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key.strip() or not value.strip():
        raise ValueError
    return key.strip(), value.strip()


def _brief(value: object) -> str:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
