"""Send a transaction so that its effect happens exactly once, even if messages get lost or this process crashes.

1. Check on chain whether the effect already exists (``landed``), and whether a transaction signed earlier can still
   land.
2. Get a blockhash, simulate, set the compute-unit limit and a limited priority fee, and sign.
3. Write the signed bytes to the log, then send them. Send the same bytes again until they land or the blockhash
   expires.
4. If the blockhash expires before they land, repeat all steps with a new transaction.

The sender never signs a second transaction while the first can still land, because then the effect could happen twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.chain.rpc import BlockHeight, RpcClient, SignatureStatus
from decloud_pl.chain.rpc_errors import PreflightFailure, wrong_answer
from decloud_pl.chain.transaction_errors import (
    is_already_processed,
    is_blockhash_unknown,
    typed_error,
)
from decloud_pl.chain.transaction_log import Attempt, Outcome, TransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Receipt
from decloud_pl.errors import ChainError, RpcRejected, RpcUnavailable, TransactionExpired
from decloud_pl.retry import Backoff

T = TypeVar("T")

Landed = Callable[[], Awaitable[bool]]

_MICRO = 1_000_000
_HEIGHT_SECONDS = 180.0
"""If the block height stays the same for longer, a transaction can neither land nor expire."""
_FIRST_RAISED_PRICE = 10_000
_PRICE_FACTOR, _MOST_RAISES = 4, 8
"""After each transaction that expired, the next one offers a priority fee that is this many times higher."""
_HEAD_ROOM = 1.2
"""The compute units to reserve, as a multiple of those that the simulation used."""
_MOST_VALID_BLOCKS = 300
"""Twice the number of blocks for which Solana accepts a blockhash."""
_STATUSES_PER_REQUEST = 256
"""The most signatures that an endpoint accepts in one request."""
_BACKOFF = Backoff(0.5, 10.0)
SIGNATURE_FEE = 5_000
"""Lamports per signature, on every Solana network."""


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """Limits for the time and the fees of a transaction.

    Attributes:
        poll_seconds: the interval between reads of the transaction's status.
        rebroadcast_seconds: the interval between sends of the same bytes.
        retry_seconds: how long endpoints may be unavailable before `RpcUnavailable` is raised.
        max_signings: how many transactions to sign at most, each with a new blockhash.
        fees: the limits for the fees.
    """

    poll_seconds: float = 0.4
    rebroadcast_seconds: float = 2.0
    retry_seconds: float = 60.0
    max_signings: int = 3
    fees: FeeLimits = field(default_factory=FeeLimits)


class Sender:
    """Sends the transactions of one wallet."""

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
        """Make the effect of ``instructions`` happen once.

        Args:
            instructions: the instructions to send in one transaction.
            key: identifies the effect in the log. Every call for the same effect must have the same key.
            landed: reads from the chain whether the effect exists for this wallet.
            deposit: the lamports that the wallet pays in addition to the fee. They are only written to the log.

        Returns:
            The receipt of the transaction that landed. Its signature is None if the effect exists but no logged
            transaction caused it.

        Raises:
            ProgramError: the program refused the transaction, and the effect does not exist.
            InsufficientFunds: the wallet cannot pay.
            TransactionExpired: every signed transaction expired before it landed.
            RpcUnavailable: the endpoints were unavailable for longer than `SendPolicy.retry_seconds`.
        """
        for _ in range(self._policy.max_signings):
            try:
                receipt = await self._from_earlier(key, landed)
                if receipt is None:
                    receipt = await self._confirm(key, await self._sign(instructions, key, deposit))
            except ChainError as error:
                if isinstance(error, RpcUnavailable) or not await self._retrying(landed):
                    raise
                receipt = await self._receipt(key)
            if receipt is not None:
                if receipt.slot is not None:
                    # An answer for a slot before this one comes from an endpoint that lags behind.
                    self._rpc.need(receipt.slot)
                return receipt
        raise TransactionExpired(
            f"The transaction did not land: {self._policy.max_signings} blockhashes expired.",
            fix="If the network stays congested, raise chain.max_priority_lamports.",
        )

    async def settle(self, keys: Iterable[str]) -> None:
        """Write the outcomes of pending transactions to the log.

        An endpoint without history may not show a transaction that landed long ago. It then counts as expired.

        Raises:
            ChainError: the chain cannot be queried.
        """
        pending = [(key, one) for key in keys for one in self._log.attempts(key) if one.outcome == "pending"]
        if not pending:
            return
        height = await self._rpc.block_height()
        for start in range(0, len(pending), _STATUSES_PER_REQUEST):
            part = pending[start : start + _STATUSES_PER_REQUEST]
            signatures = [Signature.from_string(attempt.signature) for _, attempt in part]
            statuses = await self._rpc.signature_statuses(signatures)
            for (key, attempt), status in zip(part, statuses.values, strict=True):
                outcome = _outcome(attempt, status, statuses.slot, height)
                if outcome != "pending":
                    self._log.settle(key, attempt.signature, outcome)

    async def _from_earlier(self, key: str, landed: Landed) -> Receipt | None:
        """Return a receipt if the transaction with this key already had its effect, or one signed earlier lands.

        Otherwise return None. The earlier transaction may have been signed before a crash.
        """
        if await self._retrying(landed):
            return await self._receipt(key)
        for attempt in self._log.attempts(key):
            # A landed transaction is checked again: the endpoint may not show its effect yet, or a fork dropped it.
            if attempt.outcome in ("pending", "landed"):
                receipt = await self._confirm(key, attempt)
                if receipt is not None:
                    return receipt
        return None

    async def _receipt(self, key: str) -> Receipt:
        """Return the receipt of the logged transaction that caused the effect.

        If no logged transaction caused it, return a receipt whose signature and slot are None.
        """
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
        blocks = last_valid_block_height - (await self._retrying(self._rpc.block_height)).height
        if blocks > _MOST_VALID_BLOCKS:  # the transaction would never count as expired
            raise wrong_answer(f"The RPC endpoint returned a blockhash that is valid for {blocks:,} blocks.")
        draft = unsigned(self._wallet.address, instructions, blockhash)
        simulation = await self._retrying(lambda: self._rpc.simulate(draft))
        if simulation.error is not None and not is_blockhash_unknown(simulation.error):
            raise typed_error(simulation.error, self._dialect, simulation.logs)
        expired = sum(attempt.outcome == "expired" for attempt in self._log.attempts(key))
        budget, priority = await self._budget(instructions, simulation.units, expired)
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

    async def _budget(
        self, instructions: Sequence[Instruction], units: int, expired: int
    ) -> tuple[list[Instruction], int]:
        """Return the instructions that set the compute-unit limit and the priority fee, and that fee in lamports.

        The fee is the median of the recent ones, or more if ``expired`` earlier transactions did not land. Endpoints
        report the lowest fee of each slot, which is often 0, even while the network is congested.

        If the simulation did not report the used units (``units`` is 0), return no instructions and the fee 0.
        """
        if not units:
            return [], 0
        # The two budget instructions use 150 units each.
        limit = min(int((units + 300) * _HEAD_ROOM), self._policy.fees.max_compute_units)
        budget = [set_compute_unit_limit(limit)]
        written = {meta.pubkey for entry in instructions for meta in entry.accounts if meta.is_writable}
        try:
            fees = await self._retrying(lambda: self._rpc.priority_fees(sorted(written, key=bytes)))
        except RpcRejected:
            fees = []  # some providers lack this method, and the transaction can land without the fee
        raised = _FIRST_RAISED_PRICE * _PRICE_FACTOR ** (min(expired, _MOST_RAISES) - 1) if expired else 0
        usual = int(median(fees)) if fees else 0
        price = min(max(usual, raised), self._policy.fees.max_priority_lamports * _MICRO // limit)
        if price:
            budget.append(set_compute_unit_price(price))
        return budget, -(-price * limit // _MICRO)

    async def _confirm(self, key: str, attempt: Attempt) -> Receipt | None:
        """Send the same bytes until they land or the blockhash expires.

        Returns:
            The receipt, or None if the bytes can no longer land.

        Raises:
            ChainError: the transaction landed with an error, or failed in the preflight simulation.
            RpcUnavailable: the chain has stopped, or the endpoint has lost contact with it.
        """
        signature = Signature.from_string(attempt.signature)
        next_broadcast = self._pace.monotonic()
        height: BlockHeight | None = None
        highest, highest_since = -1, next_broadcast
        first = attempt.outcome == "pending"
        while True:
            if self._pace.monotonic() >= next_broadcast:
                await self._broadcast(attempt, first=first)
                first = False
                next_broadcast = self._pace.monotonic() + self._policy.rebroadcast_seconds
                # The height is read before the status, so an outdated height only makes us wait longer.
                height = await self._retrying(self._rpc.block_height)
                if height.height > highest:
                    highest, highest_since = height.height, self._pace.monotonic()
            statuses = await self._retrying(lambda: self._rpc.signature_statuses([signature]))
            status = statuses.values[0]
            outcome = _outcome(attempt, status, statuses.slot, height)
            if outcome != "pending":
                self._log.settle(key, attempt.signature, outcome)
                if status is None:
                    return None
                if status.error is None:
                    return Receipt(attempt.signature, status.slot)
                raise typed_error(status.error, self._dialect)
            if self._pace.monotonic() - highest_since > _HEIGHT_SECONDS:
                raise RpcUnavailable(
                    f"The block height has not changed for {_HEIGHT_SECONDS:.0f} s, so the transaction cannot land.",
                    fix="Wait until the network works again, or set network.rpc_url to another endpoint.",
                )
            await self._pace.sleep(self._policy.poll_seconds)

    async def _broadcast(self, attempt: Attempt, *, first: bool) -> None:
        try:
            await (self._rpc.send_raw(attempt.wire) if first else self._rpc.send_again(attempt.wire))
        except RpcUnavailable:
            return  # the transaction may have arrived nevertheless; the status shows it
        except PreflightFailure as failure:
            error = failure.error
            if error is None or is_already_processed(error) or is_blockhash_unknown(error):
                return  # landed or expired; the status and the height show which
            # The attempt stays pending. An earlier broadcast of these bytes may still land, so the sender must not
            # sign other bytes before the blockhash has expired.
            raise typed_error(error, self._dialect, failure.logs) from failure

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        """Retry a read with jittered back-off while no endpoint answers, for up to `SendPolicy.retry_seconds`."""
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


def unsigned(payer: Pubkey, instructions: Sequence[Instruction], blockhash: Hash) -> VersionedTransaction:
    """Return a transaction for a simulation. An endpoint cannot send it, because it has no signature."""
    message = MessageV0.try_compile(payer, list(instructions), [], blockhash)
    return VersionedTransaction.populate(message, [Signature.default()] * message.header.num_required_signatures)


def _outcome(attempt: Attempt, status: SignatureStatus | None, slot: int, height: BlockHeight | None) -> Outcome:
    """Return the outcome of a transaction: ``pending`` if it can still land, or if its status is not confirmed.

    ``status`` was read at ``slot``. ``height`` was read before it; None if no height was read.
    """
    if status is not None:
        if not status.confirmed:
            return "pending"
        return "landed" if status.error is None else "failed"
    if height is None or height.height <= attempt.last_valid_block_height:
        return "pending"
    # A lagging endpoint may not show yet that the transaction landed.
    return "expired" if slot >= height.slot else "pending"
