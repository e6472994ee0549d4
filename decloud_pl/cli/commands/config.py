"""Show and change settings.

Precedence: built-in < preset < config.json < environment (DECLOUD_EPOCHS=2) < command line.

Examples:
  decloud-trainer config --show --origin
  decloud-trainer config --set epochs=2 --set datasets=mnist,cifar10
  decloud-trainer config --set private_key=-       (asks for it with hidden input)
  decloud-trainer config --preset image-small
  decloud-trainer config --add-mapping custom:fashionmnist --add-path mnist:/data/mnist
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from decloud_pl.cli.arguments import as_json, command, complete_settings, overrides
from decloud_pl.errors import UsageError

_SET = "save a setting; with KEY=- you type the value with hidden input"


@command(__doc__)
@click.option("--show", is_flag=True, help="show the settings in force (the default)")
@click.option("--origin", is_flag=True, help="with --show: also show where each value comes from")
@click.option("--preset", metavar="NAME|list", help="save a preset, or list all presets")
@click.option("--reset", is_flag=True, help="rename config.json and start with the defaults")
@click.option("--edit", is_flag=True, help="edit config.json in $EDITOR, and check it before saving")
@click.option("--set", multiple=True, metavar="KEY=VALUE", help=_SET, shell_complete=complete_settings)
@click.option("--unset", multiple=True, metavar="KEY", help="remove a setting from config.json")
@click.option("--add-mapping", multiple=True, metavar="FROM:TO", help="train on TO if a round's data set is FROM")
@click.option("--remove-mapping", multiple=True, metavar="FROM", help="remove a mapping")
@click.option("--add-path", multiple=True, metavar="DATASET:/PATH", help="set the path of a data set's files")
@click.option("--remove-path", multiple=True, metavar="DATASET", help="remove a path")
@click.option("--keyring", is_flag=True, help="with --set: save secrets in the system keyring")
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
    of_changes = (f"--{name.replace('_', '-')}" for name, values in changes.items() if values)
    first_change = next(of_changes, "")
    actions = {"--show": show, "--preset": preset is not None, "--reset": reset, "--edit": edit}
    chosen = [name for name, on in {**actions, first_change: bool(first_change)}.items() if on]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} cannot be used together.", fix="Run config once for each.")
    if overrides and chosen not in ([], ["--show"]):
        raise UsageError(
            f"{overrides[0]} without --set works only with --show.", fix=f"To save it, use --set {overrides[0]}."
        )
    if keyring and not changes["set"]:
        raise UsageError("--keyring works only with --set.", fix="Leave it out.")
    if origin and chosen not in ([], ["--show"]):
        raise UsageError("--origin works only with --show.", fix="Leave it out.")
    from decloud_pl.cli.config import change, shown

    if chosen in ([], ["--show"]):
        shown.print_settings(overrides, json=as_json, origin=origin)
    elif first_change:
        change.change(changes, keyring=keyring, json=as_json)
    elif reset:
        change.reset(json=as_json)
    elif edit:
        change.edit(json=as_json)
    elif preset in (None, "list"):
        shown.print_presets(json=as_json)
    else:
        change.keep_preset(preset, json=as_json)
    return 0
