"""Parse and check request parameters. Invalid parameters raise `RpcError` -32602."""

from __future__ import annotations

import base64
from typing import Any

import base58
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.localnet.rpc.jsonrpc import MIN_CONTEXT_SLOT, RpcError, invalid
from decloud_pl.localnet.vm import FINALITY_SLOTS

MAX_TRANSACTION_BYTES = 1232
_LONGEST_BASE58 = 1683
_LONGEST_BASE64 = 1644
_COMMITMENTS = {name: name for name in ("processed", "confirmed", "finalized")} | {
    "recent": "processed",
    "single": "confirmed",
    "singleGossip": "confirmed",
    "root": "finalized",
    "max": "finalized",
}
_MAX_U64 = (1 << 64) - 1


def argument(params: list[Any], index: int, what: str) -> Any:
    """Return a required positional parameter."""
    if index >= len(params):
        raise invalid(f"missing {what}")
    return params[index]


def text(params: list[Any], index: int, what: str) -> str:
    value = argument(params, index, what)
    if not isinstance(value, str):
        raise invalid(f"{what} must be a string")
    return value


def number(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_U64:
        raise invalid(f"{what} must be an unsigned integer")
    return value


def options(params: list[Any], index: int) -> dict[str, Any]:
    """Return the optional configuration object, empty if the request has none."""
    value = params[index] if index < len(params) else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("the configuration must be an object")
    return value


def pubkey(value: Any) -> Pubkey:
    try:
        return Pubkey.from_string(value)
    except (ValueError, TypeError):
        raise invalid("Invalid public key") from None


def signature(value: Any) -> Signature:
    try:
        return Signature.from_string(value)
    except (ValueError, TypeError):
        raise invalid("Invalid signature") from None


def blockhash(value: Any) -> Hash:
    try:
        return Hash.from_string(value)
    except (ParseHashError, TypeError):
        raise invalid("Invalid hash") from None


def commitment(config: dict[str, Any], *, name: str = "commitment", newest_slot: int | None = None) -> str:
    """Return the requested commitment; check ``minContextSlot`` against that commitment's newest slot."""
    asked = config.get(name) or "finalized"
    value = _COMMITMENTS.get(asked) if isinstance(asked, str) else None
    if value is None:
        raise invalid(f"unknown commitment `{asked}`")
    wanted = config.get("minContextSlot")
    if wanted is not None and newest_slot is not None:
        reached = newest_slot - FINALITY_SLOTS if value == "finalized" else newest_slot
        if number(wanted, "minContextSlot") > reached:
            raise RpcError(MIN_CONTEXT_SLOT, "Minimum context slot has not been reached", {"contextSlot": reached})
    return value


def wire(encoded: str, encoding: object) -> bytes:
    """Decode a transaction to its bytes, which must fit in a network packet."""
    limits = {"base58": _LONGEST_BASE58, "base64": _LONGEST_BASE64}
    longest = limits.get(encoding) if isinstance(encoding, str) else None
    if longest is None:
        raise invalid(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    if len(encoded) > longest:
        raise invalid(
            f"encoded solana_transaction::versioned::VersionedTransaction too large: {len(encoded)} bytes"
            f" (max: encoded/raw {longest}/{MAX_TRANSACTION_BYTES})"
        )
    try:
        data = base58.b58decode(encoded) if encoding == "base58" else base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise invalid(f"invalid {encoding} encoding: {error}") from None
    if len(data) > MAX_TRANSACTION_BYTES:
        raise invalid(
            f"decoded solana_transaction::versioned::VersionedTransaction too large: {len(data)} bytes"
            f" (max: {MAX_TRANSACTION_BYTES} bytes)"
        )
    return data


def transaction(data: bytes) -> VersionedTransaction:
    try:
        decoded = VersionedTransaction.from_bytes(data)
        if bytes(decoded) != data:
            raise ValueError
        decoded.sanitize()
    except (ValueError, AttributeError):
        raise invalid("failed to deserialize solana_transaction::versioned::VersionedTransaction") from None
    return decoded
