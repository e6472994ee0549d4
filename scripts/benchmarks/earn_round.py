"""Play a round on a local network with updates that are already trained: the trainers submit, the validator pays."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from solders.instruction import Instruction
from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import RoundStatus
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.localnet.agents.validator import Validator
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.store.fetch.gateway import GatewayReader

_REWARD = 1_000_000_000
_LAMPORTS = 10 * _REWARD
_GRADIENT_RATE = 0.1
_ON_CHAIN = "custom"
_MOST_BYTES = 1 << 30


def shares(base: Path, updates: Mapping[str, Path], *, dataset: str) -> dict[str, int]:
    """Return the share of the reward that each update earns in one round, in basis points.

    Args:
        base: the base model, as torch.save writes a state dict.
        updates: each trainer's update, a file that adds to the base model.
        dataset: the name of the data set, on this machine, on which the validator scores.

    Raises:
        RuntimeError: the validator does not complete the round.
        DecloudError: the network refuses a transaction.
    """
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_play(Path(folder), base, updates, dataset))


async def _play(folder: Path, base: Path, updates: Mapping[str, Path], dataset: str) -> dict[str, int]:
    bench = Bench(scoring="delta", gradient_rate=_GRADIENT_RATE, log=folder / "scoring.log")
    async with LocalNetwork(folder / "network", agents=None) as network:
        rpc = RpcClient(network.endpoints.rpc_url)
        try:
            creator = _actor(network, rpc)
            validator = Validator(
                actor=_actor(network, rpc),
                bench=bench,
                reader=GatewayReader([network.endpoints.gateway_url]),
                files=folder / "validator",
                mappings={_ON_CHAIN: dataset},
                max_bytes=_MOST_BYTES,
                grace=0.0,
                monotonic=time.monotonic,
            )
            dialect, me = creator.dialect, creator.wallet.address
            cid = network.store.put(base).cid
            await _send(
                creator,
                dialect.create_round(0, creator=me, model_cid=cid, dataset=_ON_CHAIN, reward_amount=_REWARD),
            )
            await validator.step()  # it claims the round
            trainers = {name: _actor(network, rpc) for name in updates}
            for actor in trainers.values():
                await _send(actor, dialect.join_round(0, trainer=actor.wallet.address))
            await validator.step()  # it starts the training
            for name, actor in trainers.items():
                cid = network.store.put(updates[name]).cid
                await _send(actor, dialect.submit_gradients(0, trainer=actor.wallet.address, gradient_cid=cid))
            await validator.step()  # it scores and completes the round
            round_ = await creator.chain.round(0)
            if round_ is None or round_.status is not RoundStatus.COMPLETED:
                raise RuntimeError(f"The validator did not complete the round: {round_}")
            paid = {str(entry.trainer): entry.contribution_bps for entry in await creator.chain.round_submissions(0)}
            return {name: paid[str(actor.wallet.address)] for name, actor in trainers.items()}
        finally:
            await bench.aclose()
            await rpc.aclose()


def _actor(network: LocalNetwork, rpc: RpcClient) -> Actor:
    wallet, dialect = Wallet(Keypair()), get_dialect(network.dialect)
    network.vm.airdrop(wallet.address, _LAMPORTS)
    # The RPC server runs in this process, so frequent polling is cheap.
    sender = Sender(rpc, wallet, dialect, MemoryTransactionLog(), policy=SendPolicy(poll_seconds=0.05))
    return Actor(ChainClient(rpc, dialect), sender, wallet, dialect)


async def _send(actor: Actor, instruction: Instruction) -> None:
    async def unknown() -> bool:
        return False

    await actor.send(instruction, hashlib.sha256(instruction.data).hexdigest(), unknown)
