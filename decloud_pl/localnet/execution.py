"""What a transaction did on the local network's VM, or would do."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import base58
from solders.account import Account
from solders.instruction import CompiledInstruction
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata
from solders.transaction_status import TransactionErrorType


@dataclass(frozen=True, slots=True)
class Simulation:
    """The result of a simulated transaction. ``error`` is None if the transaction would succeed."""

    error: TransactionErrorType | None
    logs: list[str]
    units: int
    return_data: dict[str, Any] | None = None
    post_accounts: dict[Pubkey, Account] = field(default_factory=dict)


def writable_keys(transaction: VersionedTransaction) -> list[Pubkey]:
    """Return the addresses that a transaction may change."""
    header, keys = transaction.message.header, transaction.message.account_keys
    signed = header.num_required_signatures
    return [
        *keys[: signed - header.num_readonly_signed_accounts],
        *keys[signed : len(keys) - header.num_readonly_unsigned_accounts],
    ]


def return_data(meta: TransactionMetadata) -> dict[str, Any] | None:
    """Return the data that the transaction's program returned, as the RPC methods show it; None if it returned none."""
    returned = meta.return_data()
    data = bytes(returned.data)
    if not data:
        return None
    return {"programId": str(returned.program_id), "data": [base64.b64encode(data).decode(), "base64"]}


def instruction_json(instruction: CompiledInstruction, stack_height: int | None) -> dict[str, Any]:
    """Return an instruction in the form of the RPC method getTransaction."""
    return {
        "programIdIndex": instruction.program_id_index,
        "accounts": list(instruction.accounts),
        "data": base58.b58encode(bytes(instruction.data)).decode(),
        "stackHeight": stack_height,
    }


def inner_instructions(meta: TransactionMetadata) -> list[dict[str, Any]]:
    """Return the instructions that the programs invoked, in the form of the RPC method getTransaction."""
    return [
        {
            "index": index,
            "instructions": [instruction_json(inner.instruction(), inner.stack_height()) for inner in group],
        }
        for index, group in enumerate(meta.inner_instructions())
        if group
    ]
