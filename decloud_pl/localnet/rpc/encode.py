"""Encode the ledger's transactions for ``getTransaction``."""

from __future__ import annotations

import base64
from typing import Any

import base58
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from decloud_pl.localnet.execution import instruction_json, writable_keys
from decloud_pl.localnet.ledger import Executed
from decloud_pl.localnet.rpc import params as p
from decloud_pl.localnet.rpc.jsonrpc import UNSUPPORTED_VERSION, RpcError, invalid


def transaction_json(executed: Executed, config: dict[str, Any]) -> dict[str, Any]:
    """Return the result of ``getTransaction`` in the requested encoding."""
    transaction = VersionedTransaction.from_bytes(executed.wire)
    versioned = isinstance(transaction.message, MessageV0)
    newest = config.get("maxSupportedTransactionVersion")
    if versioned and newest is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the request again with "
            'the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    if newest is not None:
        p.number(newest, "maxSupportedTransactionVersion")
    failed = executed.error is not None
    encoding = config.get("encoding") or "json"
    meta = {
        **executed.meta,
        "err": executed.error,
        "status": {"Err": executed.error} if failed else {"Ok": None},
        "preTokenBalances": [],
        "postTokenBalances": [],
        "rewards": [],
        "loadedAddresses": {"readonly": [], "writable": []},
    }
    if meta.get("returnData") is None:
        meta.pop("returnData", None)
    if encoding == "jsonParsed":
        keys = [str(key) for key in transaction.message.account_keys]
        meta["innerInstructions"] = [
            {**group, "instructions": [_named(entry, keys) for entry in group["instructions"]]}
            for group in executed.meta["innerInstructions"]
        ]
    answer: dict[str, Any] = {
        "slot": executed.slot,
        "blockTime": executed.unix_time,
        "transaction": _encoded(transaction, executed.wire, encoding),
        "meta": meta,
    }
    if newest is not None:
        answer["version"] = 0 if versioned else "legacy"
    return answer


def _encoded(transaction: VersionedTransaction, wire: bytes, encoding: object) -> Any:
    if encoding == "base64":
        return [base64.b64encode(wire).decode(), "base64"]
    if encoding == "base58":
        return [base58.b58encode(wire).decode(), "base58"]
    if encoding not in ("json", "jsonParsed"):
        raise invalid(f"unsupported encoding: {encoding}")
    message = transaction.message
    header = message.header
    keys = [str(key) for key in message.account_keys]
    instructions = [instruction_json(entry, None) for entry in message.instructions]
    shown: dict[str, Any] = {"recentBlockhash": str(message.recent_blockhash)}
    if encoding == "json":
        shown["header"] = {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        }
        shown["accountKeys"] = keys
        shown["instructions"] = instructions
    else:
        writable = {str(key) for key in writable_keys(transaction)}
        shown["accountKeys"] = [
            {
                "pubkey": key,
                "signer": index < header.num_required_signatures,
                "writable": key in writable,
                "source": "transaction",
            }
            for index, key in enumerate(keys)
        ]
        shown["instructions"] = [_named(entry, keys) for entry in instructions]
    if isinstance(message, MessageV0):
        shown["addressTableLookups"] = []
    return {"signatures": [str(signature) for signature in transaction.signatures], "message": shown}


def _named(instruction: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """Return an instruction with addresses in place of account indices.

    The ``jsonParsed`` encoding shows an instruction in this form if its program has no parser.
    """
    return {
        "programId": keys[instruction["programIdIndex"]],
        "accounts": [keys[account] for account in instruction["accounts"]],
        "data": instruction["data"],
        "stackHeight": instruction["stackHeight"],
    }
