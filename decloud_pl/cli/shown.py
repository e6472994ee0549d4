"""What commands show of the settings: their values, where each comes from, and which of a preset's do not count."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decloud_pl.redact import redact_tree
from decloud_pl.settings.names import PACKAGES, Setting, settings_by_name
from decloud_pl.settings.origins import BUILT_IN
from decloud_pl.settings.schema import value_at

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
    settings, origins = composed.settings, composed.origins
    found: list[Shown] = []
    for name, setting in settings_by_name().items():
        if not setting.path:
            kept = origins.outside.get(name)
            value = list(settings.allow_packages) if name == PACKAGES else settings.secrets.shown(name)
            found.append(Shown(name, value, kept.origin if kept else BUILT_IN))
        elif setting.kind != "choice":
            found.append(Shown(name, redact_tree(value_at(settings, setting.path)), origins.of(setting.place)))
        elif name in composed.choices:
            found.append(Shown(name, composed.choices[name], origins.of(name)))
        elif several := value_at(settings, name):  # of a list of choices Hydra keeps no name, only what they add up to
            found.append(Shown(name, list(several), origins.of(name)))
    # Keys of a free group are settings only where somebody sets them by these names.
    own = [entry.setting for entry in origins.assignments.values() if entry.setting.kind == "any"]
    own += [Setting(place, place, "any") for place in _unspoken(composed) if place not in {one.path for one in own}]
    return found + [
        Shown(one.name, redact_tree(value_at(settings, one.path)), origins.of(one.path))
        for one in own
        if one.name not in settings_by_name()
    ]


def _unspoken(composed: Composed) -> list[str]:
    """The places whose value their short name cannot show."""
    short = [setting for setting in settings_by_name().values() if setting.place != setting.path]
    return [one.place for one in short if value_at(composed.settings, one.path) is None]


def warn_if_covered(found: Composed) -> list[str]:
    """Says on stderr which of the preset's settings do not count, because config.json has its own value."""
    kept = found.origins.covered()
    if kept:
        names = " ".join(f"--unset {name}" for name in kept)
        print(
            f"Your own {', '.join(kept)} in config.json count more than the preset {found.preset}'s; "
            f"to let the preset decide: decloud-trainer config {names}",
            file=sys.stderr,
        )
    return kept
