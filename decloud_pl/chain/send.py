"""Sending a transaction so that it happens once, whatever is lost on the way.

1. Ask the chain whether the effect is there already (``landed``), and whether something that was signed
   before can still land.
2. Take a blockhash, simulate, set the compute-unit limit and a capped priority fee, sign.
3. Write the signed bytes to the log, then send them; send the same bytes again until the status shows them
   or the blockhash has run out.
4. Only then sign anew.

A second signing while the first could still land is what would do something twice; it never happens here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.chain.rpc import BlockHeight, RpcClient
from decloud_pl.chain.rpc_errors import PreflightFailure
from decloud_pl.chain.transaction_errors import (
    is_already_processed,
    is_blockhash_unknown,
    typed_error,
)
from decloud_pl.chain.transaction_log import Attempt, TransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Receipt
from decloud_pl.errors import ChainError, RpcRejected, RpcUnavailable, TransactionExpired
from decloud_pl.retry import Backoff

T = TypeVar("T")

Landed = Callable[[], Awaitable[bool]]

_MICRO = 1_000_000
_BACKOFF = Backoff(0.5, 10.0)
SIGNATURE_FEE = 5_000
"""Lamports per signature, on every Solana network."""


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """How long to try and how much to pay.

    Attributes:
        poll_seconds: between looks at the status.
        rebroadcast_seconds: between sending the same bytes again.
        retry_seconds: how long an endpoint may be unavailable before `RpcUnavailable` is let through.
        max_signings: how many blockhashes may run out.
        unit_head_room: compute units asked for, relative to those the simulation used.
        fees: the most that a transaction asks for.
    """

    poll_seconds: float = 0.4
    rebroadcast_seconds: float = 2.0
    retry_seconds: float = 60.0
    max_signings: int = 3
    unit_head_room: float = 1.2
    fees: FeeLimits = field(default_factory=FeeLimits)


class Sender:
    """Sends on behalf of one wallet."""

    def __init__(
        self,
        rpc: RpcClient,
        wallet: Wallet,
        dialect: Dialect,
        log: TransactionLog,
        *,
        policy: SendPolicy | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._rpc = rpc
        self._wallet = wallet
        self._dialect = dialect
        self._log = log
        self._policy = policy or SendPolicy()
        self._pace = pace or RealPace()

    async def send(self, instructions: Sequence[Instruction], *, key: str, landed: Landed, deposit: int = 0) -> Receipt:
        """Makes the effect of ``instructions`` happen once.

        Args:
            instructions: what to send.
            key: the intent's name in the log; the same intent must always have the same key.
            landed: reads from the chain whether this wallet's effect is there.
            deposit: lamports that the effect takes from the wallet besides the fee, for the log.

        Returns:
            The transaction that landed; its signature is None when the effect is there and none of the
            logged transactions made it.

        Raises:
            ProgramError: the program refused, and the effect is not there.
            InsufficientFunds: the wallet cannot pay.
            TransactionExpired: every signed transaction ran out without landing.
            RpcUnavailable: the endpoint was away for longer than `SendPolicy.retry_seconds`.
        """
        for _ in range(self._policy.max_signings):
            try:
                receipt = await self._from_earlier(key, landed)
                if receipt is None:
                    receipt = await self._confirm(key, await self._sign(instructions, key, deposit))
            except ChainError as error:
                if not isinstance(error, RpcUnavailable) and await self._retrying(landed):
                    receipt = await self._receipt(key)
                    self._need(receipt)
                    return receipt
                raise
            if receipt is not None:
                self._need(receipt)
                return receipt
        raise TransactionExpired(
            f"The transaction did not land within {self._policy.max_signings} blockhashes.",
            fix="Where the network stays congested, raise chain.max_priority_lamports.",
        )

    def _need(self, receipt: Receipt) -> None:
        """An endpoint that lags behind must not show the state from before the transaction from now on."""
        if receipt.slot is not None:
            self._rpc.need(receipt.slot)

    async def _from_earlier(self, key: str, landed: Landed) -> Receipt | None:
        """The receipt of an earlier signing (by this process or one that crashed), if one has landed or does."""
        if await self._retrying(landed):
            return await self._receipt(key)
        for attempt in self._log.attempts(key):
            # One that has landed is asked about again: the endpoint may not show its effect yet, or a fork lost it.
            if attempt.outcome in ("pending", "landed"):
                receipt = await self._confirm(key, attempt)
                if receipt is not None:
                    return receipt
        return None

    async def _receipt(self, key: str) -> Receipt:
        """Names the transaction behind an effect that is on chain."""
        attempts = self._log.attempts(key)
        signatures = [Signature.from_string(attempt.signature) for attempt in attempts]
        if not signatures:
            return Receipt(None, None)
        statuses = await self._retrying(lambda: self._rpc.signature_statuses(signatures))
        for attempt, status in zip(attempts, statuses.values, strict=True):
            if status is not None and status.error is None:
                self._log.settle(key, attempt.signature, "landed")
                return Receipt(attempt.signature, status.slot)
        return Receipt(None, None)

    async def _sign(self, instructions: Sequence[Instruction], key: str, deposit: int) -> Attempt:
        blockhash, last_valid_block_height = await self._retrying(self._rpc.latest_blockhash)
        draft = self._transaction(instructions, blockhash)
        simulation = await self._retrying(lambda: self._rpc.simulate(draft))
        if simulation.error is not None and not is_blockhash_unknown(simulation.error):
            raise typed_error(simulation.error, self._dialect, simulation.logs)
        budget, priority = await self._budget(instructions, simulation.units)
        transaction = self._transaction([*budget, *instructions], blockhash)
        attempt = Attempt(
            signature=str(transaction.signatures[0]),
            blockhash=str(blockhash),
            last_valid_block_height=last_valid_block_height,
            wire=bytes(transaction),
            fee=SIGNATURE_FEE * len(transaction.signatures) + priority,
            deposit=deposit,
        )
        self._log.record(key, attempt)
        return attempt

    def _transaction(self, instructions: Sequence[Instruction], blockhash: Hash) -> VersionedTransaction:
        message = MessageV0.try_compile(self._wallet.address, list(instructions), [], blockhash)
        return VersionedTransaction(message, [self._wallet.signer])

    async def _budget(self, instructions: Sequence[Instruction], units: int) -> tuple[list[Instruction], int]:
        """Compute-unit limit and priority fee, and that fee in lamports; none where the simulation could not tell."""
        if not units:
            return [], 0
        # The two budget instructions themselves take 150 units each.
        limit = min(int((units + 300) * self._policy.unit_head_room), self._policy.fees.max_compute_units)
        budget = [set_compute_unit_limit(limit)]
        written = {meta.pubkey for entry in instructions for meta in entry.accounts if meta.is_writable}
        try:
            fees = await self._retrying(lambda: self._rpc.priority_fees(sorted(written, key=bytes)))
        except RpcRejected:
            fees = []  # not every provider has this method; the fee is a help, not a need
        price = min(int(median(fees)) if fees else 0, self._policy.fees.max_priority_lamports * _MICRO // limit)
        if price:
            budget.append(set_compute_unit_price(price))
        return budget, -(-price * limit // _MICRO)

    async def _confirm(self, key: str, attempt: Attempt) -> Receipt | None:
        """Sends the same bytes until they land (the receipt) or can no longer do so (None).

        Raises:
            ChainError: the transaction landed with an error, or preflight says that it would.
        """
        signature = Signature.from_string(attempt.signature)
        next_broadcast = self._pace.monotonic()
        height: BlockHeight | None = None
        first = attempt.outcome == "pending"
        while True:
            if self._pace.monotonic() >= next_broadcast:
                await self._broadcast(attempt, preflight=first)
                first = False
                next_broadcast = self._pace.monotonic() + self._policy.rebroadcast_seconds
                # The height is read before the status: one that is out of date can only make us wait longer.
                height = await self._retrying(self._rpc.block_height)
            statuses = await self._retrying(lambda: self._rpc.signature_statuses([signature]))
            status = statuses.values[0]
            if status is not None and status.confirmed:
                if status.error is None:
                    self._log.settle(key, attempt.signature, "landed")
                    return Receipt(attempt.signature, status.slot)
                self._log.settle(key, attempt.signature, "failed")
                raise typed_error(status.error, self._dialect)
            if (
                status is None
                and height is not None
                and height.height > attempt.last_valid_block_height
                and statuses.slot >= height.slot  # an endpoint that lags behind has not seen the last chance
            ):
                self._log.settle(key, attempt.signature, "expired")
                return None
            await self._pace.sleep(self._policy.poll_seconds)

    async def _broadcast(self, attempt: Attempt, *, preflight: bool) -> None:
        try:
            await self._rpc.send_raw(attempt.wire, preflight=preflight)
        except RpcUnavailable:
            return  # it may have arrived all the same; the status will tell
        except PreflightFailure as failure:
            error = failure.error
            if error is None or is_already_processed(error) or is_blockhash_unknown(error):
                return  # landed already, or run out: the status and the height will tell which
            # The attempt stays pending: an earlier broadcast of these bytes may yet land, so until the
            # blockhash has run out they are the only ones that may be sent.
            raise typed_error(error, self._dialect, failure.logs) from failure

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats a read while the endpoint is away, with jittered back-off, up to `SendPolicy.retry_seconds`."""
        deadline = self._pace.monotonic() + self._policy.retry_seconds
        failures = 0
        while True:
            try:
                return await call()
            except RpcUnavailable as error:
                failures += 1
                pause = max(self._pace.jitter(_BACKOFF.after(failures)), error.retry_after or 0)
                if self._pace.monotonic() + pause > deadline:
                    raise
                await self._pace.sleep(pause)
