"""Run one step of a round by hand, for ``join``, ``train`` and ``claim``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.config.session import open_chain, open_settings
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.errors import DecloudError, RoundError

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

    Only ``claim`` passes None. Then a round that fails does not stop the others, and the exit code is that of the first
    failure.

    Raises:
        DecloudError: the step of the round ``round_id`` failed, or the settings or the chain cannot be used.
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

        taken = asyncio.run(_take(step, round_id, settings.network, wallet.address, reporter, take_one))
    if taken is None:
        reporter.say("Stopped. Run the same command again to resume.")
        return EXIT_INTERRUPTED
    done, code = taken
    if json:
        print_json({"rounds": done} if round_id is None else done[0])
    return code


async def _take(
    step: Step,
    round_id: int | None,
    network: NetworkConfig,
    wallet: Pubkey,
    reporter: TerminalReporter,
    take_one: Callable[[int], Awaitable[RoundRecord | None]],
) -> tuple[list[dict[str, Any]], int] | None:
    """Take the step for each round.

    Returns:
        One entry per round for the JSON output, and the exit code. None if the user stopped a step.
    """
    from decloud_pl.cli import NAME
    from decloud_pl.cli.outcome import say
    from decloud_pl.cli.ui.streams import with_advice
    from decloud_pl.daemon.manual import StepBlockedError, already_done, claimable

    async def entry_of(number: int) -> dict[str, Any] | None:
        submission = await chain.submission(number, wallet)
        if already_done(step, number, await chain.round(number), submission):
            reporter.say(f"Round {number}: the step {step} is done already.")
            return {"done": "before"}
        record = await take_one(number)
        return None if record is None else {"done": "now", **dataclasses.asdict(record)}

    done: list[dict[str, Any]] = []
    failures: list[DecloudError] = []
    async with open_chain(network) as chain:
        round_ids = await claimable(chain, wallet) if round_id is None else [round_id]
        if not round_ids:
            reporter.say("This wallet has no unclaimed rewards.")
        for number in round_ids:
            try:
                entry = await entry_of(number)
            except DecloudError as error:
                if round_id is not None:
                    raise
                say(NAME, error)
                failures.append(error)
                entry = {"done": "failed", "message": with_advice(error)}
            if entry is None:
                return None
            done.append({"round_id": number, "step": step, **entry})
            if failures and (not isinstance(failures[-1], RoundError) or isinstance(failures[-1], StepBlockedError)):
                break  # the other rounds would fail for the same reason, for example because no endpoint answers
    return done, failures[0].exit_code if failures else 0
