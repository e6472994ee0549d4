"""``decloud-trainer start``: the daemon in the foreground."""

from __future__ import annotations

import argparse

from decloud_pl.cli.arguments import add_command, add_overrides

_EXAMPLES = """\
decloud-trainer start
decloud-trainer start --preset image-small --min-reward 0.05
decloud-trainer start --dataset mnist,cifar10 --epochs 2 --max-parallel 2
decloud-trainer start --no-auto-claim -- network=devnet optimizer=sgd

Further settings are Hydra overrides, KEY=VALUE or GROUP=CHOICE, which conf/config.yaml lists. They hold for this
run; `decloud-trainer config` keeps settings for good.
"""
_OPTIONS = (
    ("preset", "NAME", "preset", "a preset; `decloud-trainer config --preset list` lists them"),
    ("dataset", "LIST", "datasets", "data sets to train for, with commas between them"),
    ("min-reward", "SOL", "min_reward", "the least reward of a round"),
    ("max-reward", "SOL", "max_reward", "the greatest, 0 for no limit"),
    ("epochs", "N", "epochs", "epochs of a training"),
    ("max-parallel", "N", "max_concurrent_rounds", "rounds to work on at a time"),
)
_SWITCHES = (
    ("no-auto-train", "auto_train", "join and claim, but leave training to `decloud-trainer train`"),
    ("no-auto-claim", "auto_claim", "leave claiming to `decloud-trainer claim`"),
)
_FORCE = "submit updates that would gain nothing too, and those withheld before as they are"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "start",
        "find, join, train, submit and claim until stopped",
        _EXAMPLES,
        "Runs the daemon: finds rounds, joins, trains, submits and claims until Ctrl-C.",
    )
    for option, metavar, _, text in _OPTIONS:
        parser.add_argument(f"--{option}", metavar=metavar, help=text)
    for option, _, text in _SWITCHES:
        parser.add_argument(f"--{option}", action="store_true", help=text)
    parser.add_argument("--force", action="store_true", help=_FORCE)
    parser.add_argument("--plain", action="store_true", help="one line per event with its time, on a terminal too")
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.cli.config.session import checked
    from decloud_pl.cli.config.shown import warn_if_covered
    from decloud_pl.cli.task import run_daemon
    from decloud_pl.settings.layers import sources

    found = checked(sources([*option_overrides(arguments), *arguments.overrides]))
    warn_if_covered(found)
    return run_daemon(found.settings, preset=found.preset, plain=arguments.plain)


def option_overrides(arguments: argparse.Namespace) -> list[str]:
    """The options as Hydra overrides, checked.

    Raises:
        ConfigError: a value that is none of the setting's.
    """
    from decloud_pl.settings.names import find
    from decloud_pl.settings.values import from_text, to_override

    overrides: list[str] = []
    for option, _, name, _ in _OPTIONS:
        text = getattr(arguments, option.replace("-", "_"))
        if text is not None:
            setting = find(name)
            overrides.append(to_override(setting, from_text(setting, text, f"--{option}")))
    overrides += ["update.force=true"] if arguments.force else []
    overrides += [f"{name}=false" for option, name, _ in _SWITCHES if getattr(arguments, option.replace("-", "_"))]
    return overrides
