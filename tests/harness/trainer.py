"""A complete daemon of production parts with an instant training, in this process or in a child process."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import TransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.config.schema import JoinConfig
from decloud_pl.daemon.loop import Daemon
from decloud_pl.domain import Payout, Update
from decloud_pl.executors.process import UPDATE_FILE, Executor, ProcessExecutor
from decloud_pl.executors.shares import Shares
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.localnet.program import NEWEST
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.events import DaemonEvent, Reporter
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import Criteria
from decloud_pl.rounds.steps import Planner, Steps
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.publish import StorePublisher

_LARGEST_MODEL = 1 << 28
TINY_WORKER = Path(__file__).with_name("tiny_worker.py")


@dataclass(frozen=True)
class Spec:
    """The settings of a daemon, serializable as JSON.

    Attributes:
        seed: the seed of the wallet's key.
        dialect: the dialect of the program.
        processes: whether trainings run in child processes, or else in the daemon.
        timeout: seconds an endpoint may be silent.
        silence: seconds without a slot after which the WebSocket is closed.
        verify: what the daemon verifies before a join, as in the setting ``join.verify``.
        kubo: the address of an IPFS node to publish with, instead of the embedded store.
        hangs: the stage at which a training in a child process hangs.
        late: whether a published update is submitted shortly before the deadline.
    """

    rpc_url: str
    ws_urls: list[str]
    gateway_url: str
    store: str
    home: str
    seed: int
    dialect: str = NEWEST
    fallbacks: list[str] = field(default_factory=list)
    processes: bool = False
    slots: int = 1
    timeout: float = 5.0
    silence: float = 5.0
    poll: float = 0.2
    reconcile: float = 3600.0
    verify: str = "cid"
    kubo: str = ""
    hangs: str = ""
    late: bool = False
    stop_seconds: float = 20.0

    def wallet(self) -> Wallet:
        return Wallet(Keypair.from_seed(self.seed.to_bytes(32, "little")))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


class InstantExecutor:
    """An executor that writes a real update file immediately."""

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        on_progress({"stage": "fit", "epoch": 0, "step": 1, "total_steps": 1, "loss": 0.5, "accuracy": None})
        path = folder / "update.pt"
        path.write_bytes(content_of(int(folder.name)))
        cid = str(cid_of_file(path))
        write_update(folder / UPDATE_FILE, Update(path, cid, "kubo-v1", path.stat().st_size, "delta", 0.1, 0.9))


@dataclass(frozen=True)
class TinyPlan:
    """The plan of `tiny_worker`."""

    fields: dict[str, object]

    def write(self, folder: Path) -> None:
        (folder / "tiny-plan.json").write_text(json.dumps(self.fields))

    def differs_from(self, folder: Path) -> bool:
        return False


@dataclass
class TinyPlanner:
    """Creates plans for `tiny_worker`. With ``crash_every``, the first attempts of some rounds crash."""

    crash_every: int = 0
    hangs: str = ""
    publish_reserve: float = 1.0
    _seen: set[int] = field(default_factory=set)

    def plan(
        self,
        record: RoundRecord,
        *,
        base_model: Path,
        folder: Path,
        finish_by: float | None = None,
        payout: Payout | None = None,
    ) -> TinyPlan:
        assert base_model.exists()
        path = folder / "planned"
        path.write_bytes(content_of(record.round_id))
        cid = str(cid_of_file(path))
        first = record.round_id not in self._seen
        self._seen.add(record.round_id)
        crash = bool(self.crash_every) and first and record.round_id % self.crash_every == 1
        return TinyPlan(
            {"content": content_of(record.round_id).decode(), "cid": cid, "crash": crash, "hangs": self.hangs}
        )


def content_of(round_id: int) -> bytes:
    """Return the content of a round's update."""
    return b"an update of round %d" % round_id


class Silent:
    def report(self, event: DaemonEvent) -> None:
        pass


@asynccontextmanager
async def trainer(
    spec: Spec,
    *,
    reporter: Reporter | None = None,
    executor: Executor | None = None,
    planner: Planner | None = None,
    log: Callable[[TransactionLog], TransactionLog] = lambda inner: inner,
    crash_every: int = 0,
    **policy: Any,
) -> AsyncIterator[Daemon]:
    """Yield a daemon that is ready to run."""
    dialect, wallet, home = get_dialect(spec.dialect), spec.wallet(), Path(spec.home)
    async with AsyncExitStack() as stack:
        rpc = RpcClient(spec.rpc_url, fallbacks=spec.fallbacks, timeout=spec.timeout)
        stack.push_async_callback(rpc.aclose)
        journal = Journal(home / "journal.sqlite", Owner("", str(dialect.program_id), str(wallet.address)))
        stack.callback(journal.close)
        if executor is None:
            command = (sys.executable, "-I", "-S", str(TINY_WORKER))
            executor = (
                ProcessExecutor(command=command, hang_seconds=20, grace=1) if spec.processes else InstantExecutor()
            )
        reader = GatewayReader([spec.gateway_url])
        steps = Steps(
            chain=ChainClient(rpc, dialect),
            sender=Sender(
                rpc,
                wallet,
                dialect,
                log(JournalTransactionLog(journal)),
                policy=SendPolicy(poll_seconds=0.05, rebroadcast_seconds=0.3),
            ),
            wallet=wallet,
            dialect=dialect,
            journal=journal,
            publisher=StorePublisher([KuboStore(spec.kubo) if spec.kubo else EmbeddedStore(Path(spec.store))], reader),
            reader=reader,
            executor=executor,
            planner=planner or TinyPlanner(crash_every, spec.hangs),
            reporter=reporter or Silent(),
            rounds_folder=home / "rounds",
            max_model_bytes=_LARGEST_MODEL,
            deposit=dialect.submission_deposit,
            shares=Shares(spec.slots),
            base_models=BaseModels(reader, home / "looks", JoinConfig(spec.verify), _LARGEST_MODEL),
        )
        options: dict[str, Any] = {
            "criteria": Criteria(max_concurrent_rounds=spec.slots),
            "resolve": lambda name: "digits",
            "poll_interval": spec.poll,
            "reconcile_interval": spec.reconcile,
            "stop_seconds": spec.stop_seconds,
            "submit_late": spec.late,
        }

        def watch() -> Any:
            return watch_events(spec.ws_urls, dialect, ping_seconds=spec.silence, silence_seconds=spec.silence)

        yield Daemon(steps, Policy(**{**options, **policy}), watch)
