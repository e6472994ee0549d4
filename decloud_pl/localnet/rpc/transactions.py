"""RPC methods that send, simulate and look up transactions."""

from __future__ import annotations

import base64
from typing import Any

from solders.message import Message, MessageV0
from solders.transaction import VersionedTransaction

from decloud_pl.localnet.errors_json import error_json
from decloud_pl.localnet.execution import Simulation
from decloud_pl.localnet.fees import fee_of
from decloud_pl.localnet.ledger import Executed
from decloud_pl.localnet.rpc import params as p
from decloud_pl.localnet.rpc.accounts import account_json, in_context
from decloud_pl.localnet.rpc.encode import transaction_json
from decloud_pl.localnet.rpc.jsonrpc import (
    INVALID_REQUEST,
    PREFLIGHT_FAILURE,
    SIGNATURE_FAILURE,
    Method,
    RpcError,
    invalid,
)
from decloud_pl.localnet.vm import BLOCKHASH_WINDOW, FINALITY_SLOTS, Vm

_MAX_STATUSES = 256
_MAX_SIGNATURES = 1000
_RECENT_FEES = 150
_SIGNATURES_FAILED = "Transaction signature verification failure"


def transaction_methods(vm: Vm) -> dict[str, Method]:
    """Return this module's RPC methods for the chain ``vm``, by name."""

    def send_transaction(params: list[Any]) -> Any:
        vm.advance()
        encoded, config = p.text(params, 0, "transaction"), p.options(params, 1)
        transaction = p.transaction(p.wire(encoded, config.get("encoding") or "base58"))
        p.commitment(config, name="preflightCommitment", newest_slot=vm.slot)
        if config.get("maxRetries") is not None:
            p.number(config["maxRetries"], "maxRetries")
        if not _verified(transaction):
            raise RpcError(SIGNATURE_FAILURE, _SIGNATURES_FAILED)
        signature = str(transaction.signatures[0])
        if not config.get("skipPreflight"):
            _preflight(vm, transaction)
        # As on a real network, the response only says that the transaction was accepted. A transaction that has
        # already landed, or whose blockhash is too old, has no effect.
        vm.execute(transaction)
        return signature

    def simulate_transaction(params: list[Any]) -> Any:
        vm.advance()
        encoded, config = p.text(params, 0, "transaction"), p.options(params, 1)
        transaction = p.transaction(p.wire(encoded, config.get("encoding") or "base58"))
        slot = vm.slot_at(p.commitment(config, newest_slot=vm.slot))
        replace, verify = bool(config.get("replaceRecentBlockhash")), bool(config.get("sigVerify"))
        if verify and replace:
            raise invalid("sigVerify may not be used with replaceRecentBlockhash")
        if verify and not _verified(transaction):
            raise RpcError(SIGNATURE_FAILURE, _SIGNATURES_FAILED)
        error = None if replace else vm.check(transaction)
        outcome = vm.simulate(transaction) if error is None else Simulation(error, [], 0)
        value = _simulation(outcome)
        if replace:
            value["replacementBlockhash"] = {
                "blockhash": str(vm.blockhash(vm.slot)),
                "lastValidBlockHeight": vm.slot + BLOCKHASH_WINDOW,
            }
        if isinstance(config.get("accounts"), dict):
            value["accounts"] = _accounts(vm, outcome, config["accounts"])
        return in_context(slot, value)

    def get_statuses(params: list[Any]) -> Any:
        vm.advance()
        signatures = p.argument(params, 0, "signatures")
        if not isinstance(signatures, list) or len(signatures) > _MAX_STATUSES:
            raise invalid(f"Too many inputs provided; max {_MAX_STATUSES}")
        found = (vm.ledger.transaction(str(p.signature(signature))) for signature in signatures)
        return in_context(vm.slot, [None if executed is None else status_json(vm, executed) for executed in found])

    def get_transaction(params: list[Any]) -> Any:
        vm.advance()
        signature = p.signature(p.argument(params, 0, "signature"))
        config = params[1] if len(params) > 1 else None
        config = {"encoding": config} if isinstance(config, str) else p.options(params, 1)
        commitment = p.commitment(config)
        if commitment == "processed":
            raise invalid("Method does not support commitment below `confirmed`")
        executed = vm.ledger.transaction(str(signature))
        if executed is None or executed.slot > vm.slot_at(commitment):
            return None
        return transaction_json(executed, config)

    def get_signatures_for_address(params: list[Any]) -> Any:
        vm.advance()
        address, config = p.pubkey(p.argument(params, 0, "address")), p.options(params, 1)
        asked = config.get("limit")
        limit = _MAX_SIGNATURES if asked is None else p.number(asked, "limit")
        if not 0 < limit <= _MAX_SIGNATURES:
            raise invalid(f"Invalid limit; max {_MAX_SIGNATURES}")
        newest = vm.slot_at(p.commitment(config, newest_slot=vm.slot))
        before, until = _sequence(vm, config.get("before")), _sequence(vm, config.get("until"))
        if config.get("before") and before is None:
            return []
        entries = vm.ledger.mentions(address, before=before, until=until or 0, newest_slot=newest, limit=limit)
        return [
            {
                "signature": entry.signature,
                "slot": entry.slot,
                "err": entry.error,
                "memo": None,
                "blockTime": entry.unix_time,
                "confirmationStatus": _confirmation(vm, entry),
            }
            for entry in entries
        ]

    def get_fee_for_message(params: list[Any]) -> Any:
        vm.advance()
        message = _message(p.text(params, 0, "message"))
        slot = vm.slot_at(p.commitment(p.options(params, 1), newest_slot=vm.slot))
        if not vm.is_blockhash_valid(message.recent_blockhash):
            return in_context(slot, None)
        return in_context(slot, fee_of(message))

    def get_prioritization_fees(params: list[Any]) -> Any:
        vm.advance()
        if params and not isinstance(params[0], list):
            raise invalid("addresses must be an array")
        # Blocks are never full on this chain, so no transaction has to pay a priority fee.
        first = max(0, vm.slot - _RECENT_FEES + 1)
        return [{"slot": slot, "prioritizationFee": 0} for slot in range(first, vm.slot + 1)]

    def request_airdrop(params: list[Any]) -> Any:
        address = p.pubkey(p.argument(params, 0, "address"))
        lamports = p.number(p.argument(params, 1, "lamports"), "lamports")
        try:
            return str(vm.airdrop(address, lamports))
        except ValueError as error:
            raise RpcError(INVALID_REQUEST, str(error)) from None

    return {
        "sendTransaction": send_transaction,
        "simulateTransaction": simulate_transaction,
        "getSignatureStatuses": get_statuses,
        "getTransaction": get_transaction,
        "getSignaturesForAddress": get_signatures_for_address,
        "getFeeForMessage": get_fee_for_message,
        "getRecentPrioritizationFees": get_prioritization_fees,
        "requestAirdrop": request_airdrop,
    }


