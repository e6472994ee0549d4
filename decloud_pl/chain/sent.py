"""Transactions that the chain has executed, read from an endpoint that keeps a transaction history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.instruction import AccountMeta, Instruction
from solders.transaction import VersionedTransaction

if TYPE_CHECKING:
    from solders.rpc.responses import GetTransactionResp


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A successful transaction.

    Attributes:
        signature: the signature, base58.
        slot: the slot of its block.
        at: the time of its block in Unix seconds, or None if the endpoint does not report it.
        instructions: the instructions that the sender wrote, without the instructions that programs call. An account
            from an address lookup table is replaced by the address of the system program.
    """

    signature: str
    slot: int
    at: int | None
    instructions: tuple[Instruction, ...]


def sent_transaction(signature: str, answer: GetTransactionResp) -> SentTransaction | None:
    """Return the transaction in an endpoint's answer, or None if the answer contains no transaction."""
    from solders.transaction_status import EncodedTransactionWithStatusMeta

    read = answer.value
    if read is None or not isinstance(read.transaction, EncodedTransactionWithStatusMeta):
        return None
    transaction = read.transaction.transaction
    if not isinstance(transaction, VersionedTransaction):
        return None
    return SentTransaction(signature, read.slot, read.block_time, _instructions(transaction))


def _instructions(transaction: VersionedTransaction) -> tuple[Instruction, ...]:
    keys = transaction.message.account_keys
    unknown = AccountMeta(keys[0].default(), is_signer=False, is_writable=False)

    def account(index: int) -> AccountMeta:
        return AccountMeta(keys[index], is_signer=False, is_writable=False) if index < len(keys) else unknown

    return tuple(
        Instruction(keys[entry.program_id_index], bytes(entry.data), [account(index) for index in entry.accounts])
        for entry in transaction.message.instructions
        if entry.program_id_index < len(keys)
    )
