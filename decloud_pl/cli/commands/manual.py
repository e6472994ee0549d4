"""``decloud-trainer join``, ``train`` and ``claim``: one step of a round by hand."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.arguments import add_command, add_json, add_overrides, add_round, round_and_overrides
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from solders.pubkey import Pubkey

    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.daemon.manual import Step
    from decloud_pl.journal.record import RoundRecord
    from decloud_pl.settings import NetworkConfig

_JOIN = """\
decloud-trainer join 42
decloud-trainer join 42 network=devnet --json
"""
_TRAIN = """\
decloud-trainer train 42
decloud-trainer train 42 --epochs 3 --max-batches 100
decloud-trainer train 42 optimizer=sgd
decloud-trainer train 42 --force
"""
_CLAIM = """\
decloud-trainer claim 42
decloud-trainer claim --all
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    join = add_command(
        commands,
        "join",
        "join one round",
        _JOIN,
        "Joins one round, whatever its data set and reward, and does nothing more.",
    )
    add_round(join)
    train = add_command(
        commands,
        "train",
        "train, pin and submit for one round",
        _TRAIN,
        "Waits until the validator starts the training of a round you joined; trains, pins the update and submits."
        " An update that would gain nothing is withheld.",
    )
    add_round(train)
    train.add_argument("--epochs", metavar="N", help="epochs of this training")
    train.add_argument("--max-batches", metavar="N", help="batches an epoch, 0 for all")
    train.add_argument(
        "--force",
        action="store_true",
        help="submit an update that would gain nothing too, one withheld before as it is",
    )
    for parser, run in ((join, run_join), (train, run_train)):
        add_json(parser)
        add_overrides(parser)
        parser.set_defaults(run=run)
    claim = add_command(commands, "claim", "claim the reward of one round, or of all", _CLAIM)
    claim.add_argument("--all", action="store_true", help="every round whose reward waits for this wallet")
    add_json(claim)
    claim.add_argument("words", nargs="*", metavar="ID | KEY=VALUE", help="the round's number; settings for this run")
    claim.set_defaults(run=run_claim)


def run_join(arguments: argparse.Namespace) -> int:
    return _run("join", arguments.round_id, arguments.overrides, json=arguments.json)


def run_train(arguments: argparse.Namespace) -> int:
    from decloud_pl.settings.names import find
    from decloud_pl.settings.values import from_text, to_override

    overrides: list[str] = ["update.force=true"] if arguments.force else []
    for option, name in (("--epochs", "epochs"), ("--max-batches", "max_batches")):
        text = getattr(arguments, name)
        if text is not None:
            overrides.append(to_override(find(name), from_text(find(name), text, option)))
    return _run("train", arguments.round_id, [*overrides, *arguments.overrides], json=arguments.json)


def run_claim(arguments: argparse.Namespace) -> int:
    round_id, overrides = round_and_overrides(arguments.words)
    if (round_id is None) is not arguments.all:
        raise UsageError("claim needs a round's number or --all.", fix="See decloud-trainer claim --help.")
    return _run("claim", round_id, overrides, json=arguments.json)


def _run(step: Step, round_id: int | None, overrides: list[str], *, json: bool) -> int:
    """Takes a step of one round, or of every round whose reward waits where none is named."""
    import asyncio

    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.daemon.manual import take
    from decloud_pl.rounds.connect import open_wallet

    settings = open_settings(overrides)
    wallet = open_wallet(settings.wallet, settings.secrets)
    reporter = TerminalReporter(stderr=json)
    with reporter:

        def take_one(number: int) -> Awaitable[RoundRecord | None]:
            return take(step, number, settings, wallet, reporter)

        done = asyncio.run(_take(step, round_id, settings.network, wallet.address, reporter, take_one))
    if done is None:
        reporter.say("Stopped. The same command goes on where it was.")
        return EXIT_INTERRUPTED
    if json:
        print_json({"rounds": done} if round_id is None else done[0])
    return 0


async def _take(
    step: Step,
    round_id: int | None,
    network: NetworkConfig,
    wallet: Pubkey,
    reporter: TerminalReporter,
    take_one: Callable[[int], Awaitable[RoundRecord | None]],
) -> list[dict[str, Any]] | None:
    """What was done for each round; None when the user interrupted."""
    from decloud_pl.cli.config.session import open_chain
    from decloud_pl.daemon.manual import already_done, claimable

    done: list[dict[str, Any]] = []
    async with open_chain(network) as chain:
        round_ids = await claimable(chain, wallet) if round_id is None else [round_id]
        if not round_ids:
            reporter.say("No reward waits for this wallet.")
        for number in round_ids:
            submission = await chain.submission(number, wallet)
            if already_done(step, number, await chain.round(number), submission):
                reporter.say(f"Round {number}: nothing to {step}, that was done before.")
                done.append({"round_id": number, "step": step, "done": "before"})
                continue
            record = await take_one(number)
            if record is None:
                return None
            done.append({"round_id": number, "step": step, "done": "now", **_fields(record)})
    return done


def _fields(record: RoundRecord) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "state": record.state.value}