def status_json(vm: Vm, executed: Executed) -> dict[str, Any]:
    """Return one entry of the ``getSignatureStatuses`` result."""
    confirmation = _confirmation(vm, executed)
    return {
        "slot": executed.slot,
        "confirmations": None if confirmation == "finalized" else vm.slot - executed.slot,
        "err": executed.error,
        "status": {"Ok": None} if executed.error is None else {"Err": executed.error},
        "confirmationStatus": confirmation,
    }


def _confirmation(vm: Vm, executed: Executed) -> str:
    return "finalized" if vm.slot - executed.slot >= FINALITY_SLOTS else "confirmed"


def _verified(transaction: VersionedTransaction) -> bool:
    return len(transaction.signatures) == transaction.message.header.num_required_signatures and all(
        transaction.verify_with_results()
    )


def _preflight(vm: Vm, transaction: VersionedTransaction) -> None:
    """Simulate a transaction, and raise JSON-RPC error -32002 if it fails."""
    error = vm.check(transaction)
    outcome = vm.simulate(transaction) if error is None else Simulation(error, [], 0)
    if outcome.error is None:
        return
    reason = _reason(error_json(outcome.error))
    raise RpcError(PREFLIGHT_FAILURE, f"Transaction simulation failed: {reason}", _simulation(outcome))


def _reason(error: Any) -> str:
    if isinstance(error, dict) and "InstructionError" in error:
        index, inner = error["InstructionError"]
        if isinstance(inner, dict) and "Custom" in inner:
            return f"Error processing Instruction {index}: custom program error: {inner['Custom']:#x}"
        return f"Error processing Instruction {index}: {inner}"
    return {
        "BlockhashNotFound": "Blockhash not found",
        "AlreadyProcessed": "This transaction has already been processed",
        "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
        "InsufficientFundsForFee": "Insufficient funds for fee",
    }.get(str(error), str(error))


def _simulation(outcome: Simulation) -> dict[str, Any]:
    return {
        "err": None if outcome.error is None else error_json(outcome.error),
        "logs": outcome.logs,
        "accounts": None,
        "unitsConsumed": outcome.units,
        "returnData": outcome.return_data,
        "innerInstructions": None,
        "replacementBlockhash": None,
    }


def _accounts(vm: Vm, outcome: Simulation, wanted: dict[str, Any]) -> list[Any]:
    addresses = wanted.get("addresses") or []
    if not isinstance(addresses, list):
        raise invalid("addresses must be an array")
    config = {"encoding": wanted.get("encoding") or "base64"}
    return [
        account_json(outcome.post_accounts.get(p.pubkey(address), vm.account(p.pubkey(address))), config)
        for address in addresses
    ]


def _sequence(vm: Vm, signature: Any) -> int | None:
    if signature is None:
        return None
    executed = vm.ledger.transaction(str(p.signature(signature)))
    return None if executed is None else executed.sequence


def _message(encoded: str) -> Message | MessageV0:
    try:
        data = base64.b64decode(encoded, validate=True)
        return MessageV0.from_bytes(data[1:]) if data[:1] >= b"\x80" else Message.from_bytes(data)
    except ValueError:
        raise invalid("the message cannot be decoded") from None
