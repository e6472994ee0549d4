"""Run one step of a round by hand, for ``join``, ``train`` and ``claim``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.config.session import open_chain, open_settings
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from solders.pubkey import Pubkey

    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.config import NetworkConfig
    from decloud_pl.daemon.loop import Daemon
    from decloud_pl.daemon.manual import Step
    from decloud_pl.journal.record import RoundRecord


def take_step(step: Step, round_id: int | None, overrides: Sequence[str], *, json: bool) -> int:
    """Run a step for one round. If ``round_id`` is None, run it for each round with an unclaimed reward.

    Only ``claim`` passes None.
    """
    import asyncio

    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.daemon.assemble import run_until_stopped
    from decloud_pl.daemon.manual import take
    from decloud_pl.rounds.wallets import open_wallet

    settings = open_settings(overrides)
    wallet = open_wallet(settings.wallet, settings.secrets, settings.allow_packages)
    reporter = TerminalReporter(stderr=json)
    with reporter:

        def take_one(number: int) -> Awaitable[RoundRecord | None]:
            return take(step, number, settings, wallet, reporter, run=run)

        async def run(daemon: Daemon) -> bool:
            return await run_until_stopped(daemon, reporter.stopping)

        done = asyncio.run(_take(step, round_id, settings.network, wallet.address, reporter, take_one))
    if done is None:
        reporter.say("Stopped. Run the same command again to resume.")
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
    """Take the step for each round. Return one entry per round for the JSON output; None if the user stopped a step."""
    from decloud_pl.daemon.manual import already_done, claimable

    done: list[dict[str, Any]] = []
    async with open_chain(network) as chain:
        round_ids = await claimable(chain, wallet) if round_id is None else [round_id]
        if not round_ids:
            reporter.say("This wallet has no unclaimed rewards.")
        for number in round_ids:
            submission = await chain.submission(number, wallet)
            if already_done(step, number, await chain.round(number), submission):
                reporter.say(f"Round {number}: the step {step} is done already.")
                done.append({"round_id": number, "step": step, "done": "before"})
                continue
            record = await take_one(number)
            if record is None:
                return None
            done.append({"round_id": number, "step": step, "done": "now", **dataclasses.asdict(record)})
    return done
