"""Wires a daemon together from settings; top to bottom, no rules."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace

from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects.v1 import SUBMISSION_SIZE
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.daemon.connect import make_dialect, make_rpc, ray_options
from decloud_pl.daemon.events import Reporter, Trouble
from decloud_pl.daemon.executor import Executor, ProcessExecutor
from decloud_pl.daemon.journal import Journal
from decloud_pl.daemon.journal_file import JOURNAL_FILE
from decloud_pl.daemon.log import logged
from decloud_pl.daemon.lookout import situation_of
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.observe import observed
from decloud_pl.daemon.patience import answered, unending
from decloud_pl.daemon.planner import SettingsPlanner
from decloud_pl.daemon.policy import Policy
from decloud_pl.daemon.ray_executor import RayExecutor
from decloud_pl.daemon.scope import Scope
from decloud_pl.daemon.select import SUBMISSION_DEPOSIT, Check, Criteria, explain, join_cost
from decloud_pl.daemon.shares import Shares, visible_gpus
from decloud_pl.daemon.steps import Steps
from decloud_pl.daemon.stores import make_publisher, make_reader, make_stores
from decloud_pl.daemon.transaction_log import JournalTransactionLog
from decloud_pl.data.background import BackgroundDownloads
from decloud_pl.data.catalog import resolve
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import parse_sol
from decloud_pl.errors import DatasetError, ExecutorUnavailable, RoundError
from decloud_pl.settings import Settings

MAX_MODEL_BYTES = 2 << 30


def make_sender(settings: Settings, rpc: RpcClient, wallet: Wallet, journal: Journal) -> Sender:
    """A sender that remembers in the journal and pays no more than the settings allow."""
    policy = SendPolicy(
        max_priority_lamports=settings.chain.max_priority_lamports,
        max_compute_units=settings.chain.max_compute_units,
    )
    return Sender(rpc, wallet, make_dialect(settings), JournalTransactionLog(journal), policy=policy)


def make_executor(settings: Settings) -> Executor:
    """Where trainings run.

    Raises:
        ConfigError: on Ray, which is not installed.
    """
    if settings.daemon.executor == "ray":
        return RayExecutor(ray_options(settings))
    return ProcessExecutor(hang_seconds=settings.daemon.hang_minutes * 60)


def make_shares(settings: Settings) -> Shares:
    """Places for trainings; a Ray cluster divides its GPUs itself."""
    here = () if settings.daemon.executor == "ray" else visible_gpus(os.environ)
    return Shares(settings.max_concurrent_rounds, here)


def make_policy(settings: Settings, *, deposit: int = SUBMISSION_DEPOSIT, stop_after: int | None = None) -> Policy:
    """What the settings let the daemon do; ``deposit`` is what the chain asks for a submission account."""
    rewards = settings.rewards
    mappings = settings.all_mappings()
    data = DataFolder.from_node(asdict(settings.data))
    downloads = BackgroundDownloads(data)

    def resolved(name: str) -> str:
        return resolve(name, mappings, settings.paths, data=data, own=settings.own_conf).name

    def prepare(name: str) -> None:
        choice = resolve(name, {}, settings.paths, data=data, own=settings.own_conf)
        if not choice.ready and choice.entry is not None:
            downloads.ensure(choice.entry)

    return Policy(
        criteria=Criteria(
            datasets=frozenset(settings.datasets),
            min_reward=settings.min_reward,
            max_reward=settings.max_reward,
            max_concurrent_rounds=settings.max_concurrent_rounds,
            join_cost=join_cost(deposit, settings.chain.max_priority_lamports),
            daily_cap=settings.chain.daily_cap_lamports,
            min_profit=parse_sol(rewards.min_profit) if rewards.min_profit else None,
            watts=rewards.watts,
            lamports_per_kwh=parse_sol(rewards.sol_per_kwh),
        ),
        resolve=resolved,
        prepare=prepare,
        on_downloaded=downloads.on_end,
        auto_train=settings.auto_train,
        auto_claim=settings.auto_claim,
        force=settings.update.force,
        poll_interval=settings.poll_interval,
        only_round=settings.round,
        stop_after=stop_after,
        faucet=settings.network.faucet,
        stop_seconds=settings.daemon.stop_seconds,
    )


@asynccontextmanager
async def assemble(
    settings: Settings,
    wallet: Wallet,
    reporter: Reporter,
    *,
    stop_after: int | None = None,
    preset: str = "",
    patient: bool = False,
    trained_elsewhere: bool = False,
) -> AsyncIterator[Daemon]:
    """A daemon ready to run; holds the journal's lock while the context is open.

    Args:
        settings: checked ones.
        wallet: signs.
        reporter: gets what happens; the activity file, reports, notifications and metrics get it besides.
        stop_after: rounds.
        preset: its name, to be shown.
        patient: waits for endpoints that are away, until it is cancelled or the daemon stopped.
        trained_elsewhere: rounds are joined for a training outside the daemon, so a data set that is not known or not
            here is no obstacle.

    Raises:
        ConfigError: a setting that no part can use, or endpoints of different networks.
        ChainError: no endpoint answers, and it is not patient; or what answers is none.
        JournalLocked: another daemon works for this home.
    """
    dialect, stores, executor = make_dialect(settings), make_stores(settings), make_executor(settings)
    websocket_urls = settings.network.websocket_urls()
    home = settings.home_path
    async with AsyncExitStack() as stack:
        reporter = stack.enter_context(logged(reporter, home))
        rpc = make_rpc(settings)
        stack.push_async_callback(rpc.aclose)
        network, deposit = await answered(lambda: _network_and_deposit(rpc), reporter, unending() if patient else ())
        journal = Journal(
            home / JOURNAL_FILE, network=network, program_id=str(dialect.program_id), wallet=str(wallet.address)
        )
        stack.callback(journal.close)
        scope = Scope(*journal.owner)
        reporter = await stack.enter_async_context(observed(settings, scope, rpc.health, reporter, preset=preset))
        steps = Steps(
            chain=ChainClient(rpc, dialect),
            sender=make_sender(settings, rpc, wallet, journal),
            wallet=wallet,
            dialect=dialect,
            journal=journal,
            publisher=make_publisher(settings, stores),
            reader=make_reader(settings),
            executor=executor,
            planner=SettingsPlanner(settings),
            reporter=reporter,
            # Networks, programs and wallets may share a home; their rounds have the same numbers.
            rounds_folder=home / "rounds" / scope.folder,
            max_model_bytes=MAX_MODEL_BYTES,
            deposit=deposit,
            shares=make_shares(settings),
        )
        policy = replace(make_policy(settings, deposit=deposit, stop_after=stop_after), patient=patient)
        if trained_elsewhere:
            policy = replace(policy, resolve=_lenient(policy.resolve), prepare=lambda _: None)
        if isinstance(executor, RayExecutor) and settings.auto_train:
            await stack.enter_async_context(_cluster_looked_at(executor, reporter))
        yield Daemon(steps, policy, lambda: watch_events(websocket_urls, dialect))


def _lenient(resolve: Callable[[str], str]) -> Callable[[str], str]:
    def resolved(name: str) -> str:
        try:
            return resolve(name)
        except DatasetError:
            return name  # only a training by the daemon needs it, and says what is missing

    return resolved


async def _network_and_deposit(rpc: RpcClient) -> tuple[str, int]:
    """What must be known of the chain before the journal is opened: its genesis hash, and what an account deposits."""
    return await rpc.check_same_network(), await rpc.rent_exempt_minimum(SUBMISSION_SIZE)


@asynccontextmanager
async def _cluster_looked_at(executor: RayExecutor, reporter: Reporter) -> AsyncIterator[None]:
    """Says at the start, not only in the first round, that there is no machine to train on; keeps nothing waiting."""

    async def look() -> None:
        try:
            await executor.check()
        except ExecutorUnavailable as error:
            reporter.report(Trouble(None, f"{error} Trainings wait for it."))

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def explain_round(settings: Settings, address: Pubkey, round_id: int) -> tuple[Check, ...]:
    """What the daemon of a wallet would find about a round, check by check; runs beside it.

    Args:
        settings: of the daemon.
        address: the wallet's.
        round_id: the round.

    Raises:
        ChainError: no endpoint answers.
        RoundError: the network has no such round.
    """
    rpc = make_rpc(settings)
    try:
        dialect = make_dialect(settings)
        network = await rpc.check_same_network()
        deposit = await rpc.rent_exempt_minimum(SUBMISSION_SIZE)
        view = await ChainClient(rpc, dialect).view(round_id, address)
    finally:
        await rpc.aclose()
    if view.round is None:
        raise RoundError(f"The chain knows no round {round_id}.", fix="`decloud-trainer list` shows all rounds.")
    policy = make_policy(settings, deposit=deposit)
    journal = Journal(
        settings.home_path / JOURNAL_FILE,
        network=network,
        program_id=str(dialect.program_id),
        wallet=str(address),
        read_only=True,
    )
    try:
        situation = situation_of(view.round, journal, resolve=policy.resolve, now=view.now, balance=view.balance)
    finally:
        journal.close()
    checks = explain(view.round, policy.criteria, situation, resolve=policy.resolve)
    return tuple(_filled(check) if policy.faucet and check.name == "balance" else check for check in checks)


def _filled(balance: Check) -> Check:
    """What becomes of a wallet that holds too little where the network gives its SOL away."""
    if balance.passed:
        return balance
    return replace(balance, passed=True, detail=f"{balance.detail}; the network's faucet fills it before")


async def run_until_stopped(daemon: Daemon, on_stop: Callable[[], None] = lambda: None) -> bool:
    """Runs a daemon; SIGINT and SIGTERM stop it cleanly, a second one at once.

    Args:
        daemon: assembled.
        on_stop: called with the first signal.

    Returns:
        Whether a signal ended it.
    """
    with_signal = [False]

    def on_signal() -> None:
        if with_signal[0]:
            _leave_now()
        with_signal[0] = True
        on_stop()
        daemon.stop()

    with _signal_handlers(on_signal):
        await daemon.run()
    return with_signal[0]


async def run_until_cancelled(daemon: Daemon) -> bool:
    """Runs a daemon in any thread; a cancellation stops it cleanly, as a signal would.

    Returns:
        False: no signal ended it.
    """
    running = asyncio.ensure_future(daemon.run())
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        daemon.stop()
        await running
        raise
    return False


@contextmanager
def _signal_handlers(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _leave_now() -> None:
    # Nothing is lost: the journal is on disk before every effect, and workers end with this process.
    os._exit(130)
