"""What the creator and the validator share: a wallet, access to the chain, and a loop that runs an agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from solders.instruction import Instruction

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import NetworkDialect
from decloud_pl.chain.send import Sender
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import DecloudError
from decloud_pl.localnet.program.deadlines import START_SECONDS, VALIDATION_SECONDS

logger = logging.getLogger(__name__)

_BACK_OFF_SECONDS = 2.0
_AIRDROP = 1_000_000_000_000


@dataclass(frozen=True)
class Actor:
    """A wallet, and the objects that read the chain and send this wallet's transactions."""

    chain: ChainClient
    sender: Sender
    wallet: Wallet
    dialect: NetworkDialect

    async def send(self, instruction: Instruction, key: str, landed: Callable[[], Awaitable[bool]]) -> None:
        """Send one instruction. ``landed`` returns whether the chain shows the instruction's effect."""
        await self.sender.send([instruction], key=key, landed=landed)

    async def send_on_round(
        self, round_id: int, instruction: Instruction, key: str, changed: Callable[[Round], bool]
    ) -> None:
        """Send one instruction. ``changed`` returns whether the round on chain shows the instruction's effect."""

        async def landed() -> bool:
            current = await self.chain.round(round_id)
            return current is not None and changed(current)

        await self.send(instruction, key, landed)

    async def keep_funded(self, lamports: int) -> None:
        """If the wallet holds fewer than ``lamports``, request an airdrop of the missing lamports plus a reserve."""
        rpc, address = self.chain.rpc, self.wallet.address
        missing = lamports - await rpc.balance(address)
        if missing > 0:
            await rpc.request_airdrop(address, missing + _AIRDROP)

    async def check_if_overdue(self, round_: Round, now: int) -> bool:
        """Send ``check_round`` if the deadline of the round's current status has passed.

        Returns:
            Whether the deadline has passed.
        """
        deadlines = {
            RoundStatus.WAITING_VALIDATOR: round_.validator_deadline,
            RoundStatus.WAITING_TRAINERS: round_.join_deadline + (START_SECONDS if round_.trainers_count else 0),
            RoundStatus.TRAINING: round_.submit_deadline,
            RoundStatus.VALIDATING: round_.submit_deadline + VALIDATION_SECONDS,
        }
        deadline = deadlines.get(round_.status)
        if deadline is None or now <= deadline:
            return False
        instruction = self.dialect.check_round(round_.id, creator=round_.creator)
        key = f"check:{round_.id}:{round_.status.name}"
        await self.send_on_round(round_.id, instruction, key, lambda current: current.status is not round_.status)
        return True


class Agent(Protocol):
    """An agent of the local network. ``step`` does what the chain's current state requires; it is called repeatedly."""

    async def step(self) -> None: ...


async def drive(agent: Agent, *, wake: asyncio.Event, interval: float, back_off: float = _BACK_OFF_SECONDS) -> None:
    """Call an agent's ``step`` again and again, with pauses of at most ``interval`` seconds, until cancelled.

    Setting ``wake`` ends a pause early. An error in a step does not end the loop. After an error, the loop first waits
    for ``back_off`` seconds.
    """
    name, said = type(agent).__name__, ""
    while True:
        try:
            await agent.step()
        except DecloudError as error:
            if str(error) != said:
                most = back_off + interval
                logger.warning("%s: a step failed: %s Retrying within %.0f s.", name, error, most)
            said = str(error)
            await asyncio.sleep(back_off)
        except Exception:  # without its agents, the network would do nothing
            logger.exception("%s: internal error", name)
            await asyncio.sleep(back_off)
        else:
            said = ""
        try:
            async with asyncio.timeout(interval):
                await wake.wait()
        except TimeoutError:
            continue
        wake.clear()
