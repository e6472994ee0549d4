"""A scripted creator and validator. They post and validate rounds immediately, without torch and without RPC."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.events import GradientsSubmitted, RewardClaimed, TrainerJoined
from decloud_pl.localnet.ledger import Executed
from decloud_pl.localnet.network import LocalNetwork

REWARD = 1_000_000_000
ONCE = ["JoinRound", "SubmitGradients", "SetContribution", "CompleteValidation", "ClaimReward"]
"""The history of a submission account if each step happened once. The third and fourth share a transaction."""
_FUNDS = 50_000_000_000_000
_POSTED_AT_ONCE = 16


@dataclass
class Parties:
    """Plays all other roles of a network for one trainer.

    Attributes:
        rounds: the number of rounds to post.
        ahead: the number of rounds that are open at a time.
        make_model: called with a path and the round's number to write its base model, before the round is posted. By
            default, all rounds have the same base model.
        starts: whether the validator starts trainings.
        claimed_at: the monotonic time at which each round opened for trainers.
        joined_at: the monotonic time at which the trainer's join was confirmed.
        done: the rounds whose reward the trainer has claimed.
    """

    network: LocalNetwork
    trainer: Pubkey
    rounds: int
    ahead: int = 1
    make_model: Callable[[Path, int], None] = lambda path, _: _write_model(path)
    starts: bool = True
    posted: int = 0
    claimed_at: dict[int, float] = field(default_factory=dict)
    joined_at: dict[int, float] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dialect = get_dialect(self.network.dialect)
        self._key = Keypair()
        self._news = asyncio.Event()
        self.network.vm.airdrop(self._key.pubkey(), _FUNDS)
        self.network.vm.listen(self._on_transaction)

    def begin(self) -> None:
        """Post the first rounds. The others follow as rewards are claimed."""
        for _ in range(min(self.ahead, self.rounds)):
            self.post()

    def _put_base_model(self, number: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base"
            self.make_model(path, number)
            return self.network.store.put(path).cid

    def execute(self, *instructions: Instruction, signer: Keypair | None = None) -> None:
        vm, key = self.network.vm, signer or self._key
        vm.advance()
        message = MessageV0.try_compile(key.pubkey(), list(instructions), [], vm.blockhash(vm.slot))
        error = vm.execute(VersionedTransaction(message, [key]))
        assert error is None, error

    def post(self) -> int:
        """Post a round and claim it as its validator; return its ID."""
        number, me = self.posted, self._key.pubkey()
        self.posted += 1
        create = self.dialect.create_round(
            number, creator=me, model_cid=self._put_base_model(number), dataset="custom", reward_amount=REWARD
        )
        self.execute(create, self.dialect.claim_round(number, validator=me))
        self.claimed_at[number] = time.monotonic()
        return number

    def post_many(self, count: int) -> None:
        """Post rounds that no validator claims, several per transaction."""
        me, model_cid = self._key.pubkey(), self._put_base_model(self.posted)
        while count > 0:
            numbers = range(self.posted, self.posted + min(count, _POSTED_AT_ONCE))
            self.posted, count = numbers.stop, count - len(numbers)
            self.execute(
                *(
                    self.dialect.create_round(
                        number, creator=me, model_cid=model_cid, dataset="custom", reward_amount=REWARD
                    )
                    for number in numbers
                )
            )

    async def until_done(self, count: int, seconds: float) -> None:
        """Wait until the trainer has claimed the rewards of ``count`` rounds."""

        async def wait() -> None:
            while len(self.done) < count:
                self._news.clear()
                await self._news.wait()

        await asyncio.wait_for(wait(), seconds)

    async def until_joined(self, round_id: int, seconds: float) -> None:
        async def wait() -> None:
            while round_id not in self.joined_at:
                self._news.clear()
                await self._news.wait()

        await asyncio.wait_for(wait(), seconds)

    def _on_transaction(self, executed: Executed, changed: dict[Pubkey, Account | None]) -> None:
        if executed.error is not None:
            return
        loop = asyncio.get_running_loop()
        for event in self.dialect.events(executed.meta["logMessages"]):
            if isinstance(event, TrainerJoined) and event.trainer == self.trainer:
                self.joined_at[event.round_id] = time.monotonic()
                if self.starts:
                    loop.call_soon(self._start, event.round_id)
            elif isinstance(event, GradientsSubmitted) and event.trainer == self.trainer:
                loop.call_soon(self._score, event.round_id)
            elif isinstance(event, RewardClaimed) and event.trainer == self.trainer:
                self.done.add(event.round_id)
                loop.call_soon(self._post_next)
            self._news.set()

    def _post_next(self) -> None:
        if self.posted < self.rounds:
            self.post()

    def _start(self, round_id: int) -> None:
        self.execute(self.dialect.start_training(round_id, validator=self._key.pubkey(), baseline_score=1000))

    def _score(self, round_id: int) -> None:
        me = self._key.pubkey()
        self.execute(
            self.dialect.set_contribution(round_id, validator=me, trainer=self.trainer, contribution_bps=10_000),
            self.dialect.complete_validation(round_id, validator=me),
        )


def _write_model(path: Path) -> None:
    path.write_bytes(b"a base model")


def history(network: LocalNetwork, address: Pubkey) -> list[str]:
    """Return the instructions on an account, oldest first. A failed transaction appears as ``failed``."""
    names: list[str] = []
    found = network.vm.ledger.mentions(address, before=None, until=0, newest_slot=1 << 60, limit=1000)
    for executed in reversed(found):
        if executed.error is not None:
            names.append("failed")
            continue
        lines = executed.meta["logMessages"]
        names += [line.rpartition(" ")[2] for line in lines if line.startswith("Program log: Instruction: ")]
    return names
