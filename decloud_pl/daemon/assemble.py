"""Build a daemon from settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import cast

from solders.pubkey import Pubkey

from decloud_pl.audit.background import Audits, Scope
from decloud_pl.build import build
from decloud_pl.chain.client import ChainClient, View
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.network import AUTO
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.children import stop_event
from decloud_pl.config import Settings
from decloud_pl.daemon.auditing import make_auditor
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.settings import facts, public_settings
from decloud_pl.daemon.startup import ENDLESS, answered
from decloud_pl.data.fetch.background import BackgroundDownloads
from decloud_pl.domain import format_sol, parse_sol
from decloud_pl.errors import DatasetError, ExecutorUnavailable, MachineShortage, no_round
from decloud_pl.executors.process import Cluster, Executor
from decloud_pl.executors.shares import Shares, visible_gpus
from decloud_pl.executors.training_check import check_training
from decloud_pl.journal.audits import Audit, audit_of
from decloud_pl.journal.findings import store_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.log import logged
from decloud_pl.observers.observe import observed
from decloud_pl.proxies import route_to
from decloud_pl.rounds.background import Background
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.connect import known_dialect, make_current_dialect, make_rpc
from decloud_pl.rounds.conventions import Choice, Conventions
from decloud_pl.rounds.events import Reporter, Trouble
from decloud_pl.rounds.gather import Evidences
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.planner import SettingsPlanner, make_catalog
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.revisions import Revisions
from decloud_pl.rounds.select import WALLET_MINIMUM, Check, Criteria, join_cost
from decloud_pl.rounds.steps import Steps
from decloud_pl.rounds.stores import make_publisher, make_reader, make_stores
from decloud_pl.store.fetch.fetcher import Fetcher

MAX_MODEL_BYTES = 2 << 30


def make_policy(settings: Settings, *, deposit: int) -> Policy:
    """Return the daemon's policy for these settings.

    Args:
        settings: validated settings.
        deposit: the rent-exempt lamports of a submission account.

    Raises:
        ConfigError: a custom criterion cannot be built.
    """
    catalog = make_catalog(settings)
    downloads = BackgroundDownloads(catalog.data)
    nodes, packages = settings.rewards.criteria, settings.allow_packages

    def prepare(name: str) -> None:
        choice = catalog.find(name)
        if not choice.ready and choice.entry is not None:
            downloads.ensure(choice.entry)

    return Policy(
        criteria=Criteria(
            datasets=frozenset(settings.datasets),
            rewards=settings.rewards,
            max_concurrent_rounds=settings.max_concurrent_rounds,
            join_cost=join_cost(deposit, settings.chain.max_priority_lamports),
            daily_cap=parse_sol(settings.chain.daily_cap),
            adapts=settings.competes(settings.given),
            own={name: build({**node, "_partial_": True}, packages=packages) for name, node in nodes.items()},
        ),
        resolve=lambda name: catalog.resolve(name).name,
        entry=lambda name: catalog.find(name).entry,
        prepare=prepare,
        on_downloaded=downloads.on_end,
        auto_train=settings.auto_train,
        auto_claim=settings.auto_claim,
        force=settings.update.force,
        submit_late=settings.submit.when == "late",
        poll_interval=settings.poll_interval,
        only_round=settings.round,
        faucet=settings.network.faucet,
        stop_seconds=settings.daemon.stop_seconds,
    )


def make_base_models(settings: Settings, reader: Fetcher, *, keeps_packages: bool) -> BaseModels:
    """Return an object that fetches and inspects base models according to these settings; see `BaseModels`."""
    own_data = not str(settings.datamodule.get("_target_", "")).startswith("decloud_pl.")
    return BaseModels(
        reader,
        settings.home_path / "looks",
        settings.join,
        MAX_MODEL_BYTES,
        own_data,
        keeps_packages,
        settings.fit.data_memory_mb,
    )


@asynccontextmanager
async def assemble(
    settings: Settings,
    wallet: Wallet,
    reporter: Reporter,
    *,
    stop_after: int | None = None,
    preset: str = "",
    wait_for_endpoint: bool = False,
    publishes: bool = True,
    trained_elsewhere: bool = False,
) -> AsyncIterator[Daemon]:
    """Build a daemon that is ready to run. The journal stays locked until the context is closed.

    Args:
        settings: validated settings.
        wallet: signs the transactions.
        reporter: receives every event. The activity file, the reports, the notifications and the metrics receive the
            events, too.
        stop_after: the daemon stops after this number of rounds has ended; None for no limit.
        preset: the name of the preset, for display.
        wait_for_endpoint: whether to retry while no endpoint answers, until the task is cancelled or the daemon is
            stopped.
        publishes: whether a round may need to publish an update. If not, no storage is needed.
        trained_elsewhere: whether the rounds are trained outside the daemon. If so, a round is joined without an
            inspection of its base model, and even if its data set is unknown or missing.

    Raises:
        ConfigError: a setting cannot be used, or the endpoints belong to different networks.
        ChainError: no endpoint answers and ``wait_for_endpoint`` is False, or the endpoints refuse a request.
        JournalLocked: another daemon uses this home folder.
    """
    home, storage = settings.home_path, settings.storage
    current = make_current_dialect(settings.network)
    dialect = cast(Dialect, current)
    executor: Executor = build(settings.daemon.executor_node(), packages=settings.allow_packages)
    planner = SettingsPlanner(settings)
    if settings.auto_train:
        await check_training(planner.sample())
    # Refuse a wrong proxy variable before the first request.
    publisher = make_publisher(make_stores(settings) if publishes else (), storage, settings.network)
    reader = make_reader(settings.network, storage, home)
    websocket_urls = settings.network.websocket_urls()
    for url in websocket_urls:
        route_to(url)
    async with AsyncExitStack() as stack:
        reporter = stack.enter_context(logged(reporter, home))
        rpc = make_rpc(settings.network)
        stack.push_async_callback(rpc.aclose)
        waits = ENDLESS.waits() if wait_for_endpoint else ()
        network, deposit = await answered(lambda: _network_and_deposit(rpc, dialect), reporter, waits)
        owner = Owner(network, str(dialect.program_id), str(wallet.address))
        journal = stack.enter_context(Journal(home / JOURNAL_FILE, owner))
        reporter = await stack.enter_async_context(
            observed(
                home,
                owner,
                rpc.health,
                reporter,
                facts=facts(settings, preset),
                settings=public_settings(settings),
                notify=settings.notify,
                notify_urls=settings.secrets.get("notify_urls"),
                metrics=settings.metrics,
            )
        )
        chain = ChainClient(rpc, dialect)
        auto = settings.network.dialect == AUTO
        if not auto:
            store_revision(journal, current.revision)
        steps = Steps(
            chain=chain,
            sender=Sender(rpc, wallet, dialect, JournalTransactionLog(journal), policy=SendPolicy(fees=settings.chain)),
            wallet=wallet,
            dialect=dialect,
            journal=journal,
            publisher=publisher,
            reader=reader,
            executor=executor,
            planner=planner,
            reporter=reporter,
            # Several networks, programs and wallets may share a home folder, and their round numbers overlap.
            rounds_folder=home / "rounds" / owner.folder,
            max_model_bytes=MAX_MODEL_BYTES,
            deposit=deposit,
            shares=Shares(settings.max_concurrent_rounds, visible_gpus(os.environ)),
            revisions=Revisions(rpc, current, journal, reporter, wallet.address) if auto else None,
            conventions=Conventions(settings.network, dialect, journal),
            base_models=None if trained_elsewhere else make_base_models(settings, reader, keeps_packages=True),
        )
        policy = replace(
            make_policy(settings, deposit=deposit), stop_after=stop_after, wait_for_endpoint=wait_for_endpoint
        )
        if trained_elsewhere:
            policy = replace(policy, resolve=_lenient(policy.resolve), prepare=lambda _: None)
        if isinstance(executor, Cluster) and settings.auto_train:
            await stack.enter_async_context(_checked_cluster(executor, reporter))
        turn = asyncio.Lock()  # one scoring process at a time
        background: list[Background] = []
        if settings.network.convention == AUTO and not policy.is_bounded and settings.auto_train:
            evidences = Evidences(
                chain,
                reader,
                lambda: make_catalog(settings),
                journal,
                reporter,
                gradient_rate=settings.network.gradient_rate,
                max_bytes=MAX_MODEL_BYTES,
                turn=turn,
            )
            background.append(evidences)
        if settings.audit != "off" and not policy.is_bounded:
            auditor = make_auditor(settings, chain, reader, journal, network, max_bytes=MAX_MODEL_BYTES)
            scope: Scope = "all" if settings.audit == "all" else "own"
            background.append(Audits(auditor, journal, reporter, home=home, scope=scope, turn=turn))
        yield Daemon(steps, policy, lambda: watch_events(websocket_urls, dialect), background=background)


def _lenient(resolve: Callable[[str], str]) -> Callable[[str], str]:
    def resolved(name: str) -> str:
        try:
            return resolve(name)
        except DatasetError:
            return name  # only a training by the daemon needs the data set, and it reports what is missing

    return resolved


async def _network_and_deposit(rpc: RpcClient, dialect: Dialect) -> tuple[str, int]:
    """Return the chain's genesis hash and the deposit of a submission account in lamports."""
    return await rpc.check_same_network(), await rpc.rent_exempt_minimum(dialect.submission_size)


