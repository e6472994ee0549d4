"""What an RPC endpoint's failures mean: worth another try, or a no.

Messages name the endpoint's host alone: the path or query of a private endpoint often holds an API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decloud_pl.errors import RpcRejected, RpcUnavailable
from decloud_pl.retry import retry_after

if TYPE_CHECKING:
    from solders.transaction_status import TransactionErrorType

_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

# By the class that solders gives an error object; a code that solders does not know comes back as a bare number.
_CODES = {
    "BlockCleanedUpMessage": -32001,
    "SendTransactionPreflightFailureMessage": -32002,
    "BlockNotAvailableMessage": -32004,
    "NodeUnhealthyMessage": -32005,
    "TransactionPrecompileVerificationFailureMessage": -32006,
    "SlotSkippedMessage": -32007,
    "LongTermStorageSlotSkippedMessage": -32009,
    "KeyExcludedFromSecondaryIndexMessage": -32010,
    "ScanErrorMessage": -32012,
    "BlockStatusNotAvailableYetMessage": -32014,
    "UnsupportedTransactionVersionMessage": -32015,
    "MinContextSlotNotReachedMessage": -32016,
    "InvalidRequestMessage": -32600,
    "MethodNotFoundMessage": -32601,
    "InvalidParamsMessage": -32602,
    "InternalErrorMessage": -32603,
    "ParseErrorMessage": -32700,
}
NO_HISTORY = -32011
_FIELDLESS = {
    "TransactionSignatureVerificationFailure": -32003,
    "NoSnapshot": -32008,
    "TransactionHistoryNotAvailable": NO_HISTORY,
    "TransactionSignatureLenMismatch": -32013,
}
"""By the name that solders gives an error object without fields."""
_PASSING = frozenset({-32004, -32005, -32014, -32016, -32603, 429, -32429})
"""Codes of an endpoint that is behind, overloaded or broken for the moment; the last two are providers' own."""


class PreflightFailure(RpcRejected):
    """The endpoint simulated the transaction and it failed; `Sender` turns it into the program's error."""

    def __init__(self, error: TransactionErrorType | None, logs: tuple[str, ...], message: str) -> None:
        super().__init__(f"The transaction would fail: {message.rstrip('.')}.", code=-32002, logs=logs)
        self.error = error


def from_error_object(host: str, reason: Any) -> RpcRejected | RpcUnavailable:  # solders has no base class for these
    """The typed error for a JSON-RPC error object as solders parsed it, or for the code of one it does not know."""
    from solders.rpc.errors import SendTransactionPreflightFailureMessage

    message = str(getattr(reason, "message", "")).rstrip(".")
    if isinstance(reason, SendTransactionPreflightFailureMessage):
        return PreflightFailure(reason.data.err, tuple(reason.data.logs or ()), message)
    name = str(reason).rpartition(".")[2]
    code = reason if isinstance(reason, int) else _CODES.get(type(reason).__name__, _FIELDLESS.get(name))
    if name in _FIELDLESS:
        message = name
    said = ": ".join(part for part in (f"error {code}" if code is not None else "", message) if part)
    if code in _PASSING:
        return RpcUnavailable(f"The RPC endpoint {host} cannot answer now ({said}).")
    return RpcRejected(
        f"The RPC endpoint {host} refused the request ({said}).", fix="Check the network's settings.", code=code
    )


def from_transport(host: str, cause: BaseException | None) -> RpcRejected | RpcUnavailable:
    """The typed error for a connection that failed or an HTTP status that is not success."""
    response = getattr(cause, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or status is None:
        return silent(host)
    if status in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) or status >= _SERVER_ERROR:
        return RpcUnavailable(
            f"The RPC endpoint {host} is overloaded (HTTP {status}).",
            retry_after=retry_after(response.headers.get("retry-after", "")),
        )
    return RpcRejected(
        f"The RPC endpoint {host} refused the request (HTTP {status}).",
        fix="Check the address and its API key.",
        code=status,
    )


def silent(host: str) -> RpcUnavailable:
    """The error for an endpoint that cannot be reached or says nothing."""
    return RpcUnavailable(
        f"The RPC endpoint {host} does not answer.", fix="Check the connection and that the network is running."
    )


def not_rpc(host: str) -> RpcUnavailable:
    """The error for an answer that makes no sense: a captive portal, a proxy's page, a broken endpoint."""
    return RpcUnavailable(
        f"The RPC endpoint {host} gave an answer that is not JSON-RPC.",
        fix="Check that the address is a Solana RPC endpoint.",
    )
