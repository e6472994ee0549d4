"""Transaction errors in the JSON form that Solana's RPC uses."""

from __future__ import annotations

from typing import Any

from solders.transaction_status import (
    InstructionErrorBorshIO,
    InstructionErrorCustom,
    TransactionErrorDuplicateInstruction,
    TransactionErrorFieldless,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
    TransactionErrorType,
)


def error_json(error: TransactionErrorType) -> Any:
    """Convert an error, for example to ``{"InstructionError": [0, {"Custom": 6000}]}`` or ``"BlockhashNotFound"``."""
    if isinstance(error, TransactionErrorInstructionError):
        inner = error.err
        if isinstance(inner, InstructionErrorCustom):
            return {"InstructionError": [error.index, {"Custom": inner.code}]}
        if isinstance(inner, InstructionErrorBorshIO):
            return {"InstructionError": [error.index, "BorshIoError"]}
        return {"InstructionError": [error.index, _name(inner)]}
    if isinstance(error, TransactionErrorDuplicateInstruction):
        return {"DuplicateInstruction": error.index}
    if isinstance(error, TransactionErrorInsufficientFundsForRent):
        return {"InsufficientFundsForRent": {"account_index": error.account_index}}
    return _name(error)


def was_executed(error: TransactionErrorType) -> bool:
    """Return whether a transaction with this error still goes into a block and pays its fee."""
    return isinstance(error, (TransactionErrorInstructionError, TransactionErrorInsufficientFundsForRent))


BLOCKHASH_NOT_FOUND = TransactionErrorFieldless.BlockhashNotFound
ALREADY_PROCESSED = TransactionErrorFieldless.AlreadyProcessed


def _name(value: object) -> str:
    return str(value).rsplit(".", 1)[-1]
