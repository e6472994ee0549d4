"""A Solana chain with one validator.

`LiteSVM` executes transactions; this module adds time, blockhashes, history and storage.

Everything runs in one thread, the event loop's thread. LiteSVM must not be shared between threads.

Commitment: the chain has no forks and no votes. ``processed`` and ``confirmed`` therefore both mean the newest state,
and a transaction is ``finalized`` 32 slots after its execution.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata
from solders.transaction_status import TransactionErrorType

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.clock import Clock
from decloud_pl.localnet.errors_json import ALREADY_PROCESSED, BLOCKHASH_NOT_FOUND, error_json, was_executed
from decloud_pl.localnet.execution import Simulation, inner_instructions, return_data, writable_keys
from decloud_pl.localnet.ledger import Executed, Ledger

logger = logging.getLogger(__name__)

SLOT_SECONDS = 0.4
BLOCKHASH_WINDOW = 150
FINALITY_SLOTS = 32
_FAUCET_LAMPORTS = 900_000_000_000_000
_FIRST_SLOT = 1000
_NOW = "now"

Changed = dict[Pubkey, "Account | None"]
Listener = Callable[[Executed, Changed], None]


class Vm:
    """The chain.

    Args:
        clock: the chain's clock.
        programs: the shared object of each program, by the program's address.
        genesis: addresses of accounts that exist from the start, each with the rent-exempt minimum of an empty account.
        state: the file that keeps the state across restarts, None to keep it only in memory.

    Raises:
        LocalnetError: the state file cannot be used.
    """

    def __init__(
        self,
        clock: Clock,
        programs: Mapping[Pubkey, bytes],
        *,
        genesis: Sequence[Pubkey] = (),
        state: Path | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = Ledger(state)
        try:
            self._start(programs, genesis)
        except BaseException:  # only the constructor can close the ledger at this point
            self._ledger.close()
            raise

    def _start(self, programs: Mapping[Pubkey, bytes], genesis: Sequence[Pubkey]) -> None:
        # This class checks signatures, blockhashes and duplicates itself: LiteSVM accepts only its own newest
        # blockhash, and could not simulate unsigned transactions.
        self._svm = LiteSVM().with_transaction_history(0)
        self._svm = self._svm.with_sigverify(False).with_blockhash_check(False)  # noqa: FBT003 (positional only)
        for address, shared_object in programs.items():
            self.deploy(address, shared_object)
        self._seed = self._remembered("seed", lambda: os.urandom(32))
        self._faucet = Keypair.from_seed(self._remembered("faucet", lambda: os.urandom(32)))
        self._behind = 0.0
        self._time_is_kept = True
        self._origin = self._time_origin()
        self._slot = _FIRST_SLOT
        self._sequence = self._ledger.last_sequence()
        self._airdrops = 0
        self._listeners: list[Listener] = []
        self._restore()
        self._create(self._faucet.pubkey(), _FAUCET_LAMPORTS)
        for address in genesis:
            self._create(address, self.rent_exempt_minimum(0))
        self.advance()

    def deploy(self, address: Pubkey, shared_object: bytes) -> None:
        """Deploy a shared object at an address, replacing any program there. Accounts owned by the program stay."""
        self._svm.add_program(address, shared_object)

    # Time

    def advance(self) -> int:
        """Advance the slot and the clock sysvar to the current time; return the slot."""
        now = self._clock.now() + self._behind
        slot = max(self._slot, _FIRST_SLOT + int((now - self._origin) / SLOT_SECONDS))
        if slot != self._slot:
            self._slot = slot
            self._keep_time(now)
        clock = self._svm.get_clock()
        clock.slot = self._slot
        clock.unix_timestamp = max(int(now), clock.unix_timestamp)
        self._svm.set_clock(clock)
        return self._slot

    def _keep_time(self, now: float) -> None:
        """Save the chain's time. If that fails, only log a warning, because no transaction depends on this time yet."""
        try:
            self._ledger.set_fact(_NOW, repr(now).encode())
        except LocalnetError as error:
            if self._time_is_kept:  # warn once, not at every slot
                logger.warning("%s", error)
            self._time_is_kept = False
        else:
            self._time_is_kept = True

    @property
    def slot(self) -> int:
        return self._slot

    def slot_at(self, commitment: str) -> int:
        """Return the newest slot that has reached a commitment."""
        return max(0, self._slot - FINALITY_SLOTS) if commitment == "finalized" else self._slot

    @property
    def unix_time(self) -> int:
        return int(self._svm.get_clock().unix_timestamp)

    def time_of(self, slot: int) -> int:
        """Return when a slot began, in Unix seconds."""
        return int(self._origin + (slot - _FIRST_SLOT) * SLOT_SECONDS)

    @property
    def genesis_hash(self) -> str:
        return str(Hash(hashlib.sha256(b"genesis" + self._seed).digest()))

    def blockhash(self, slot: int) -> Hash:
        """Return the blockhash of a slot. Without the network's secret seed, nobody can predict it."""
        return Hash(hashlib.sha256(self._seed + slot.to_bytes(8, "little")).digest())

    def is_blockhash_valid(self, blockhash: Hash, *, at: int | None = None) -> bool:
        """Return whether a transaction with this blockhash can still land in slot ``at``, by default the newest."""
        newest = self._slot if at is None else at
        oldest = max(0, newest - BLOCKHASH_WINDOW)
        return any(self.blockhash(slot) == blockhash for slot in range(newest, oldest - 1, -1))

    # State

    def account(self, address: Pubkey) -> Account | None:
        account = self._svm.get_account(address)
        return account if account is not None and (account.lamports or account.data) else None

    def set_account(self, address: Pubkey, account: Account) -> None:
        """Store an account, as ``solana-test-validator --account`` does. The account survives a restart."""
        self._svm.set_account(address, account)
        self._ledger.keep(address, account)

    def balance(self, address: Pubkey) -> int:
        return self._svm.get_balance(address) or 0

    def program_accounts(self, owner: Pubkey) -> list[tuple[Pubkey, Account]]:
        return list(self._svm.get_program_accounts(owner))

    def rent_exempt_minimum(self, size: int) -> int:
        return int(self._svm.minimum_balance_for_rent_exemption(size))

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def listen(self, listener: Listener) -> None:
        """After every executed transaction, call ``listener`` with the transaction and its writable accounts."""
        self._listeners.append(listener)

    def close(self) -> None:
        self._ledger.close()

    # Transactions

    def check(self, transaction: VersionedTransaction) -> TransactionErrorType | None:
        """Return why a transaction cannot run: its blockhash is not valid, or it has landed before. None if it can."""
        if not self.is_blockhash_valid(transaction.message.recent_blockhash):
            return BLOCKHASH_NOT_FOUND
        if self._ledger.transaction(str(transaction.signatures[0])) is not None:
            return ALREADY_PROCESSED
        return None

    def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Execute a transaction, but keep no effects. The caller must check the blockhash and the signatures."""
        self.advance()
        result = self._svm.simulate_transaction(transaction)
        meta = result.meta()
        error = result.err() if isinstance(result, FailedTransactionMetadata) else None
        after = {} if isinstance(result, FailedTransactionMetadata) else dict(result.post_accounts())
        return Simulation(error, list(meta.logs()), meta.compute_units_consumed(), return_data(meta), after)

    def execute(self, transaction: VersionedTransaction) -> TransactionErrorType | None:
        """Execute a transaction with verified signatures. Save it if it paid its fee, even if it failed.

        Returns:
            The transaction's error, None if it succeeded.

        Raises:
            LocalnetError: the state cannot be written. The transaction then has no effect.
        """
        self.advance()
        error = self.check(transaction)
        if error is not None:
            return error
        before = {key: self.account(key) for key in transaction.message.account_keys}
        result = self._svm.send_transaction(transaction)
        meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
        error = result.err() if isinstance(result, FailedTransactionMetadata) else None
        if error is not None and not was_executed(error):
            return error
        try:
            self._keep(transaction, before, meta, error)
        except LocalnetError:
            # The state in memory must match the state after a restart, so undo the changes.
            for key in writable_keys(transaction):
                self._svm.set_account(key, before[key] or Account(0, b"", Pubkey.default()))
            raise
        return error

    def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """Send lamports from the faucet in an ordinary transaction.

        Raises:
            ValueError: the amount is more than the faucet can give.
            LocalnetError: see `execute`.
        """
        self._airdrops += 1
        # A different limit each time gives equal airdrops in one slot different signatures.
        distinct = set_compute_unit_limit(10_000 + self._airdrops % 100_000)
        give = transfer(TransferParams(from_pubkey=self._faucet.pubkey(), to_pubkey=address, lamports=lamports))
        self.advance()
        message = MessageV0.try_compile(self._faucet.pubkey(), [distinct, give], [], self.blockhash(self._slot))
        transaction = VersionedTransaction(message, [self._faucet])
        if self.execute(transaction) is not None:
            raise ValueError(f"The faucet cannot send {lamports} lamports. Request less.")
        return transaction.signatures[0]

    def _keep(
        self,
        transaction: VersionedTransaction,
        before: Mapping[Pubkey, Account | None],
        meta: TransactionMetadata,
        error: TransactionErrorType | None,
    ) -> None:
        keys = list(before)
        details = {
            "fee": meta.fee(),
            "preBalances": [0 if account is None else account.lamports for account in before.values()],
            "postBalances": [self.balance(key) for key in keys],
            "logMessages": list(meta.logs()),
            "innerInstructions": inner_instructions(meta),
            "computeUnitsConsumed": meta.compute_units_consumed(),
            "returnData": return_data(meta),
        }
        executed = Executed(
            self._sequence + 1,
            str(transaction.signatures[0]),
            self._slot,
            self.unix_time,
            None if error is None else error_json(error),
            bytes(transaction),
            details,
        )
        changed = {key: self.account(key) for key in writable_keys(transaction)}
        self._ledger.append(executed, keys, changed.items())
        self._sequence += 1
        for listener in self._listeners:
            listener(executed, changed)

    # Restarts

    def _remembered(self, name: str, make: Callable[[], bytes]) -> bytes:
        value = self._ledger.fact(name)
        if value is None:
            value = make()
            self._ledger.set_fact(name, value)
        return value

    def _time_origin(self) -> float:
        """Return the time of the chain's first slot, in Unix seconds. It stays the same across restarts.

        The current slot is computed from the time since then, so the slot number also grows while the network is
        stopped.
        """
        return float(self._remembered("origin", lambda: repr(self._clock.now()).encode()).decode())

    def _restore(self) -> None:
        # The clock may have run faster before the restart. The chain's time must not go back.
        now = self._ledger.fact(_NOW)
        reached = self._origin if now is None else float(now.decode())
        self._behind = max(0.0, reached - self._clock.now())
        for address, account in self._ledger.accounts():
            self._svm.set_account(address, account)

    def _create(self, address: Pubkey, lamports: int) -> None:
        """Create an empty account, owned by the system program, at an address that has no account yet."""
        if self._svm.get_account(address) is None:
            self.set_account(address, Account(lamports, b"", Pubkey.default()))
