"""A round step by step from Python: join, train, claim, with what happened on the way to look at.

The steps are the daemon's own, with its journal: one that was interrupted goes on where it was, and the daemon can
take over at any time. It needs a running event loop, as notebooks have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.wallet import Wallet
from decloud_pl.daemon.connect import make_dialect, make_rpc
from decloud_pl.daemon.events import DaemonEvent, Training
from decloud_pl.daemon.journal_view import view_journal
from decloud_pl.daemon.manual import Step, already_done, take
from decloud_pl.daemon.record import RoundRecord
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import RoundError
from decloud_pl.settings import Settings, compose
from decloud_pl.settings.values import hydra_text

_LOOK_SECONDS = 0.5


def settings_for(home: Path, *, rpc_url: str, gateway_url: str, store: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings of a trainer on a local network.

    Args:
        home: folder of the trainer's journal and rounds.
        rpc_url: the network's RPC address.
        gateway_url: where its files are read.
        store: folder of its embedded store.
        overrides: further settings, for example ``epochs=2``.

    Raises:
        ConfigError: a setting that is wrong.
    """
    return compose(
        [
            "network=local",
            f"network.rpc_url={hydra_text(rpc_url)}",
            f"network.gateways={hydra_text([gateway_url])}",
            f"storage.path={hydra_text(str(store))}",
            f"home={hydra_text(str(home))}",
            "poll_interval=1",
            *overrides,
        ]
    )


class Trainer:
    """A wallet on a network, step by step.

    Attributes:
        events: everything that happened so far, in order.
    """

    def __init__(self, settings: Settings, wallet: Wallet) -> None:
        self.events: list[DaemonEvent] = []
        self._settings = settings
        self._wallet = wallet
        self._rpc = make_rpc(settings.network)
        self._chain = ChainClient(self._rpc, make_dialect(settings.network))

    async def __aenter__(self) -> Trainer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rpc.aclose()

    def report(self, event: DaemonEvent) -> None:
        """Keeps an event; the steps call it."""
        self.events.append(event)

    async def balance(self) -> int:
        """Lamports in the wallet."""
        return await self._rpc.balance(self._wallet.address)

    async def airdrop(self, lamports: int) -> None:
        """Asks the local network for SOL."""
        await self._rpc.request_airdrop(self._wallet.address, lamports)

    async def wait_for(self, status: RoundStatus, round_id: int | None = None, *, seconds: float = 60.0) -> Round:
        """The first round that has reached a status, or the one that is named.

        Raises:
            RoundError: it took too long, or the round ended in another way.
        """
        for _ in range(max(1, round(seconds / _LOOK_SECONDS))):
            for found in await self._chain.rounds():
                if round_id in (None, found.id):
                    if found.status is status:
                        return found
                    if round_id is not None and found.status.is_over:
                        raise RoundError(f"Round {round_id} is {found.status.name.lower()}.")
            await asyncio.sleep(_LOOK_SECONDS)
        raise RoundError(f"No round was {status.name.lower()} within {seconds:g} s.", fix="See what the network does.")

    async def join(self, round_id: int) -> RoundRecord:
        """Joins a round.

        Raises:
            RoundError: there is no such round, it takes nobody, or the step failed.
        """
        return await self._step("join", round_id)

    async def train(self, round_id: int) -> RoundRecord:
        """Waits for the training to start, trains, pins the update, reads it back and submits it.

        Raises:
            RoundError: this wallet has not joined the round, or the step failed for good.
        """
        return await self._step("train", round_id)

    async def claim(self, round_id: int) -> RoundRecord:
        """Waits for the validator's scores and claims the reward.

        Raises:
            RoundError: there is no reward.
        """
        await self.wait_for(RoundStatus.COMPLETED, round_id)
        return await self._step("claim", round_id)

    async def _step(self, step: Step, round_id: int) -> RoundRecord:
        """Takes a step, or returns what is known of one that was taken before."""
        submission = await self._chain.submission(round_id, self._wallet.address)
        if already_done(step, round_id, await self._chain.round(round_id), submission):
            return await self._known(round_id)
        record = await take(step, round_id, self._settings, self._wallet, self)
        if record is None:
            raise RoundError("The step was interrupted.", fix="Take it again; it goes on where it was.")
        return record

    async def _known(self, round_id: int) -> RoundRecord:
        network = await self._rpc.check_same_network()
        owner = (network, str(self._chain.dialect.program_id), str(self._wallet.address))
        with view_journal(self._settings.journal_path) as journal:
            row = None if journal is None else journal.rows_of(owner).get(round_id)
        if row is None:
            raise RoundError(f"The step of round {round_id} was taken before, elsewhere.", fix="Take the next one.")
        return row.record

    def training(self, round_id: int) -> list[Training]:
        """The training's progress so far: steps, losses and accuracies."""
        return [event for event in self.events if isinstance(event, Training) and event.round_id == round_id]

    def folder(self, round_id: int) -> Path:
        """Where the round's files are: the base model, ``update.pt`` and the worker's log.

        Raises:
            RoundError: this trainer has none of that round.
        """
        for folder in (self._settings.home_path / "rounds").glob(f"*/{round_id}"):
            return folder
        raise RoundError(f"There are no files of round {round_id}.", fix="Train it first.")
