"""A local network on a manual clock. The tests create its agents and step them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import NetworkDialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.bench import Bench, Scoring
from decloud_pl.localnet.agents.validator import Validator
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.models.networks.simple_cnn import SimpleCNN
from decloud_pl.store.fetch.gateway import GatewayReader

RATE = 0.1
State = dict[str, torch.Tensor]


def always(label: int) -> State:
    """A model that predicts the same digit for every image."""
    state = {name: torch.zeros_like(tensor) for name, tensor in SimpleCNN(10).state_dict().items()}
    state["fc2.bias"][label] = 1.0
    return state


@dataclass
class Town:
    """The network, its creator and the trainers."""

    network: LocalNetwork
    clock: ManualClock
    home: Path
    monotonic: float = 0.0
    rpcs: list[RpcClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dialect: NetworkDialect = get_dialect(self.network.dialect)
        self.creator = self.actor()
        self.chain = self.creator.chain

    def actor(self, wallet: Wallet | None = None, lamports: int = 10**10) -> Actor:
        """Return an actor with a funded wallet. With the same wallet, it is the same party after a restart."""
        wallet = wallet or Wallet(Keypair())
        self.network.vm.airdrop(wallet.address, lamports)
        rpc = RpcClient(self.network.endpoints.rpc_url)
        self.rpcs.append(rpc)
        policy = SendPolicy(poll_seconds=0.02)
        sender = Sender(rpc, wallet, self.dialect, MemoryTransactionLog(), policy=policy)
        return Actor(ChainClient(rpc, self.dialect), sender, wallet, self.dialect)

    def validator(self, bench: Bench, actor: Actor | None = None) -> Validator:
        return Validator(
            actor=actor or self.actor(),
            bench=bench,
            reader=GatewayReader([self.network.endpoints.gateway_url]),
            files=self.home / "validator",
            mappings={"custom": "digits"},
            max_bytes=1 << 24,
            grace=0.0,
            monotonic=lambda: self.monotonic,
        )

    async def send(self, actor: Actor, instruction: Instruction) -> None:
        async def unknown() -> bool:
            return False

        await actor.send(instruction, instruction.data.hex(), unknown)

    async def post(self, model_cid: str, dataset: str = "custom", reward: int = 1_000_000_000) -> int:
        counter = await self.chain.counter()
        assert counter is not None
        number, me = counter.count, self.creator.wallet.address
        await self.send(
            self.creator,
            self.dialect.create_round(number, creator=me, model_cid=model_cid, dataset=dataset, reward_amount=reward),
        )
        return number

    async def join(self, round_id: int) -> Actor:
        trainer = self.actor()
        await self.send(trainer, self.dialect.join_round(round_id, trainer=trainer.wallet.address))
        return trainer

    async def submit(self, trainer: Actor, round_id: int, cid: str) -> None:
        instruction = self.dialect.submit_gradients(round_id, trainer=trainer.wallet.address, gradient_cid=cid)
        await self.send(trainer, instruction)

    async def spend(self, actor: Actor) -> None:
        """Transfer almost all of an actor's lamports to the creator."""
        balance = await self.chain.rpc.balance(actor.wallet.address)
        gone = TransferParams(
            from_pubkey=actor.wallet.address, to_pubkey=self.creator.wallet.address, lamports=balance - 10_000_000
        )
        await self.send(actor, transfer(gone))

    def put(self, content: bytes | Mapping[str, torch.Tensor]) -> str:
        path = self.home / "file"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(dict(content), path)
        return self.network.store.put(path).cid

    async def round(self, round_id: int) -> Round:
        found = await self.chain.round(round_id)
        assert found is not None
        return found

    async def status(self, round_id: int) -> RoundStatus:
        return (await self.round(round_id)).status

    async def submission(self, round_id: int, trainer: Actor) -> Submission:
        found = await self.chain.submission(round_id, trainer.wallet.address)
        assert found is not None
        return found

    def instructions_on(self, round_id: int, trainer: Actor) -> list[str]:
        """Return the names of the successful instructions on a submission, oldest first."""
        address = self.dialect.submission_address(round_id, trainer.wallet.address)
        entries = self.network.vm.ledger.mentions(address, before=None, until=0, newest_slot=1 << 40, limit=100)
        lines = [line for entry in reversed(entries) if entry.error is None for line in entry.meta["logMessages"]]
        return [line.rpartition(" ")[2] for line in lines if line.startswith("Program log: Instruction: ")]


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    clock = ManualClock()
    async with LocalNetwork(tmp_path / "network", agents=None, clock=clock) as network:
        home = tmp_path / "home"
        home.mkdir()
        found = Town(network, clock, home)
        yield found
        await asyncio.gather(*(rpc.aclose() for rpc in found.rpcs))


# A scoring process without torch. The file's content determines its score.
QUICK_CHILD = """
import json, pathlib, sys
for line in sys.stdin:
    asked = json.loads(line)
    if b'no model' in pathlib.Path(asked['base']).read_bytes():
        answer = {'error': 'The file was refused.'}
    elif asked['request'] == 'baseline':
        answer = {'result': 0.1}
    else:
        good = [name for name, path in asked['submissions'].items() if b'good' in pathlib.Path(path).read_bytes()]
        answer = {'result': {name: 10000 // len(good) if name in good else 0 for name in asked['submissions']}}
        if not good:
            answer = {'error': 'No submission is valid.'}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
async def quick_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose child answers at once, without torch."""
    command = (sys.executable, "-S", "-c", QUICK_CHILD)
    found = Bench(scoring="delta", gradient_rate=RATE, log=tmp_path / "scoring.log", command=command)
    yield found
    await found.aclose()


@pytest.fixture
def scoring() -> Scoring:
    return "delta"


@pytest.fixture
async def bench(scoring: Scoring, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench with the real child process."""
    found = Bench(scoring=scoring, gradient_rate=RATE, log=tmp_path / "scoring.log")
    yield found
    await found.aclose()
