"""Values of settings: from text, from JSON, and to what Hydra reads."""

from __future__ import annotations

import contextlib
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
    try:
        return from_json(setting, _read(setting, text.strip()), where)
    except (ValueError, KeyError):
        raise wrong(setting, text, where) from None


def _read(setting: Setting, text: str) -> object:
    if setting.optional and text in ("null", ""):
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    match setting.kind:
        case "switch":
            return _SWITCH[text.lower()]
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "names":
            return json.loads(text) if text.startswith("[") else parts
        case "table":
            return json.loads(text) if text.startswith("{") else dict(_pair(part) for part in parts)
        case "any":
            with contextlib.suppress(ValueError):
                return json.loads(text)
    return text


def from_json(setting: Setting, value: Any, where: str) -> Value:
    """A value as config.json holds it, checked.

    Raises:
        ConfigError: it is not a value of this setting.
    """
    kind, given = setting.kind, type(value)
    if kind == "any" or (value is None and setting.optional) or (kind == "switch" and given is bool):
        return value  # type: ignore[no-any-return]  # JSON holds nothing else
    if kind == "amount" and given in (str, int, Decimal):
        try:
            parse_sol(str(value))
        except ValueError as error:
            raise ConfigError(f"{where}: {error}.", fix="Write it like 0.05.") from None
        return str(value).strip()
    if kind == "integer" and given is int:
        return int(value)
    if kind == "number" and given in (int, float, Decimal) and math.isfinite(value):
        return float(value)
    if kind == "secret" and given is list and all(type(item) is int for item in value):
        return json.dumps(value)  # a key file's content, pasted as it is
    if kind in ("text", "choice", "secret") and given is str and (value or kind != "choice"):
        return str(value)
    if kind == "names" and given is list and all(isinstance(item, str) for item in value):
        return list(value)
    if kind == "table" and given is dict and all(isinstance(item, str) for item in value.values()):
        for key in value:
            if not _TABLE_KEY.fullmatch(key):
                raise ConfigError(f"{where} has the key {key!r}.", fix="Name a data set in lower case.")
        return dict(value)
    raise wrong(setting, value, where)


def wrong(setting: Setting, value: object, where: str) -> ConfigError:
    """The sentence for a value that a setting does not take."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    shown = "not text" if setting.kind == "secret" else text if len(text) <= 60 else f"{text[:57]}…"
    return ConfigError(f"{where} is {shown}.", fix=f"It must be {_NEEDED[setting.kind]}.")


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


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key.strip() or not value.strip():
        raise ValueError
    return key.strip(), value.strip()
