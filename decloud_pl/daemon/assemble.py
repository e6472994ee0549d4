"""Wires a daemon together from settings; top to bottom, no rules."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict

from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects.v1 import V1
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.daemon.events import Reporter
from decloud_pl.daemon.executor import ProcessExecutor
from decloud_pl.daemon.journal import Journal
from decloud_pl.daemon.loop import Daemon, Policy
from decloud_pl.daemon.planner import SettingsPlanner
from decloud_pl.daemon.select import Criteria
from decloud_pl.daemon.steps import Steps
from decloud_pl.daemon.transaction_log import JournalTransactionLog
from decloud_pl.data.background import BackgroundDownloads
from decloud_pl.data.catalog import resolve
from decloud_pl.data.entry import DataFolder
from decloud_pl.errors import ConfigError
from decloud_pl.settings import Settings
from decloud_pl.store import Store
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.gateway import GatewayReader

JOURNAL_FILE = "journal.sqlite"
MAX_MODEL_BYTES = 2 << 30
_STORE_TIMEOUT = 60.0


def make_dialect(settings: Settings) -> V1:
    """The program at the configured address.

    Raises:
        ConfigError: the address is not a public key.
    """
    try:
        return V1(Pubkey.from_string(settings.network.program_id))
    except ValueError as error:
        raise ConfigError(
            f"network.program_id {settings.network.program_id!r} is not a Solana address.",
            fix="Copy it from the network's documentation.",
        ) from error


def make_store(settings: Settings) -> Store:
    """The store that ``storage`` names.

    Raises:
        ConfigError: an unknown kind.
    """
    if settings.storage.kind == "embedded":
        return EmbeddedStore(settings.store_path)
    raise ConfigError(f"There is no storage {settings.storage.kind!r}.", fix="Known: embedded.")


def make_policy(settings: Settings, *, stop_after: int | None = None) -> Policy:
    """What the settings let the daemon do."""
    mappings = settings.all_mappings()
    data = DataFolder.from_node(asdict(settings.data))
    downloads = BackgroundDownloads(data)

    def resolved(name: str) -> str:
        return resolve(name, mappings, settings.paths, data=data).name

    def prepare(name: str) -> None:
        choice = resolve(name, {}, settings.paths, data=data)
        if not choice.ready and choice.entry is not None:
            downloads.ensure(choice.entry)

    return Policy(
        criteria=Criteria(
            datasets=frozenset(settings.datasets),
            min_reward=settings.min_reward,
            max_reward=settings.max_reward,
            max_concurrent_rounds=settings.max_concurrent_rounds,
        ),
        resolve=resolved,
        prepare=prepare,
        auto_train=settings.auto_train,
        auto_claim=settings.auto_claim,
        poll_interval=settings.poll_interval,
        only_round=settings.round,
        stop_after=stop_after,
        faucet=settings.network.faucet,
    )


@asynccontextmanager
async def assemble(
    settings: Settings, wallet: Wallet, reporter: Reporter, *, stop_after: int | None = None
) -> AsyncIterator[Daemon]:
    """A daemon ready to run; holds the journal's lock while the context is open.

    Raises:
        ConfigError: a setting that no part can use.
        JournalLocked: another daemon works for this home.
    """
    dialect, store, policy = (
        make_dialect(settings),
        make_store(settings),
        make_policy(settings, stop_after=stop_after),
    )
    websocket_url = settings.network.websocket_url()
    home = settings.home_path
    journal = Journal(home / JOURNAL_FILE, program_id=str(dialect.program_id), wallet=str(wallet.address))
    rpc = RpcClient(settings.network.rpc_url)
    try:
        steps = Steps(
            chain=ChainClient(rpc, dialect),
            sender=Sender(rpc, wallet, dialect, JournalTransactionLog(journal)),
            wallet=wallet,
            dialect=dialect,
            journal=journal,
            store=store,
            reader=GatewayReader(settings.network.gateways, timeout=_STORE_TIMEOUT),
            executor=ProcessExecutor(),
            planner=SettingsPlanner(settings),
            reporter=reporter,
            # Two programs or wallets may share a home; their rounds have the same numbers.
            rounds_folder=home / "rounds" / f"{dialect.program_id}-{wallet.address}",
            max_model_bytes=MAX_MODEL_BYTES,
        )
        yield Daemon(steps, policy, lambda: watch_events(websocket_url, dialect))
    finally:
        await rpc.aclose()
        journal.close()


async def run_until_stopped(daemon: Daemon) -> bool:
    """Runs a daemon; SIGINT and SIGTERM stop it cleanly, a second one at once.

    Returns:
        Whether a signal ended it.
    """
    with_signal = [False]

    def on_signal() -> None:
        if with_signal[0]:
            _leave_now()
        with_signal[0] = True
        daemon.stop()

    with _signal_handlers(on_signal):
        await daemon.run()
    return with_signal[0]


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
