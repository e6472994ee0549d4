"""A daemon in the test's process, on a local network without agents. The test acts as creator and validator."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.config.schema import JoinConfig
from decloud_pl.config.values import hydra_text
from decloud_pl.daemon.loop import Daemon
from decloud_pl.data.catalog import entry
from decloud_pl.domain import Payout, Round, Submission, Update
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.connect import make_current_dialect
from decloud_pl.rounds.conventions import Conventions
from decloud_pl.rounds.events import Changed, DaemonEvent, Looked, Skipped
from decloud_pl.rounds.gather import Evidences
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.revisions import Revisions
from decloud_pl.rounds.select import Criteria
from decloud_pl.rounds.steps import Steps
from decloud_pl.store import Progress, Store, Stored
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.publish import StorePublisher
from decloud_pl.train.plan import TrainingPlan
from tests.harness.plans import empty_plan
from tests.harness.ray_cluster import RayCluster, ray_cluster

PATIENCE = 30.0
_SHOWN = 40


@dataclass
class QuickExecutor:
    """Writes a real update file at once, with a verdict. Raises ``failures`` first, one per call."""

    failures: list[Exception] = field(default_factory=list)
    withheld: str = ""
    gain: tuple[float, float] | None = None
    trained: int = 0
    cancelled: int = 0
    running: int = 0
    most_at_once: int = 0
    gate: asyncio.Event | None = None

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        self.trained += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await self._train(folder, on_progress)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _train(self, folder: Path, on_progress: Callable[[Mapping[str, object]], None]) -> None:
        on_progress({"stage": "prepare"})
        if self.failures:
            raise self.failures.pop(0)
        if self.gate is not None:
            await self.gate.wait()
        on_progress({"stage": "fit", "epoch": 0, "step": 1, "total_steps": 1, "loss": 0.5, "accuracy": None})
        path = folder / "update.pt"
        path.write_bytes(b"an update of " + folder.name.encode())
        cid = str(cid_of_file(path))
        made = Update(path, cid, "kubo-v1", path.stat().st_size, "delta", 0.1, 0.9, withheld=self.withheld)
        low, high = self.gain or (None, None)
        write_update(folder / UPDATE_FILE, dataclasses.replace(made, gain_low=low, gain_high=high))


@dataclass
class FlakyStore:
    """A store that raises the given errors first."""

    inner: EmbeddedStore
    failures: list[Exception] = field(default_factory=list)
    name: str = "flaky"
    puts: int = 0

    def put(self, path: Path, profile: str = "kubo-v1", *, progress: Progress | None = None) -> Stored:
        self.puts += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.inner.put(path, profile, progress=progress)

    def has(self, cid: str) -> bool:
        return self.inner.has(cid)

    def check(self) -> str:
        return self.inner.check()


class NoPlan:
    publish_reserve = 60.0

    def plan(
        self,
        record: RoundRecord,
        *,
        base_model: Path,
        folder: Path,
        finish_by: float | None = None,
        payout: Payout | None = None,
    ) -> TrainingPlan:
        assert base_model.exists()
        return empty_plan(folder)


class Diary:
    """Records events, and lets tests wait for a state."""

    def __init__(self) -> None:
        self.events: list[DaemonEvent] = []
        self._news = asyncio.Event()

    def report(self, event: DaemonEvent) -> None:
        self.events.append(event)
        self._news.set()

    def states(self, round_id: int) -> list[State]:
        changes = [event.record for event in self.events if isinstance(event, Changed)]
        found = [record.state for record in changes if record.round_id == round_id]
        return [state for index, state in enumerate(found) if index == 0 or found[index - 1] is not state]

    def skipped(self, round_id: int, reason: str) -> int:
        """Count how often the daemon skipped a round for a reason."""
        return sum(
            isinstance(event, Skipped) and event.round_id == round_id and reason in event.reason
            for event in self.events
        )

    async def until(self, condition: Callable[[], bool], *, patience: float = PATIENCE) -> None:
        async def wait() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        try:
            await asyncio.wait_for(wait(), patience)
        except TimeoutError:
            runs = [(str(event), len(list(same))) for event, same in groupby(self.events)]
            seen = "\n".join(event if count == 1 else f"{event} ({count} times)" for event, count in runs[-_SHOWN:])
            raise AssertionError(f"Timed out after {patience:g} s. The last events were:\n{seen}") from None

    async def looks(self, round_id: int, times: int) -> None:
        """Wait until the daemon has read a round's state from the chain this many more times."""

        def looked() -> int:
            return sum(isinstance(event, Looked) and event.round_id == round_id for event in self.events)

        enough = looked() + times
        await self.until(lambda: looked() >= enough)

    async def reaches(self, round_id: int, state: State, *, patience: float = PATIENCE) -> None:
        await self.until(lambda: state in self.states(round_id), patience=patience)