@asynccontextmanager
async def _checked_cluster(executor: Cluster, reporter: Reporter) -> AsyncIterator[None]:
    """Check in the background whether the executor's machines are available, and report a failure."""

    async def look() -> None:
        try:
            await executor.check()
        except ExecutorUnavailable as error:
            reporter.report(Trouble.then(None, error, "Trainings wait until the cluster is available."))

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def explain_round(
    settings: Settings, address: Pubkey | None, round_id: int, *, why_none: str = ""
) -> tuple[tuple[Check, ...], Choice, Audit | None]:
    """Check a round as the daemon does. Return the results, the convention assumed for the validator, and the audit.

    The audit is None if there is none. This works while the daemon runs, too.

    Args:
        settings: the daemon's settings.
        address: the wallet's address; None if there is no wallet.
        round_id: the round.
        why_none: why there is no wallet. The details of the check ``balance`` show this reason.

    Raises:
        ChainError: no endpoint answers.
        RoundError: the round does not exist.
    """
    rpc = make_rpc(settings.network)
    try:
        network = await rpc.check_same_network()
        dialect = known_dialect(settings.network, settings.home_path / JOURNAL_FILE, network)
        deposit = await rpc.rent_exempt_minimum(dialect.submission_size)
        chain = ChainClient(rpc, dialect)
        if address is None:
            view = View(await chain.round(round_id), None, await rpc.clock(), 0)
        else:
            view = await chain.view(round_id, address)
    finally:
        await rpc.aclose()
    if view.round is None:
        raise no_round(round_id)
    policy = make_policy(settings, deposit=deposit)
    with JournalReader(
        settings.home_path / JOURNAL_FILE, Owner(network, str(dialect.program_id), str(address or ""))
    ) as journal:
        choice = Conventions(settings.network, dialect, journal).of(view.round.validator)
        audit = audit_of(journal, round_id)
        if audit is not None:
            audit = audit.for_wallet(str(address))
        reader = make_reader(settings.network, settings.storage, settings.home_path)
        base_models = make_base_models(settings, reader, keeps_packages=False)
        if base_models.wants_look(view.round, now=view.now):
            with contextlib.suppress(MachineShortage):  # the check reports it
                await base_models.look(view.round.model_cid)
        checks = Joining(policy, journal, base_models).checks(view.round, now=view.now, balance=view.balance)
    if address is None:
        needed = format_sol(policy.criteria.join_cost + WALLET_MINIMUM)
        missing = Check("balance", passed=False, detail=f"no wallet ({why_none}); a join needs {needed}")
        checks = tuple(missing if check.name == missing.name else check for check in checks)
    return checks, choice, audit


async def run_until_stopped(daemon: Daemon, on_stop: Callable[[str], None] = lambda _: None) -> bool:
    """Run a daemon. SIGINT, SIGTERM and SIGHUP stop the daemon cleanly; see `stop_event`.

    Args:
        daemon: an assembled daemon.
        on_stop: called at the first signal with a sentence about what the stop does.

    Returns:
        Whether a signal stopped the daemon.
    """

    def stop() -> None:
        on_stop(daemon.stop_words)
        daemon.stop()

    with stop_event(stop) as stopped:
        await daemon.run()
    return stopped.is_set()


async def run_until_cancelled(daemon: Daemon) -> bool:
    """Run a daemon without signal handlers, in any thread. Cancelling this coroutine stops the daemon cleanly.

    Returns:
        Always False: no signal stopped the daemon.
    """
    running = asyncio.ensure_future(daemon.run())
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        daemon.stop()
        await running
        raise
    return False
