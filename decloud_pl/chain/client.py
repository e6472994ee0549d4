"""Typed reads of the program's accounts. The client checks the owner of an account before it decodes it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from solders.pubkey import Pubkey

from decloud_pl.chain.dialect import Dialect, Filters
from decloud_pl.chain.rpc import ACCOUNTS_PER_REQUEST, CLOCK_SYSVAR, Account, RpcClient, clock_of
from decloud_pl.chain.rpc_errors import wrong_answer
from decloud_pl.domain import BPS_DENOMINATOR, MOST_STORABLE, Round, RoundCounter, Submission
from decloud_pl.errors import DecodeError, RpcRejected

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LISTED_BY_ID = 10_000
_MOST_LAMPORTS = 10**18
"""More SOL than exists. The sum of several such rewards still fits into an integer of SQLite."""
_MISSING_BATCHES = 10
"""Reading stops after this many requests without a round, because the counter must be wrong."""
_OPEN_SECONDS = 86_400
_MOST_NEW = 1000
"""Rounds that one call of `open_rounds_again` may add."""


@dataclass(frozen=True, slots=True)
class View:
    """A round, a wallet's submission account in it, and the wallet's balance, all read at the same slot.

    Attributes:
        round: None if the round does not exist.
        submission: None if the wallet has not joined.
        now: the chain's clock, in Unix seconds.
        balance: the wallet's lamports.
    """

    round: Round | None
    submission: Submission | None
    now: int
    balance: int


class ChainClient:
    """Reads the program's state from an RPC client.

    An account is bad if it belongs to another program or its bytes cannot be decoded. `counter`, `round`, `view` and
    `submission` raise `DecodeError` for a bad account. Methods that return several rounds or submissions leave out bad
    accounts and log a warning (`views` logs none), because one bad account must not hide all others.
    """

    def __init__(self, rpc: RpcClient, dialect: Dialect) -> None:
        self.rpc = rpc
        self.dialect = dialect

    async def counter(self) -> RoundCounter | None:
        """Return the round counter, or None if the program was never initialized."""
        return await self._read(self.dialect.round_counter_address(), self.dialect.decode_round_counter)

    async def count(self) -> int:
        """Return the number of rounds that the counter shows."""
        counter = await self.counter()
        return 0 if counter is None else counter.count

    async def round(self, round_id: int) -> Round | None:
        return await self._read(self.dialect.round_address(round_id), self._round_of(round_id))

    async def view(self, round_id: int, trainer: Pubkey) -> View:
        """Read a round, a trainer's submission account in it, the clock and the trainer's balance, in one request."""
        clock, wallet, *pair = await self.rpc.accounts([CLOCK_SYSVAR, trainer, *self._places(round_id, trainer)])
        return self._view(round_id, trainer, pair, clock_of(clock), wallet)

    async def views(self, round_ids: Sequence[int], trainer: Pubkey) -> dict[int, View]:
        """Read what `view` reads for several rounds, in as few requests as possible: 50 rounds in one.

        The result leaves out rounds with a bad account. `view` raises the error of such a round.
        """
        places = [place for round_id in round_ids for place in self._places(round_id, trainer)]
        clock, wallet, *accounts = await self.rpc.accounts([CLOCK_SYSVAR, trainer, *places])
        now = clock_of(clock)
        found: dict[int, View] = {}
        for index, round_id in enumerate(round_ids):
            with suppress(DecodeError):
                pair = accounts[2 * index : 2 * index + 2]
                found[round_id] = self._view(round_id, trainer, pair, now, wallet)
        return found

    def _places(self, round_id: int, trainer: Pubkey) -> tuple[Pubkey, Pubkey]:
        """Return the addresses of a round and of a trainer's submission account in it."""
        return self.dialect.round_address(round_id), self.dialect.submission_address(round_id, trainer)

    def _view(
        self, round_id: int, trainer: Pubkey, pair: Sequence[Account | None], now: int, wallet: Account | None
    ) -> View:
        """Decode the accounts at `_places`."""
        (round_place, place), (round_, submission) = self._places(round_id, trainer), pair
        return View(
            round=self._decoded(round_place, round_, self._round_of(round_id)),
            submission=self._decoded(place, submission, self._submission_of(round_id, trainer)),
            now=now,
            balance=0 if wallet is None else wallet.lamports,
        )

    async def now_and_balance(self, wallet: Pubkey) -> tuple[int, int]:
        """Read the chain's clock in Unix seconds and a wallet's lamports, in one request."""
        clock, account = await self.rpc.accounts([CLOCK_SYSVAR, wallet])
        return clock_of(clock), 0 if account is None else account.lamports

    async def rounds_by_id(self, round_ids: Sequence[int]) -> dict[int, Round]:
        """Read the rounds with these ids in as few requests as possible. The result leaves out ids without a round."""
        addresses = [self.dialect.round_address(round_id) for round_id in round_ids]
        found: dict[int, Round] = {}
        for round_id, address, account in zip(round_ids, addresses, await self.rpc.accounts(addresses), strict=True):
            if account is not None:
                found.update(
                    (round_id, value) for value in self._decodable([(address, account)], self._round_of(round_id))
                )
        return found

    async def rounds(self) -> list[Round]:
        """Return all rounds, sorted by id.

        If no endpoint lists a program's accounts, return only the latest 10,000 rounds.
        """
        try:
            found = await self._list(self.dialect.rounds_filter(), self._decode_round)
        except RpcRejected as error:
            found = list((await self.rounds_by_id(await self._latest(error))).values())
        return sorted(found, key=lambda value: value.id)

    async def latest_rounds(self, most: int | None = None) -> AsyncIterator[Round]:
        """Yield rounds, the latest first.

        Each request reads 100 rounds. It is sent when the caller has used up the rounds of the previous request.

        Args:
            most: the largest number of rounds to read; None for all rounds.
        """
        count = await self.count()
        first = 0 if most is None else max(0, count - most)
        missing = 0
        for end in range(count, first, -ACCOUNTS_PER_REQUEST):
            begin = max(first, end - ACCOUNTS_PER_REQUEST)
            found = await self.rounds_by_id(range(begin, end))
            missing = 0 if found else missing + 1
            if missing == _MISSING_BATCHES:
                highest = end + (missing - 1) * ACCOUNTS_PER_REQUEST
                logger.warning(
                    "Cannot read any of the %d rounds below number %d. These and all older rounds are left out.",
                    highest - begin,
                    highest,
                )
                return
            for round_id in sorted(found, reverse=True):
                yield found[round_id]

    async def open_rounds(self, now: int, see: Callable[[Round], None] = lambda _: None) -> tuple[list[Round], int]:
        """Read the rounds that wait for a validator or for trainers, sorted by id.

        The search starts at the latest round. It ends at the first round whose ``validator_deadline`` passed more than
        a day ago. It assumes that nobody can claim or join that round or an older round, because each phase has a
        deadline.

        Args:
            now: the chain's clock, in Unix seconds.
            see: called with each round that is read, open or not, the latest first.

        Returns:
            The open rounds, and the id that the next new round will have.
        """
        found: list[Round] = []
        count = 0
        async for round_ in self.latest_rounds():
            count = max(count, round_.id + 1)
            see(round_)
            if round_.validator_deadline < now - _OPEN_SECONDS:
                break
            if round_.is_open:
                found.append(round_)
        return found[::-1], count

    async def open_rounds_again(self, known: Iterable[Round], count: int) -> tuple[list[Round], int]:
        """Update a result of `open_rounds`: read the rounds that were open then, and up to 1000 rounds posted since.

        Args:
            known: the open rounds of the earlier result.
            count: the id of the next new round, from the earlier result.

        Returns:
            The rounds that are open now, and the id that the next new round will have.
        """
        new = range(count, min(await self.count(), count + _MOST_NEW))
        found = await self.rounds_by_id([*(round_.id for round_ in known), *new])
        # The counter alone proves nothing, because a hostile endpoint may send any number.
        count = max([count, *(round_id + 1 for round_id in new if round_id in found)])
        return [round_ for round_ in found.values() if round_.is_open], count

    async def submission(self, round_id: int, trainer: Pubkey) -> Submission | None:
        """Return a trainer's submission account in a round, or None if the trainer has not joined."""
        address = self.dialect.submission_address(round_id, trainer)
        return await self._read(address, self._submission_of(round_id, trainer))

    async def submissions_of(self, trainer: Pubkey) -> list[Submission]:
        """Return all submissions of a trainer, sorted by round.

        Return only the submissions to the latest 10,000 rounds if no endpoint lists a program's accounts.
        """
        try:
            listed = await self._list(self.dialect.submissions_filter(trainer), self._decode_submission)
            found = [one for one in listed if one.trainer == trainer]  # an endpoint may ignore the filter
        except RpcRejected as error:
            asked = await self._latest(error)
            addresses = [self.dialect.submission_address(round_id, trainer) for round_id in asked]
            found = await self._submissions_at(addresses)
        return sorted(found, key=lambda value: value.round_id)

    async def round_submissions(self, round_id: int) -> list[Submission]:
        """Read all submissions of a round, sorted by the trainer's address."""
        filters = self.dialect.round_submissions_filter(round_id)
        listed = await self._list(filters, self._decode_submission, replaceable=False)
        trainers = sorted({one.trainer for one in listed if one.round_id == round_id}, key=bytes)
        # A list does not tell its slot. It may be older than the shares, so the accounts are read again.
        addresses = [self.dialect.submission_address(round_id, trainer) for trainer in trainers]
        return await self._submissions_at(addresses)

    async def _submissions_at(self, addresses: Sequence[Pubkey]) -> list[Submission]:
        """Read the submissions at these addresses, in this order, without the missing ones."""
        accounts = zip(addresses, await self.rpc.accounts(addresses), strict=True)
        existing = [(address, account) for address, account in accounts if account is not None]
        return self._decodable(existing, self._decode_submission)

    async def _latest(self, error: RpcRejected) -> range:
        """Return the ids of the latest 10,000 rounds. ``error`` says why no endpoint lists accounts, and is logged."""
        logger.debug("Reading rounds by their ids: %s", error.message)
        count = await self.count()
        return range(max(0, count - _LISTED_BY_ID), count)

    def _decode_round(self, data: bytes) -> Round:
        found = self.dialect.decode_round(data)
        _check_round_id(found.id)
        if found.reward_amount > _MOST_LAMPORTS:
            raise wrong_answer(f"The RPC endpoint returned the impossible reward of {found.reward_amount} lamports.")
        return found

    def _decode_submission(self, data: bytes) -> Submission:
        found = self.dialect.decode_submission(data)
        _check_round_id(found.round_id)
        if found.contribution_bps > BPS_DENOMINATOR:
            raise wrong_answer(
                f"The RPC endpoint returned the impossible share of {found.contribution_bps} basis points."
            )
        return found

    def _round_of(self, round_id: int) -> Callable[[bytes], Round]:
        """Return a decoder for the round ``round_id``. It raises `DecodeError` if the bytes are another round."""

        def decode(data: bytes) -> Round:
            found = self._decode_round(data)
            if found.id != round_id:
                raise wrong_answer(f"The RPC endpoint returned round {found.id} instead of round {round_id}.")
            return found

        return decode

    def _submission_of(self, round_id: int, trainer: Pubkey) -> Callable[[bytes], Submission]:
        """Return a decoder for a trainer's submission in a round. It raises `DecodeError` for any other submission."""

        def decode(data: bytes) -> Submission:
            found = self._decode_submission(data)
            if (found.round_id, found.trainer) != (round_id, trainer):
                raise wrong_answer(
                    f"The RPC endpoint returned the wrong submission for this trainer in round {round_id}."
                )
            return found

        return decode

    async def _read(self, address: Pubkey, decode: Callable[[bytes], T]) -> T | None:
        return self._decoded(address, await self.rpc.account(address), decode)

    def _decoded(self, address: Pubkey, account: Account | None, decode: Callable[[bytes], T]) -> T | None:
        if account is None:
            return None
        if account.owner == Pubkey.default() and not account.data:
            return None  # somebody sent lamports to the address, but the program has not created the account there
        return self._decode(address, account, decode)

    async def _list(self, filters: Filters, decode: Callable[[bytes], T], *, replaceable: bool = True) -> list[T]:
        accounts = await self.rpc.program_accounts(self.dialect.program_id, filters, replaceable=replaceable)
        return self._decodable(accounts, decode)

    def _decodable(self, accounts: Iterable[tuple[Pubkey, Account]], decode: Callable[[bytes], T]) -> list[T]:
        found: list[T] = []
        for address, account in accounts:
            try:
                found.append(self._decode(address, account, decode))
            except DecodeError as error:
                logger.warning("Skipped the account %s: %s", address, error)
        return found

    def _decode(self, address: Pubkey, account: Account, decode: Callable[[bytes], T]) -> T:
        if account.owner != self.dialect.program_id:
            raise DecodeError(
                f"The account {address} belongs to {account.owner}, not to the program {self.dialect.program_id}.",
                fix="Check network.program_id.",
            )
        return decode(account.data)


def _check_round_id(round_id: int) -> None:
    """Refuse the number of a round that the journal cannot store. The program counts from 0, so no round has it."""
    if round_id > MOST_STORABLE:
        raise wrong_answer(f"The RPC endpoint returned the impossible round number {round_id}.")
