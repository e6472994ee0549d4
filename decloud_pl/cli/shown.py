"""What commands show of the settings: their values, where each comes from, and which of a preset's do not count."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decloud_pl.redact import redact_tree
from decloud_pl.settings.layers import sets
from decloud_pl.settings.names import ALIASES, OLD, OUTSIDE, PACKAGES, PLAIN_NAMES, SHORT, leaves, settings_by_name
from decloud_pl.settings.schema import CONFIG_FILE, value_at

if TYPE_CHECKING:
    from decloud_pl.settings.load import Composed


@dataclass(frozen=True)
class Shown:
    """One setting as ``config --show`` prints it; a secret only in part, of an address only scheme, host and port."""

    name: str
    value: Any
    origin: str


def show(composed: Composed) -> list[Shown]:
    """Every setting with its value and its origin, the main ones first."""
    settings, given = composed.settings, composed.sources
    found: list[Shown] = []
    for name, setting in settings_by_name().items():
        place = ALIASES.get(setting.path, setting.path)
        value: Any
        if name in OUTSIDE:
            value = list(settings.allow_packages) if name == PACKAGES else settings.secrets.shown(name)
        elif setting.kind != "choice":
            value = redact_tree(value_at(settings, setting.path))
        elif name in composed.choices:
            value = composed.choices[name]
        else:  # of a list of choices Hydra keeps no name, only what they add up to
            value = list(value_at(settings, name) or ())
            if not value:
                continue
        found.append(Shown(name, value, given.origin(place)))
    # Keys of a free group are settings only where config.json sets them, or where their short name cannot show them.
    own = [entry.name for entry in given.kept.values() if entry.name not in (*leaves(), *OLD, *OUTSIDE)]
    own += [place for short, place in SHORT.items() if value_at(settings, short) is None and place not in own]
    return found + [Shown(name, redact_tree(value_at(settings, name)), given.origin(name)) for name in own]


def covered(composed: Composed) -> list[str]:
    """The settings of the chosen preset that config.json has its own value for."""
    _, preset = composed.sources.files
    return [
        PLAIN_NAMES.get(entry.name, entry.name)
        for place, entry in composed.sources.kept.items()
        if entry.origin == CONFIG_FILE and any(sets(key, place) for key in preset)
    ]


def warn_if_covered(composed: Composed) -> list[str]:
    """Says on stderr which of the preset's settings do not count, because config.json has its own value."""
    kept = covered(composed)
    if kept:
        names = " ".join(f"--unset {name}" for name in kept)
        print(
            f"Your own {', '.join(kept)} in config.json count more than the preset {composed.preset}'s; "
            f"to let the preset decide: decloud-trainer config {names}",
            file=sys.stderr,
        )
    return kept
