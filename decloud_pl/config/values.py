"""Parse and check the values of settings, and write them in Hydra's override grammar."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from decloud_pl.config.names import KINDS, Setting
from decloud_pl.errors import ConfigError, unquoted
from decloud_pl.redact import each_text

Value: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_SEVERAL = "callbacks"  # the group that can have several choices at once


def from_text(setting: Setting, text: str, where: str) -> Value:
    """Parse a value that a user typed.

    A list is a comma-separated text, and a table is a comma-separated text of ``from:to`` pairs. Both can also be JSON.

    ``where`` names the value in the error message, for example ``--set epochs``.

    Raises:
        ConfigError: the value does not fit the setting.
    """
    from yaml import YAMLError

    text = text.strip() if setting.kind == "any" else unquoted(text.strip(), where)
    try:
        return from_json(setting, _read(setting.kind, text), where)
    except (ValueError, KeyError, YAMLError):
        raise wrong(setting, text, where) from None


def from_json(setting: Setting, value: Any, where: str) -> Value:
    """Check that the type of a JSON value fits the setting, and return the value.

    If the kind of the setting is ``amount``, a number is returned as text.

    Raises:
        ConfigError: the value does not fit the setting.
    """
    if not _fits(setting, value):
        raise wrong(setting, value, where)
    return str(value) if setting.kind == "amount" else value


def wrong(setting: Setting, value: object, where: str) -> ConfigError:
    """Return the error for a value that does not fit its setting. The message leaves out the value of a secret."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    got = f" (got {text if len(text) <= 60 else f'{text[:57]}…'})" if setting.kind != "secret" else ""
    return ConfigError(f"{where} must be {KINDS[setting.kind][0]}{got}.")


def hydra_text(value: object) -> str:
    """Write a value in Hydra's override grammar. Text is always quoted, and ``${`` in it is escaped."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value) if isinstance(value, float) else json.dumps(value)
    if isinstance(value, Mapping):
        keys = [re.sub(r"([\\()\[\]{}:=, ])", r"\\\1", str(key)) for key in value]  # keys cannot be quoted
        return "{" + ",".join(f"{key}:{hydra_text(item)}" for key, item in zip(keys, value.values(), strict=True)) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(hydra_text(item) for item in value) + "]"
    # A backslash is an escape character only before a quote.
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), literal(str(value)))
    return f"'{quoted}'"


def literal(value: Any) -> Any:
    """Escape ``${`` in each text of a value, so that Hydra does not read it as an interpolation."""
    # A backslash is an escape character only before an interpolation.
    return each_text(value, lambda text: re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text))


def _read(kind: str, text: str) -> object:
    """Parse a text according to the kind of its setting, without checking the result."""
    from yaml import BaseLoader

    parts = [part.strip() for part in text.split(",") if part.strip()]
    match kind:
        case "names" | "table" | "choice" if text.startswith(("[", "{")):
            return BaseLoader(text).get_single_data()  # every scalar as text
        case "switch":
            return _SWITCH[text.lower()]
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "names":
            return parts
        case "table":
            pairs = [part.partition(":") for part in parts]
            if all(key.strip() and value.strip() for key, _, value in pairs):
                return {key.strip(): value.strip() for key, _, value in pairs}
        case "any":
            try:
                return json.loads(text)
            except ValueError:
                return text
    return text


def _fits(setting: Setting, value: Any) -> bool:
    """Return whether a value has the type of its setting."""
    kind = setting.kind
    of_type = isinstance(value, KINDS[kind][1]) and (kind in ("switch", "any") or not isinstance(value, bool))
    if not of_type:
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if kind == "choice" and (not value or (isinstance(value, list) and setting.path != _SEVERAL)):
        return False
    parts = list(value.values()) if kind == "table" else value if kind in ("names", "choice") else []
    return all(isinstance(part, str) for part in parts)
