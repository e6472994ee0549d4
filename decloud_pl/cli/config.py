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
_CHANGES = ("set", "unset", "add_mapping", "remove_mapping", "add_path", "remove_path")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "config", "show and change settings", _EXAMPLES)
    one = parser.add_argument_group("one of")
    one.add_argument("--show", action="store_true", help="show the settings in force (the default)")
    one.add_argument("--preset", metavar="NAME|list", help="keep a preset, or list them all")
    one.add_argument("--reset", action="store_true", help="put config.json aside and begin anew")
    one.add_argument("--edit", action="store_true", help="open config.json in $EDITOR and check it before it counts")
    change = parser.add_argument_group("or any of")
    for name, metavar, text in (
        ("set", "KEY=VALUE", "keep a setting; a secret's value can be - to be asked for"),
        ("unset", "KEY", "no longer keep a setting"),
        ("add-mapping", "FROM:TO", "train on TO where a round asks for FROM"),
        ("remove-mapping", "FROM", "undo that"),
        ("add-path", "DATASET:/PATH", "where the files of a data set are"),
        ("remove-path", "DATASET", "undo that"),
    ):
        change.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=text)
    parser.add_argument("--origin", action="store_true", help="with --show: also where each value comes from")
    parser.add_argument("--keyring", action="store_true", help="with --set: keep secrets in the system keyring")
    add_json(parser)
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    changes = any(getattr(arguments, name) for name in _CHANGES)
    actions = [arguments.show, arguments.preset is not None, arguments.reset, arguments.edit, changes]
    if sum(actions) > 1:
        raise UsageError("These options do not go together.", fix="See decloud-trainer config --help.")
    if arguments.overrides and sum(actions) > arguments.show:
        raise UsageError(
            f"{arguments.overrides[0]} counts for one run only.", fix=f"Keep it with --set {arguments.overrides[0]}."
        )
    if sum(actions) == arguments.show:
        return _show(arguments)
    from decloud_pl.cli import config_change

    if changes:
        return config_change.change(arguments)
    if arguments.reset:
        return config_change.reset(arguments)
    if arguments.edit:
        return config_change.edit()
    return (config_change.list_presets if arguments.preset == "list" else config_change.keep_preset)(arguments)


def _show(arguments: argparse.Namespace) -> int:
    import os

    from decloud_pl.cli.output import print_json, print_table, to_display
    from decloud_pl.cli.shown import show
    from decloud_pl.settings import default_home
    from decloud_pl.settings.file import ConfigFile
    from decloud_pl.settings.layers import sources
    from decloud_pl.settings.load import composed

    entries = show(composed(sources(arguments.overrides)))
    path = ConfigFile(default_home(os.environ)).path
    if arguments.json:
        document = {"path": str(path), "settings": {entry.name: entry.value for entry in entries}}
        if arguments.origin:
            document["origins"] = {entry.name: entry.origin for entry in entries}
        print_json(document)
        return 0
    rows = [[entry.name, to_display(entry.value) or "-"] for entry in entries]
    if arguments.origin:
        origins = [[*row, entry.origin] for row, entry in zip(rows, entries, strict=True)]
        print_table(["setting", "value", "origin"], origins, flexible=1)
    else:
        print_table(["setting", "value"], rows)
    print(f"\nKept in {path}" if path.exists() else f"\nNothing is kept yet in {path}")
    return 0
