"""A complete DECLOUD network on this machine: chain, RPC server, store gateway, creator and validator."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.events import Event
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet, create_wallet, load_wallet
from decloud_pl.chain.watch import watch_events
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import Convention, NetworkAddresses
from decloud_pl.durable import locked, make_private
from decloud_pl.errors import ChainError, LocalnetError
from decloud_pl.localnet.agents.actor import Actor, Agent, drive
from decloud_pl.localnet.agents.bench import Bench, Scoring
from decloud_pl.localnet.agents.creator import Creator
from decloud_pl.localnet.agents.offers import MAPPINGS, Offer
from decloud_pl.localnet.agents.validator import Validator
from decloud_pl.localnet.clock import Clock, ScaledClock
from decloud_pl.localnet.gateway import GatewayServer
from decloud_pl.localnet.news import tell
from decloud_pl.localnet.program import NEWEST, OLDEST, shared_object
from decloud_pl.localnet.program.names import TREASURY
from decloud_pl.localnet.rpc.server import RpcServer
from decloud_pl.localnet.vm import SLOT_SECONDS, Vm
from decloud_pl.loop_thread import LoopThread
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader

STATE_FILE = "chain.sqlite"
STORE_FOLDER = "store"
_LOCK_FILE = "network.lock"
_DIALECT = "dialect"
"""The key in the state file that stores the program's revision."""
_SHORTEST_TICK = 0.01
"""In seconds. Requests read the clock themselves, so a shorter tick would only cost CPU time."""
_LOW_BALANCE = 100_000_000_000
_MAX_FILE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Settings of the network's agents, which are the creator and the validator.

    Attributes:
        rounds: how many rounds the creator posts in this run, 0 for no limit.
        reward: lamports per round.
        offers: the kinds of rounds to post. The creator posts each kind in turn.
        open_rounds: how many rounds the creator keeps open at a time.
        data: the folder of the validator's data sets. None for the default, ``data`` in the trainer's home folder.
        grace: seconds of the chain's clock between the first trainer's join and the start of the training.
        interval: seconds of the chain's clock between checks of the chain when no event wakes the agents.
    """

    rounds: int = 0
    reward: int = 1_000_000_000
    offers: tuple[Offer, ...] = (Offer(),)
    open_rounds: int = 1
    data: Path | None = None
    grace: float = 1.0
    interval: float = 1.0


class LocalNetwork:
    """Runs the network while the context is open: ``async with`` uses the caller's loop, ``with`` uses a thread.

    Args:
        home: the folder for the state, the store and the agents' wallets. Only one network can use it at a time. None
            for a temporary folder, which is deleted when the context closes.
        rpc_port: the RPC server's HTTP port; its WebSocket uses the next port. 0 for any free pair of ports.
        gateway_port: the gateway's port; 0 for any free port.
        agents: the settings of the agents. None for a network without agents.
        convention: how the validator applies updates; by default, the dialect's convention. With ``equal``, the
            validator gives every valid submission an equal share, as v1.2's published validator does.
        speed: how many times faster than real time the chain's clock runs; ignored if ``clock`` is given.
        clock: the chain's clock.
        dialect: the name of the program's revision; by default, the revision of the network in the home folder, or
            the newest revision for a new network.
        say: called with one line for each event of a round.

    Raises:
        LocalnetError: the folder is in use or unusable, its network has another dialect, or a port is in use.
        ConfigError: the program is not built for this dialect.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        rpc_port: int = 0,
        gateway_port: int = 0,
        agents: AgentOptions | None = AgentOptions(),
        convention: Scoring | None = None,
        speed: float = 1.0,
        clock: Clock | None = None,
        dialect: str | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._say = say
        self._is_temporary = home is None
        self._home = Path(home or "").expanduser()
        self._ports = (rpc_port, gateway_port)
        self._agents = agents
        self._asked = (dialect, convention)
        self._use(dialect or NEWEST)
        self._speed = speed
        self._clock = clock or ScaledClock(speed)
        self._stack = AsyncExitStack()
        self._working = AsyncExitStack()
        self._posted: set[int] = set()
        self._endpoints: NetworkAddresses | None = None
        self._thread: LoopThread | None = None

    @property
    def endpoints(self) -> NetworkAddresses:
        """The network's addresses.

        Raises:
            LocalnetError: the network is not running.
        """
        if self._endpoints is None:
            raise LocalnetError(
                "The local network is not running.", fix="Use it inside `with LocalNetwork() as network:`."
            )
        return self._endpoints

    def __enter__(self) -> LocalNetwork:
        thread = LoopThread("local-network")
        try:
            thread.run(self.__aenter__())
        except BaseException:
            thread.close()
            raise
        self._thread = thread
        return self

    def __exit__(self, *_: object) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self._close())
            finally:
                thread.close()

    async def __aenter__(self) -> LocalNetwork:
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        self._endpoints = None
        await self._working.aclose()
        await self._stack.aclose()

    async def upgrade(self, dialect: str) -> None:
        """Replace the program by another revision in place, as its upgrade authority would. Rounds continue.

        The agents restart with the new revision. This method can be awaited in any loop, also when the network runs
        in its own thread.

        Raises:
            LocalnetError: the network is not running, or the state cannot be written.
            ConfigError: the program is not built for this dialect.
        """
        thread = self._thread
        if thread is None:
            await self._upgrade(dialect)
        else:
            await asyncio.to_thread(thread.run, self._upgrade(dialect))

    async def _upgrade(self, dialect: str) -> None:
        endpoints, program = self.endpoints, shared_object(dialect)
        self.vm.ledger.set_fact(_DIALECT, dialect.encode())
        await self._working.aclose()
        self._use(dialect)
        self.vm.deploy(self._dialect.program_id, program)
        self._endpoints = replace(endpoints, dialect=dialect)
        await self._start_work()

    def _use(self, dialect: str) -> None:
        """Switch to a revision of the program. Use its η, and its convention unless the caller chose another one."""
        _, scoring = self._asked
        self.dialect = dialect
        self._dialect = get_dialect(dialect)
        reading = self._dialect.reading
        self.scoring: Scoring = scoring or reading.convention
        self.convention: Convention = reading.convention if self.scoring == "equal" else self.scoring
        self.gradient_rate = reading.gradient_rate

    def _dialect_of_state(self) -> str | None:
        """Return the program's revision that last ran with the stored state; None if the state is new."""
        kept = self.vm.ledger.fact(_DIALECT)
        if kept is not None:
            return kept.decode()
        # Early versions had only one revision and did not store its name.
        return OLDEST if self.vm.ledger.last_sequence() else None

    async def _start(self) -> None:
        stack = self._stack
        if self._is_temporary:
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decloud-network-")))
        self._posted.clear()
        home = self._home
        stack.enter_context(_locked(home))
        # Not the user's configured provider: the creator and the gateway read this store's blocks and archives.
        self.store = EmbeddedStore(home / STORE_FOLDER)
        self.vm = Vm(self._clock, {}, genesis=[TREASURY], state=home / STATE_FILE)
        stack.callback(self.vm.close)
        before, asked = self._dialect_of_state(), self._asked[0]
        if before is not None and asked is not None and before != asked:
            raise LocalnetError(
                f"The local network in {home} runs {before}, not {asked}.",
                fix=f"Start it with --dialect {before}, or choose another folder with --home.",
            )
        self._use(asked or before or NEWEST)
        self.vm.deploy(self._dialect.program_id, shared_object(self.dialect))
        self.vm.ledger.set_fact(_DIALECT, self.dialect.encode())
        rpc_port, gateway_port = self._ports
        tick = max(_SHORTEST_TICK, SLOT_SECONDS / max(1.0, self._speed))
        rpc_server = await stack.enter_async_context(RpcServer(self.vm, port=rpc_port, tick_seconds=tick))
        gateway_server = await stack.enter_async_context(GatewayServer(self.store, port=gateway_port))
        self._endpoints = NetworkAddresses(
            rpc_url=rpc_server.rpc_url,
            ws_url=rpc_server.ws_url,
            gateway_url=gateway_server.url,
            program_id=str(self._dialect.program_id),
            dialect=self.dialect,
            home=str(home),
        )
        await self._initialise()
        await self._start_work()

    async def _initialise(self) -> None:
        """Create the program's round counter, unless an earlier run has created it."""
        authority = await self._actor("authority", self._stack)

        async def landed() -> bool:
            return await authority.chain.counter() is not None

        if not await landed():
            await authority.send(self._dialect.initialize(authority.wallet.address), "initialize", landed)

    async def _start_work(self) -> None:
        if self._say is not None:
            rpc = RpcClient(self.endpoints.rpc_url)
            self._working.push_async_callback(rpc.aclose)
            telling = self._tell_events(ChainClient(rpc, self._dialect), self._say)
            self._working.push_async_callback(_cancel, [asyncio.create_task(telling)])
        if self._agents is not None:
            await self._start_agents(self._agents)

    async def _tell_events(self, chain: ChainClient, say: Callable[[str], None]) -> None:
        async for event in watch_events(self.endpoints.ws_url, self._dialect):
            if isinstance(event, Event):
                with contextlib.suppress(ChainError):
                    await tell(event, chain, say)

    async def _start_agents(self, options: AgentOptions) -> None:
        home, working = self._home, self._working
        data = DataFolder.from_node({"folder": options.data, "download": False})
        bench = Bench(
            scoring=self.scoring,
            gradient_rate=self.gradient_rate,
            data=data.folder,
            log=home / "scoring.log",
        )
        working.push_async_callback(bench.aclose)
        creator = Creator(
            actor=await self._actor("creator", working),
            store=self.store,
            bench=bench,
            models=home / "models",
            reward=options.reward,
            offers=options.offers,
            open_rounds=options.open_rounds,
            limit=options.rounds,
            posted=self._posted,
        )
        validator = Validator(
            actor=await self._actor("validator", working),
            bench=bench,
            reader=GatewayReader([self.endpoints.gateway_url]),
            files=home / "validator",
            mappings=dict(MAPPINGS),
            data=data,
            max_bytes=_MAX_FILE_BYTES,
            grace=options.grace / self._speed,
            monotonic=time.monotonic,
        )
        wakes = [asyncio.Event(), asyncio.Event()]
        agents: list[Agent] = [creator, validator]
        tasks = [
            asyncio.create_task(drive(agent, wake=wake, interval=options.interval / self._speed))
            for agent, wake in zip(agents, wakes, strict=True)
        ]
        tasks.append(asyncio.create_task(self._wake_on_events(wakes)))
        working.push_async_callback(_cancel, tasks)

    async def _wake_on_events(self, wakes: list[asyncio.Event]) -> None:
        async for _ in watch_events(self.endpoints.ws_url, self._dialect):
            for wake in wakes:
                wake.set()

    async def _actor(self, name: str, stack: AsyncExitStack) -> Actor:
        """Return an `Actor` with a funded wallet. Its connection to the chain closes when ``stack`` closes."""
        wallet = _wallet(self._home / f"{name}.json")
        rpc = RpcClient(self.endpoints.rpc_url)
        stack.push_async_callback(rpc.aclose)
        # The RPC server runs on this machine: frequent polling is cheap and makes rounds faster.
        policy = SendPolicy(poll_seconds=0.1)
        sender = Sender(rpc, wallet, self._dialect, MemoryTransactionLog(), policy=policy)
        actor = Actor(ChainClient(rpc, self._dialect), sender, wallet, self._dialect)
        await actor.keep_funded(_LOW_BALANCE)
        return actor


def _wallet(path: Path) -> Wallet:
    return load_wallet(keypair_path=path, environ={}) if path.exists() else create_wallet(path)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when this process ends for any reason."""
    with ExitStack() as held:
        try:
            make_private(home)
            held.enter_context(locked(home / _LOCK_FILE, wait=False))
        except BlockingIOError as error:
            raise LocalnetError(
                f"Another local network is using {home}.", fix="Stop it, or choose another folder with --home."
            ) from error
        except OSError as error:
            raise LocalnetError(
                f"{home} cannot be used: {error.strerror}.", fix="Choose another folder with --home."
            ) from error
        yield
