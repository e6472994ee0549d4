"""``config --preset``: keeps a preset, or lists them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.cli.config_change import check_kept
from decloud_pl.cli.output import print_json, print_table
from decloud_pl.config_dir import config_dir
from decloud_pl.settings.file import ConfigFile
from decloud_pl.settings.load import composed, sources
from decloud_pl.settings.names import choices
from decloud_pl.settings.origins import covered
from decloud_pl.settings.schema import USER_CONF, default_home

if TYPE_CHECKING:
    from decloud_pl.settings.load import Composed, Sources
    from decloud_pl.settings.values import Value


def list_presets(arguments: argparse.Namespace) -> int:
    own = default_home(os.environ) / USER_CONF
    rows = [
        {"name": name, "about": _about(folder / "preset" / f"{name}.yaml"), "own": folder == own}
        for folder in (config_dir(), own)
        for name in choices("preset", folder)
    ]
    if arguments.json:
        print_json({"presets": rows})
    else:
        print_table(["preset", "what it is"], [[str(row["name"]), str(row["about"])] for row in rows])
        print(f"\nYour own belong in {own / 'preset'}")
    return 0


def keep_preset(arguments: argparse.Namespace) -> int:
    home = default_home(os.environ)

    def apply(values: dict[str, Value]) -> None:
        values["preset"] = arguments.preset
        check_kept(values, home)

    file = ConfigFile(home)
    file.edit(apply)
    given = sources()
    kept = warn_if_covered(given, composed(given))
    if arguments.json:
        print_json({"path": str(file.path), "preset": arguments.preset, "covered": kept})
    else:
        print(f"preset = {arguments.preset}")
    return 0


def warn_if_covered(given: Sources, found: Composed) -> list[str]:
    """Says on stderr which of the preset's settings do not count, because config.json has its own value."""
    kept = covered(given, found)
    if kept:
        names = " ".join(f"--unset {name}" for name in kept)
        print(
            f"Your own {', '.join(kept)} in config.json count more than the preset {found.preset}'s; "
            f"to let the preset decide: decloud-trainer config {names}",
            file=sys.stderr,
        )
    return kept


def _about(path: Path) -> str:
    """The first line of comment that is no directive."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "cannot be read"
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@")), "")
