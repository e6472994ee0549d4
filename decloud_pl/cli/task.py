"""Run what the setting ``task`` selects: the daemon, one round or an experiment."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.errors import RoundError, TrainingStopped

if TYPE_CHECKING:
    from decloud_pl.config import Settings
    from decloud_pl.journal.record import RoundRecord

_SUCCESSES = ("submitted", "claiming", "claimed", "unrewarded")


def run_task(settings: Settings, preset: str) -> int:
    """Run the daemon, one round or an experiment, and return the exit code.

    Args:
        settings: the checked settings.
        preset: name of the preset, for display.
    """
    if settings.task == "experiment":
        return _run_one_experiment(settings)
    return run_daemon(settings, preset=preset)


def run_daemon(settings: Settings, *, preset: str = "", plain: bool = False) -> int:
    """Run the daemon for all rounds or for ``settings.round``, and return the exit code.

    The code is 0 if a signal stopped the daemon, but `EXIT_INTERRUPTED` if ``settings.round`` has not ended by then.

    Args:
        settings: the checked settings.
        preset: name of the preset, for display.
        plain: print lines instead of the live view, even on a terminal.

    Raises:
        RoundError: ``settings.round`` ended without success; see `failure_of`.
    """
    import asyncio
    import os

    from decloud_pl.children import end_imports
    from decloud_pl.cli.ui.live import LiveReporter
    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.cli.ui.terminal import make_console
    from decloud_pl.daemon.assemble import assemble, run_until_stopped
    from decloud_pl.daemon.settings import banner, facts
    from decloud_pl.daemon.stopping import said_at_the_end
    from decloud_pl.observers.systemd import keep_alive
    from decloud_pl.own_memory import hide_memory
    from decloud_pl.rounds.wallets import open_wallet

    end_imports()
    hide_memory()
    wallet = open_wallet(settings.wallet, settings.secrets, settings.allow_packages)
    reporter: LiveReporter | TerminalReporter
    if make_console().is_terminal and not plain:
        reporter = LiveReporter(facts(settings, preset))
    else:
        reporter = TerminalReporter(plain=True, stamps=True)

    # A daemon may start before the network is up, so it waits. For a single round, a user waits for the result.
    wait = settings.round is None

    left_open: list[str] = []
    interrupted = False

    async def work() -> RoundError | None:
        nonlocal interrupted
        async with (
            keep_alive(os.environ),
            assemble(settings, wallet, reporter, preset=preset, wait_for_endpoint=wait) as daemon,
        ):
            interrupted = await run_until_stopped(daemon, reporter.stopping)
            if interrupted:
                left_open.extend(said_at_the_end(daemon.open_rounds(), time.time()))
                left_open.append("Stopped. Run the same command again to resume.")
            interrupted = interrupted and settings.round is not None and not daemon.ended
            return None if settings.round is None else failure_of(daemon.ended)

    with reporter:
        if isinstance(reporter, TerminalReporter):
            described = settings.network.describe_convention(settings.written_convention())
            reporter.say(f"Network {settings.network.name}. Updates are read as {described}.")
            for line in banner(settings, preset, str(wallet.address)):
                reporter.say(line)
        failure = asyncio.run(work())
    for line in left_open:
        reporter.say(line)
    if failure is not None:
        raise failure
    return EXIT_INTERRUPTED if interrupted else 0


def failure_of(ended: Sequence[RoundRecord]) -> RoundError | None:
    """Return the error for the first round that ended without success, or None.

    A round whose update was scored is a success, even if it paid no reward. So is a round whose reward the user must
    claim, because ``auto_claim`` is off: it ends as ``submitted`` or ``claiming``.
    """
    for record in ended:
        if record.state.value not in _SUCCESSES:
            why = ", ".join(filter(None, (record.state.value, record.reason.rstrip("."))))
            return RoundError(f"Round {record.round_id}: {why}.")
    return None


def _run_one_experiment(settings: Settings) -> int:
    """Run one experiment in the folder ``<home>/experiments/<date_time>``.

    If an experiment with the same settings was interrupted, resume it in its folder instead.
    """
    from decloud_pl.children import StopRequest
    from decloud_pl.cli.downloads import download_first
    from decloud_pl.cli.results import lines
    from decloud_pl.cli.ui.training_bar import training_bar
    from decloud_pl.experiment.folders import at_work, new_folder, settings_key, unfinished
    from decloud_pl.experiment.results import EXPERIMENTS, RESULT_FILE
    from decloud_pl.experiment.run import parameters_of, run_experiment
    from decloud_pl.rounds.planner import make_catalog

    # Torchmetrics imports Matplotlib, which reports at its first import on a machine that it has listed the fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    download_first(settings.dataset, make_catalog(settings))
    parent = settings.home_path / EXPERIMENTS
    key = settings_key(parameters_of(settings), settings.paths)
    begun = unfinished(parent, key)
    folder = begun or new_folder(parent, datetime.now())  # noqa: DTZ005  # named for people
    print(f"{'Training' if begun is None else 'Resuming'} in {folder}…", flush=True)
    interrupts = StopRequest(by_user=True)
    try:
        with interrupts, at_work(folder, key), training_bar() as show:
            result = run_experiment(settings, folder, on_progress=show, stop_requested=interrupts.requested)
    except (TrainingStopped, KeyboardInterrupt, SystemExit):  # Lightning turns an interrupt into an exit
        if not interrupts.seen:
            raise
        print(f"decloud_pl: {_interrupted(folder)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    for line in lines(result):
        print(line)
    print(f"Saved in {folder / RESULT_FILE}")
    return 0


def _interrupted(folder: Path) -> str:
    from decloud_pl.train.plan import CHECKPOINT_FILE

    if (folder / CHECKPOINT_FILE).is_file():
        return f"Interrupted. Run the same command again to resume from the checkpoint in {folder}."
    return "Interrupted before the first checkpoint. Run the same command again to start from scratch."
