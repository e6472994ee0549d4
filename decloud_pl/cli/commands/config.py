"""``decloud-trainer config``: shows and changes the settings in config.json."""

from __future__ import annotations

import argparse

from decloud_pl.cli.arguments import add_command, add_json, add_overrides
from decloud_pl.errors import UsageError

_EXAMPLES = """\
decloud-trainer config --show --origin
decloud-trainer config --set epochs=2 --set datasets=mnist,cifar10
decloud-trainer config --set private_key=-       (asks for it without showing it)
decloud-trainer config --preset image-small
decloud-trainer config --add-mapping custom:fashionmnist --add-path mnist:/data/mnist

What counts: built-in < preset < config.json < environment (DECLOUD_EPOCHS=2) < command line.
"""
_CHANGES = (
    ("set", "KEY=VALUE", "keep a setting; a secret's value can be - to be asked for"),
    ("unset", "KEY", "no longer keep a setting"),
    ("add-mapping", "FROM:TO", "train on TO where a round asks for FROM"),
    ("remove-mapping", "FROM", "undo that"),
    ("add-path", "DATASET:/PATH", "where the files of a data set are"),
    ("remove-path", "DATASET", "undo that"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "config", "show and change settings", _EXAMPLES)
    one = parser.add_argument_group("one of")
    one.add_argument("--show", action="store_true", help="show the settings in force (the default)")
    one.add_argument("--preset", metavar="NAME|list", help="keep a preset, or list them all")
    one.add_argument("--reset", action="store_true", help="put config.json aside and start over")
    one.add_argument("--edit", action="store_true", help="open config.json in $EDITOR and check it before it counts")
    change = parser.add_argument_group("or any of")
    for name, metavar, text in _CHANGES:
        change.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=text)
    parser.add_argument("--origin", action="store_true", help="with --show: also where each value comes from")
    parser.add_argument("--keyring", action="store_true", help="with --set: keep secrets in the system keyring")
    add_json(parser)
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    changed = any(getattr(arguments, name.replace("-", "_")) for name, *_ in _CHANGES)
    actions = [arguments.show, arguments.preset is not None, arguments.reset, arguments.edit, changed]
    if sum(actions) > 1:
        raise UsageError("These options do not go together.", fix="See decloud-trainer config --help.")
    if arguments.overrides and sum(actions) > arguments.show:
        first = arguments.overrides[0]
        raise UsageError(f"{first} counts for one run only.", fix=f"Keep it with --set {first}.")
    from decloud_pl.cli.config import change, shown

    if sum(actions) == arguments.show:
        return shown.print_settings(arguments.overrides, json=arguments.json, origin=arguments.origin)
    if arguments.preset == "list":
        return shown.print_presets(json=arguments.json)
    if changed:
        return change.change(arguments)
    if arguments.reset:
        return change.reset(arguments)
    if arguments.edit:
        return change.edit()
    return change.keep_preset(arguments)
