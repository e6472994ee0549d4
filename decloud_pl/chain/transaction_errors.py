"""Convert transaction errors of the chain into this package's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decloud_pl.chain.anchor import too_few_lamports
from decloud_pl.chain.dialect import Dialect
from decloud_pl.errors import ChainError, ProgramError, RpcRejected

if TYPE_CHECKING:
    from solders.transaction_status import TransactionErrorType


def is_blockhash_unknown(error: TransactionErrorType) -> bool:
    """Return whether the error says that the endpoint does not find the transaction's blockhash."""
    from solders.transaction_status import TransactionErrorFieldless

    return error == TransactionErrorFieldless.BlockhashNotFound


def is_already_processed(error: TransactionErrorType) -> bool:
    """Return whether the error says that the same signed transaction has landed before."""
    from solders.transaction_status import TransactionErrorFieldless

    return error == TransactionErrorFieldless.AlreadyProcessed


def typed_error(error: TransactionErrorType, dialect: Dialect, logs: tuple[str, ...] = ()) -> ChainError:
    """Convert a transaction error to an exception of this package.

    The result is `ProgramError` if an instruction failed, `InsufficientFunds` if the wallet cannot pay, and otherwise
    `RpcRejected`. A custom error code of an instruction may also mean `InsufficientFunds`.
    """
    from solders.transaction_status import (
        InstructionErrorCustom,
        TransactionErrorFieldless,
        TransactionErrorInstructionError,
        TransactionErrorInsufficientFundsForRent,
    )

    if isinstance(error, TransactionErrorInstructionError):
        if isinstance(error.err, InstructionErrorCustom):
            return dialect.error(error.err.code, logs)
        reason = str(error.err).rsplit(".", 1)[-1]
        return ProgramError(
            f"The transaction failed in instruction {error.index} ({reason}).",
            code=-1,
            name=reason,
            fix="Check that network.program_id is the DECLOUD program of this network.",
            logs=logs,
        )
    if isinstance(error, TransactionErrorInsufficientFundsForRent) or error in (
        TransactionErrorFieldless.AccountNotFound,
        TransactionErrorFieldless.InsufficientFundsForFee,
    ):
        return too_few_lamports()
    return RpcRejected(
        f"The network refused the transaction ({str(error).rsplit('.', 1)[-1]}).",
        logs=logs,
    )
