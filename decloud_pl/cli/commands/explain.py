"""``decloud-trainer explain``: why the daemon would join a round, or why not."""

from __future__ import annotations

import argparse
import dataclasses

from decloud_pl.cli.arguments import add_command, add_json, add_overrides, add_round

_EXAMPLES = """\
decloud-trainer explain 42
decloud-trainer explain 42 rewards.min=0.5 --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "explain",
        "show each test of a round and whether the daemon would join it",
        _EXAMPLES,
    )
    add_round(parser)
    add_json(parser)
    add_overrides(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import asyncio

    from decloud_pl.cli.commands.status import convention_fields
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.daemon.assemble import explain_round
    from decloud_pl.rounds.connect import open_wallet

    settings = open_settings(arguments.overrides)
    address = open_wallet(settings.wallet, settings.secrets).address
    checks = asyncio.run(explain_round(settings, address, arguments.round_id))
    joins = all(check.passed for check in checks)
    if arguments.json:
        print_json(
            {
                "round_id": arguments.round_id,
                "joins": joins,
                "checks": [dataclasses.asdict(check) for check in checks],
                "convention": convention_fields(settings.network, settings.written_convention()),
            }
        )
        return 0
    rows = [[check.name, "yes" if check.passed else "no", check.detail] for check in checks]
    print_table(["test", "passed", "because"], rows)
    failed = next((check for check in checks if not check.passed), None)
    print(f"\nUpdates are read as {settings.describe_convention()}.")
    print(f"The daemon {'would join it' if failed is None else f'does not join it: {failed.detail}'}.")
    return 0
