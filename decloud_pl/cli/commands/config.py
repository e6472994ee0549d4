"""Show and change settings.

What counts: built-in < preset < config.json < environment (DECLOUD_EPOCHS=2) < command line.

Examples:
  decloud-trainer config --show --origin
  decloud-trainer config --set epochs=2 --set datasets=mnist,cifar10
  decloud-trainer config --set private_key=-       (asks for it without showing it)
  decloud-trainer config --preset image-small
  decloud-trainer config --add-mapping custom:fashionmnist --add-path mnist:/data/mnist
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from decloud_pl.cli.arguments import as_json, command, complete_settings, overrides
from decloud_pl.errors import UsageError

_SET = "keep a setting; a secret's value can be - to be asked for"


@command(__doc__)
@click.option("--show", is_flag=True, help="show the settings in force (the default)")
@click.option("--origin", is_flag=True, help="with --show: also where each value comes from")
@click.option("--preset", metavar="NAME|list", help="keep a preset, or list them all")
@click.option("--reset", is_flag=True, help="put config.json aside and start over")
@click.option("--edit", is_flag=True, help="open config.json in $EDITOR and check it before it counts")
@click.option("--set", multiple=True, metavar="KEY=VALUE", help=_SET, shell_complete=complete_settings)
@click.option("--unset", multiple=True, metavar="KEY", help="no longer keep a setting")
@click.option("--add-mapping", multiple=True, metavar="FROM:TO", help="train on TO where a round asks for FROM")
@click.option("--remove-mapping", multiple=True, metavar="FROM", help="undo that")
@click.option("--add-path", multiple=True, metavar="DATASET:/PATH", help="where the files of a data set are")
@click.option("--remove-path", multiple=True, metavar="DATASET", help="undo that")
@click.option("--keyring", is_flag=True, help="with --set: keep secrets in the system keyring")
@as_json
@overrides
def run(
    show: bool,
    origin: bool,
    preset: str | None,
    reset: bool,
    edit: bool,
    keyring: bool,
    as_json: bool,
    overrides: list[str],
    **changes: Sequence[str],
) -> int:
    actions = [show, preset is not None, reset, edit, any(changes.values())]
    if sum(actions) > 1:
        raise UsageError("These options do not go together.", fix="See decloud-trainer config --help.")
    if overrides and sum(actions) > show:
        raise UsageError(f"{overrides[0]} counts for one run only.", fix=f"Keep it with --set {overrides[0]}.")
    from decloud_pl.cli.config import change, shown

    if sum(actions) == show:
        return shown.print_settings(overrides, json=as_json, origin=origin)
    if any(changes.values()):
        return change.change(changes, keyring=keyring, json=as_json)
    if reset:
        return change.reset(json=as_json)
    if edit:
        return change.edit()
    if preset in (None, "list"):
        return shown.print_presets(json=as_json)
    return change.keep_preset(preset, json=as_json)
