"""The result of a transaction on the local network's VM."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import base58
from solders.account import Account
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata
from solders.transaction_status import TransactionErrorType

from decloud_pl.localnet.ledger import Executed


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of a transaction.

    ``executed`` is None if the transaction was rejected before execution, or only simulated. ``error`` is None if the
    transaction succeeded.
    """

    error: TransactionErrorType | None
    logs: list[str]
    units: int
    return_data: dict[str, Any] | None = None
    executed: Executed | None = None
    post_accounts: dict[Pubkey, Account] = field(default_factory=dict)


def writable_keys(transaction: VersionedTransaction) -> list[Pubkey]:
    """Return the addresses that a transaction may change."""
    header, keys = transaction.message.header, transaction.message.account_keys
    signed = header.num_required_signatures
    return [
        *keys[: signed - header.num_readonly_signed_accounts],
        *keys[signed : len(keys) - header.num_readonly_unsigned_accounts],
    ]


def outcome(
    meta: TransactionMetadata,
    error: TransactionErrorType | None,
    *,
    executed: Executed | None = None,
    post_accounts: dict[Pubkey, Account] | None = None,
) -> Execution:
    """Return the result of a transaction, with its logs, compute units and returned data."""
    return Execution(
        error,
        list(meta.logs()),
        meta.compute_units_consumed(),
        return_data(meta),
        executed,
        post_accounts or {},
    )


def return_data(meta: TransactionMetadata) -> dict[str, Any] | None:
    """Return the data that the transaction's program returned, as the RPC methods show it; None if it returned none."""
    returned = meta.return_data()
    data = bytes(returned.data)
    if not data:
        return None
    return {"programId": str(returned.program_id), "data": [base64.b64encode(data).decode(), "base64"]}


def inner_instructions(meta: TransactionMetadata) -> list[dict[str, Any]]:
    """Return the instructions that the programs invoked, in the form of the RPC method getTransaction."""
    return [
        {
            "index": index,
            "instructions": [
                {
                    "programIdIndex": inner.instruction().program_id_index,
                    "accounts": list(inner.instruction().accounts),
                    "data": base58.b58encode(bytes(inner.instruction().data)).decode(),
                    "stackHeight": inner.stack_height(),
                }
                for inner in group
            ],
        }
        for index, group in enumerate(meta.inner_instructions())
        if group
    ]
