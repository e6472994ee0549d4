"""Take the steps of a wallet's rounds one by one, without a daemon that runs all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.network import AUTO
from decloud_pl.chain.revision import CurrentDialect, detect
from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import Settings
from decloud_pl.daemon.assemble import run_until_cancelled
from decloud_pl.daemon.manual import TAKES_NO_UPDATES, Step, already_done, take
from decloud_pl.domain import LAMPORTS_PER_SOL, Round, RoundStatus, Submission, Update
from decloud_pl.errors import JournalLocked, RoundError, no_round
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import read_update
from decloud_pl.journal.findings import stored_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.schema import JOURNAL_FILE, daemon_process
from decloud_pl.journal.track_record import completion
from decloud_pl.rounds.connect import make_current_dialect, make_rpc
from decloud_pl.rounds.conventions import Choice, Conventions
from decloud_pl.rounds.events import Reporter
from decloud_pl.rounds.life import OVERDUE_AFTER
from decloud_pl.rounds.select import party_rules, why_closed


@dataclass
class WalletRounds:
    """Takes the steps of a wallet's rounds: join, train, publish and claim.

    Each step can be called again. A finished step is not repeated, and an interrupted step resumes.

    Attributes:
        settings: the network, the home folder and the other settings.
        wallet: signs the transactions.
        reporter: receives the events.
        owner: the network, the program and the wallet. The journal returns only the rows of this owner. `open` sets it.
    """

    settings: Settings
    wallet: Wallet
    reporter: Reporter
    owner: Owner = field(init=False)
    _dialect: CurrentDialect = field(init=False)
    _chain: ChainClient = field(init=False)

    def __post_init__(self) -> None:
        self._dialect = make_current_dialect(self.settings.network)
        self._chain = ChainClient(make_rpc(self.settings.network), cast(Dialect, self._dialect))

    async def open(self) -> None:
        """Connect to the network, and check that no other process uses the journal.

        Raises:
            ChainError: no endpoint answers, or the address is not a Solana endpoint.
            JournalLocked: another process uses this home folder.
        """
        process = daemon_process(self.settings.home_path / JOURNAL_FILE)
        if process is not None:
            raise JournalLocked(
                f"A daemon or another session (process {process}) is using {self.settings.home_path}.",
                fix="Stop that process, or choose another home for this session.",
            )
        network = await self._chain.rpc.check_same_network()
        self.owner = Owner(network, str(self._chain.dialect.program_id), str(self.wallet.address))
        self._follow_revision()

    def _follow_revision(self) -> None:
        """Use the program's revision that an earlier step stored in the journal.

        The revision determines the treasury's fee, which is deducted from each reward.
        """
        if self.settings.network.dialect != AUTO:
            return
        with JournalReader(self.settings.home_path / JOURNAL_FILE, self.owner) as journal:
            self._dialect.revision = stored_revision(journal) or self._dialect.revision

    async def aclose(self) -> None:
        """Close the connection."""
        await self._chain.rpc.aclose()

    async def balance(self) -> int:
        """Return the lamports in the wallet."""
        return await self._chain.rpc.balance(self.wallet.address)

    async def fill(self) -> None:
        """Request 1 SOL from the network's faucet if the wallet holds less than 0.1 SOL."""
        if await self.balance() < LAMPORTS_PER_SOL // 10:
            await self._chain.rpc.request_airdrop(self.wallet.address, LAMPORTS_PER_SOL)

    def folder(self, round_id: int) -> Path:
        """Return the folder of a round's files. The daemon deletes this folder when the round is over."""
        return self.settings.home_path / "rounds" / self.owner.folder / str(round_id)

    async def round(self, round_id: int) -> Round:
        """Return a round on chain.

        Raises:
            RoundError: the round does not exist.
        """
        found = await self._chain.round(round_id)
        if found is None:
            raise no_round(round_id)
        return found

    async def convention(self, round_id: int) -> Choice:
        """Return the convention to assume for the round's validator.

        Raises:
            RoundError: the round does not exist.
        """
        network, address = self.settings.network, self.wallet.address
        if network.dialect == AUTO and not self._dialect.revision.is_decided:
            rpc, program_id = self._chain.rpc, self._chain.dialect.program_id
            self._dialect.revision = await detect(rpc, program_id, payer=address, now=time.time())
        validator = (await self.round(round_id)).validator
        with JournalReader(self.settings.home_path / JOURNAL_FILE, self.owner) as journal:
            conventions = Conventions(network, self._chain.dialect, journal)
            return conventions.of(validator)

    async def next_round(self, dataset: str | None, *, seconds: float) -> int:
        """Wait for the next round to train for, and return the round's number.

        Joined rounds without an update from this wallet come first, then rounds that accept trainers.

        Args:
            dataset: the chain's name of the data set; None for the data sets in the settings.
            seconds: the most seconds to wait.

        Raises:
            RoundError: no round was open in time.
        """
        until = time.monotonic() + seconds
        chain = self._chain
        places = await chain.submissions_of(self.wallet.address)
        mine, unsubmitted = {entry.round_id for entry in places}, [one.round_id for one in places if not one.submitted]
        now = await chain.rpc.clock()
        is_open, count = await chain.open_rounds(now)
        while True:
            joined = await chain.rounds_by_id(unsubmitted)
            begun = [
                number
                for number, round_ in joined.items()
                if self._is_wanted(round_, dataset) and _takes_updates(round_, now)
            ]
            rounds = [round_ for round_ in is_open if self._is_wanted(round_, dataset)]
            known = self._completion()
            new = [round_.id for round_ in rounds if round_.id not in mine and self._can_be_joined(round_, now, known)]
            if begun or new:
                return [*begun, *new][0]
            left = until - time.monotonic()
            if left <= 0:
                raise RoundError(
                    f"No round for {dataset or 'these settings'} was open within {seconds:g} s.",
                    fix="Pass a larger timeout=.",
                )
            await asyncio.sleep(min(self.settings.poll_interval, left))
            now = await chain.rpc.clock()
            is_open, count = await chain.open_rounds_again(is_open, count)

    async def join(self, round_id: int) -> None:
        """Join a round that the caller trains without the daemon. Return at once if this wallet has already joined it.

        Raises:
            RoundError: the round does not exist, accepts no more trainers, or the join failed.
        """
        submission = await self._chain.submission(round_id, self.wallet.address)
        if not already_done("join", round_id, await self.round(round_id), submission):
            await self._take("join", round_id, self.settings, trained_elsewhere=True)

    async def train(self, round_id: int, settings: Settings) -> RoundRecord:
        """Train as the daemon does, but with the given ``settings``, then pin and submit the update.

        Raises:
            RoundError: this wallet has not joined, the round accepts no updates, another program submitted the update,
                or the update was withheld or could not be trained.
        """
        if not already_done("train", round_id, *await self._joined(round_id)):
            return await self._take("train", round_id, settings)
        record = self.record(round_id)
        if record is None:
            raise RoundError(
                f"Another program or machine submitted the update of round {round_id}.", fix="Claim the round's reward."
            )
        return record

    async def publish(self, round_id: int, update: Update) -> str:
        """Pin an update, verify that it is available and submit it. Return the CID that the chain has stored.

        Raises:
            RoundError: this wallet has not joined or has submitted another update, or the round accepts no updates.
            TrainingError: the update's file is missing or damaged.
        """
        round_, submission = await self._joined(round_id)
        if not already_done("train", round_id, round_, submission):
            await self._take("train", round_id, self.settings, update=update)
            _, submission = await self._joined(round_id)
        record = self.record(round_id)
        if update.cid not in (submission.gradient_cid, None if record is None else record.update_cid):
            raise RoundError(
                f"Round {round_id} already has another update of this wallet: {submission.gradient_cid}.",
                fix="Join another round, because a round accepts only one update per wallet.",
            )
        return submission.gradient_cid

    async def claim(self, round_id: int, *, seconds: float | None) -> tuple[int, int]:
        """Wait for the scores and claim the reward. If the update on disk is not submitted yet, submit it first.

        Args:
            round_id: the round.
            seconds: the most seconds to wait; None waits for as long as the round takes.

        Returns:
            This wallet's share of the trainers' pool in basis points, and this wallet's reward in lamports.

        Raises:
            RoundError: no update was submitted, this wallet gets no reward, or the scores took longer than ``seconds``.
        """
        round_, submission = await self._joined(round_id)
        if not submission.submitted and round_.status not in TAKES_NO_UPDATES:
            update = read_update(self.folder(round_id) / UPDATE_FILE)
            if update is None or update.withheld:
                raise RoundError(
                    f"Round {round_id} has no submission of this wallet.", fix="Publish or train an update first."
                )
            await self._take("train", round_id, self.settings, update=update)
        if not submission.reward_claimed:
            try:
                async with asyncio.timeout(seconds):
                    await self._take("claim", round_id, self.settings)
            except TimeoutError:
                raise RoundError(
                    f"Round {round_id} was not scored within {seconds:g} s.",
                    fix="Claim the reward later; it stays available.",
                ) from None
        self._follow_revision()
        round_, submission = await self._joined(round_id)
        return submission.contribution_bps, round_.reward_of(submission.contribution_bps)

    async def _joined(self, round_id: int) -> tuple[Round, Submission]:
        round_ = await self.round(round_id)
        submission = await self._chain.submission(round_id, self.wallet.address)
        if submission is None:
            raise RoundError(f"This wallet has not joined round {round_id}.", fix="Join it first.")
        return round_, submission

    async def _take(
        self,
        step: Step,
        round_id: int,
        settings: Settings,
        *,
        update: Update | None = None,
        trained_elsewhere: bool = False,
    ) -> RoundRecord:
        record = await take(
            step,
            round_id,
            settings,
            self.wallet,
            self.reporter,
            update=update,
            trained_elsewhere=trained_elsewhere,
            run=run_until_cancelled,
        )
        if record is None:
            raise RoundError(
                f"The step {step} of round {round_id} was interrupted.", fix="Repeat the call to resume the step."
            )
        return record

    def record(self, round_id: int) -> RoundRecord | None:
        """Return the journal's row of a round, or None if the journal has no such row."""
        with JournalReader(self.settings.home_path / JOURNAL_FILE, self.owner) as journal:
            return journal.get(round_id)

    def _is_wanted(self, round_: Round, dataset: str | None) -> bool:
        if dataset is not None:
            return round_.dataset == dataset
        mapped = self.settings.all_mappings().get(round_.dataset, round_.dataset)
        return not self.settings.datasets or not {round_.dataset, mapped}.isdisjoint(self.settings.datasets)

    def _completion(self) -> Mapping[str, tuple[int, int]]:
        if not self.settings.rewards.min_completion:
            return {}
        with JournalReader(self.settings.home_path / JOURNAL_FILE, self.owner) as journal:
            return completion(journal)

    def _can_be_joined(self, round_: Round, now: int, known: Mapping[str, tuple[int, int]]) -> bool:
        rewards = self.settings.rewards
        most = rewards.max_lamports or round_.net_reward
        if why_closed(round_, now) or not rewards.min_lamports <= round_.net_reward <= most:
            return False
        return all(rule.passed for rule in party_rules(round_, rewards, known))


def _takes_updates(round_: Round, now: int) -> bool:
    """Return whether a round that this wallet has joined can still accept an update of the wallet."""
    if round_.status is RoundStatus.WAITING_TRAINERS:  # its validator may never start the training
        return now <= round_.join_deadline + OVERDUE_AFTER
    return round_.status is RoundStatus.TRAINING and now <= round_.submit_deadline