class World:
    """The network, the other parties, and all parts of a daemon.

    Attributes:
        running: the task of the daemon that was started last.
    """

    running: asyncio.Task[None]

    def __init__(self, network: LocalNetwork, clock: ManualClock, home: Path) -> None:
        self.network = network
        self.clock = clock
        self.home = home
        self.dialect = get_dialect(network.dialect)
        self.rpc = RpcClient(network.endpoints.rpc_url)
        self.chain = ChainClient(self.rpc, self.dialect)
        self.other = Wallet(Keypair())
        self.wallet = Wallet(Keypair())
        self.executor: Any = QuickExecutor()
        self.planner: Any = NoPlan()
        self.store = FlakyStore(network.store)
        self.stores: list[Store] = [self.store]
        self.gateways = [network.endpoints.gateway_url]
        self.diary = Diary()
        network.vm.airdrop(self.other.address, 100 * 10**9)
        network.vm.airdrop(self.wallet.address, 10**9)
        self._send = SendPolicy(poll_seconds=0.05)

    async def as_other(self, instruction: Instruction, signer: Wallet | None = None) -> None:
        async def unknown() -> bool:
            return False

        sender = Sender(self.rpc, signer or self.other, self.dialect, MemoryTransactionLog(), policy=self._send)
        await sender.send([instruction], key="x", landed=unknown)

    async def post(
        self,
        *,
        dataset: str = "custom",
        reward: int = 10**9,
        claim: bool = True,
        model: Path | None = None,
        model_cid: str = "",
    ) -> int:
        """Post a round with a file or a CID, and claim it as its validator; return its id."""
        counter = await self.chain.counter()
        assert counter is not None
        base = model or self.home / "base"
        if model is None:
            base.write_bytes(b"a base model")
        cid = model_cid or self.network.store.put(base).cid
        me, number = self.other.address, counter.count
        await self.as_other(
            self.dialect.create_round(number, creator=me, model_cid=cid, dataset=dataset, reward_amount=reward)
        )
        if claim:
            await self.as_other(self.dialect.claim_round(number, validator=me))
        return number

    async def begin(self, round_id: int) -> None:
        await self.as_other(self.dialect.start_training(round_id, validator=self.other.address, baseline_score=1000))

    async def complete(self, round_id: int, bps: int = 10_000) -> None:
        me = self.other.address
        await self.as_other(
            self.dialect.set_contribution(round_id, validator=me, trainer=self.wallet.address, contribution_bps=bps)
        )
        await self.as_other(self.dialect.complete_validation(round_id, validator=me))

    @asynccontextmanager
    async def daemon(
        self,
        *,
        rpc_url: str | None = None,
        ws_url: str | None = None,
        auto: bool = False,
        evidences: Callable[[Steps], Evidences] | None = None,
        looks: JoinConfig | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        **policy: Any,
    ) -> AsyncIterator[Daemon]:
        """Run a daemon. With ``auto``, it detects the program's revision; with ``looks``, it opens base models."""
        journal = self.open_journal()
        rpc = RpcClient(rpc_url or self.network.endpoints.rpc_url)
        reader = GatewayReader(self.gateways)
        current = make_current_dialect(NetworkConfig())
        dialect = cast(Dialect, current) if auto else self.dialect
        steps = Steps(
            chain=ChainClient(rpc, dialect),
            sender=Sender(rpc, self.wallet, dialect, JournalTransactionLog(journal), policy=self._send),
            wallet=self.wallet,
            dialect=dialect,
            revisions=Revisions(rpc, current, journal, self.diary, self.wallet.address) if auto else None,
            conventions=Conventions(NetworkConfig(), dialect, journal),
            base_models=None if looks is None else BaseModels(reader, self.home / "looks", looks, 4 << 20),
            journal=journal,
            publisher=StorePublisher(self.stores, reader, read_back_seconds=0.0),
            reader=reader,
            executor=self.executor,
            planner=self.planner,
            reporter=self.diary,
            rounds_folder=self.home / "rounds",
            max_model_bytes=4 << 20,
            deposit=self.dialect.submission_deposit,
            monotonic=monotonic,
        )
        options: dict[str, Any] = {
            "criteria": Criteria(),
            "resolve": lambda name: {"custom": "digits"}.get(name, name),
            "entry": entry,
            "poll_interval": 0.1,
        }
        url = ws_url or self.network.endpoints.ws_url
        background = [] if evidences is None else [evidences(steps)]
        watch = partial(watch_events, url, dialect)
        daemon = Daemon(steps, Policy(**{**options, **policy}), watch, background=background)
        self.running = task = asyncio.create_task(daemon.run())
        try:
            yield daemon
        finally:
            daemon.stop()
            try:
                await asyncio.wait_for(task, PATIENCE)
            finally:
                await rpc.aclose()
                journal.close()

    def overrides(self) -> list[str]:
        """Return the settings with which the production assembly works on this network."""
        endpoints = self.network.endpoints
        return [
            "network=local",
            f"network.rpc_url={hydra_text(endpoints.rpc_url)}",
            f"network.gateways={hydra_text([endpoints.gateway_url])}",
            f"storage.path={hydra_text(str(Path(endpoints.home) / 'store'))}",
            f"home={hydra_text(str(self.home))}",
            "poll_interval=0.1",
            "budget=documented",  # a short training that does not depend on the machine's speed
            "audit=off",  # an audit starts two processes that import torch
        ]

    def open_journal(self) -> Journal:
        owner = Owner("", str(self.dialect.program_id), str(self.wallet.address))
        return Journal(self.home / "journal.sqlite", owner)

    async def round(self, round_id: int) -> Round:
        """Return a round as it is on chain."""
        found = await self.chain.round(round_id)
        assert found is not None, f"round {round_id} is not on chain"
        return found

    async def submission(self, round_id: int) -> Submission:
        """Return the trainer's submission account in a round."""
        found = await self.chain.submission(round_id, self.wallet.address)
        assert found is not None, f"the trainer has not joined round {round_id}"
        return found

    def row(self, round_id: int) -> RoundRecord:
        """Return the last reported row of a round."""
        rows = [e.record for e in self.diary.events if isinstance(e, Changed) and e.record.round_id == round_id]
        return rows[-1]


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world with the newest dialect, or with the dialect of an indirect parameter."""
    clock = ManualClock()
    dialect: str | None = getattr(request, "param", None)
    async with LocalNetwork(tmp_path / "network", agents=None, clock=clock, dialect=dialect) as network:
        home = tmp_path / "home"
        home.mkdir()
        found = World(network, clock, home)
        yield found
        await found.rpc.aclose()


@pytest.fixture(scope="session")
def ray(_session_home: None) -> Iterator[RayCluster]:
    """A Ray cluster whose head does not train, and one node that trains."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'decloud_pl[ray]'")
    # Variables that a user's machine may have set. Ray's processes inherit them.
    with ray_cluster(NODE_SECRET="of the node", PINATA_JWT="j-w-t of the node") as cluster:
        cluster.add()
        yield cluster
