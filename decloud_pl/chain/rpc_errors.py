"""Convert failures of an RPC endpoint to `RpcUnavailable` if a retry may help, and otherwise to `RpcRejected`.

A message names only the host of the endpoint, because the path or the query of its URL may contain an API key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from decloud_pl.errors import DecodeError, RpcRejected, RpcUnavailable
from decloud_pl.legible import legible
from decloud_pl.redact import HIDDEN
from decloud_pl.retry import retry_after

if TYPE_CHECKING:
    from solders.transaction_status import TransactionErrorType

_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

# By the solders class of an error object. For a code without a class, solders returns the bare number.
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
"""By the solders name of an error object without fields."""
_PASSING = frozenset({-32004, -32005, -32014, -32016, -32603, 429, -32429})
"""Codes for an endpoint that lags, is overloaded or is temporarily broken. Only some providers send the last two."""


_WAIT = "Wait, or use another RPC endpoint (network.fallback_rpc_urls)."
_LONGEST_QUOTE = 200
_SHORTEST_KEY = 6
"""Characters. Shorter parts of a URL, such as ``v2``, are not keys."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an endpoint.

    Attributes:
        url: the URL of the endpoint.
        host: the host and the port of the endpoint.
        method: the JSON-RPC method.
    """

    url: str
    host: str
    method: str

    def quoted(self, text: str) -> str:
        """Return a text from the endpoint as one short line, in which the API keys of the URL are hidden."""
        parts = urlsplit(self.url)
        values = [
            *parts.path.split("/"),
            *(value for _, value in parse_qsl(parts.query)),
            parts.username,
            parts.password,
        ]
        for key in filter(None, values):
            if len(key) >= _SHORTEST_KEY:
                text = text.replace(key, HIDDEN).replace(unquote(key), HIDDEN)
        return legible(text.strip(), _LONGEST_QUOTE).rstrip(".")


class PreflightFailure(RpcRejected):
    """The transaction failed in the endpoint's simulation. `Sender` converts this to the error of the program."""

    def __init__(self, error: TransactionErrorType | None, logs: tuple[str, ...], message: str) -> None:
        super().__init__(f"The transaction would fail: {message.rstrip('.')}.", code=-32002, logs=logs)
        self.error = error


def from_error_object(asked: Asked, reason: Any) -> RpcRejected | RpcUnavailable:  # solders has no base class for these
    """Return the exception for a JSON-RPC error object from solders, or for an error code alone."""
    from solders.rpc.errors import SendTransactionPreflightFailureMessage

    message = asked.quoted(str(getattr(reason, "message", "")))
    if isinstance(reason, SendTransactionPreflightFailureMessage):
        return PreflightFailure(reason.data.err, tuple(reason.data.logs or ()), message)
    name = str(reason).rpartition(".")[2]
    code = reason if isinstance(reason, int) else _CODES.get(type(reason).__name__, _FIELDLESS.get(name))
    if name in _FIELDLESS:
        message = name
    said = ": ".join(part for part in (f"error {code}" if code is not None else "", message) if part)
    if code in _PASSING:
        return RpcUnavailable(f"The RPC endpoint {asked.host} cannot answer now ({said}).", fix=_WAIT)
    return RpcRejected(
        f"The RPC endpoint {asked.host} refused {asked.method} ({said}).",
        fix="Check network.rpc_url, or use another RPC endpoint.",
        code=code,
        said=said,
    )


def from_transport(asked: Asked, cause: BaseException | None) -> RpcRejected | RpcUnavailable:
    """Return the exception for a failed connection or an HTTP error status."""
    from http.client import responses

    response = getattr(cause, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or status is None:
        return silent(asked.host)
    if status in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) or status >= _SERVER_ERROR:
        return RpcUnavailable(
            f"The RPC endpoint {asked.host} is overloaded (HTTP {status}).",
            fix=_WAIT,
            retry_after=retry_after(response.headers.get("retry-after", "")),
        )
    status_line = f"HTTP {status} {responses.get(status, '')}".rstrip()
    said = ": ".join(filter(None, (status_line, asked.quoted(_reason(response.text)))))
    return RpcRejected(
        f"The RPC endpoint {asked.host} refused {asked.method} ({said}).",
        fix="Check the address of the endpoint and its API key.",
        code=status,
        said=said,
    )


def _reason(body: str) -> str:
    """Return why the endpoint refused: the message in a JSON body, or a plain-text body. Empty for HTML."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError if the JSON has thousands of nested brackets
        return "" if body.lstrip().startswith("<") else body
    for key in ("error", "message"):
        if isinstance(found, dict):
            found = found.get(key, found)
    return found if isinstance(found, str) else ""


def silent(host: str) -> RpcUnavailable:
    """Return the error for an endpoint that is unreachable or does not answer."""
    return RpcUnavailable(
        f"The RPC endpoint {host} does not answer.",
        fix="Check the connection. For a local network, check that it is running.",
    )


def not_rpc(host: str) -> RpcUnavailable:
    """Return the error for an answer that is not JSON-RPC, for example a page of a captive portal or a proxy."""
    return RpcUnavailable(
        f"The RPC endpoint {host} sent an answer that is not JSON-RPC.",
        fix="Check that this is the address of a Solana RPC endpoint.",
    )


def wrong_answer(message: str) -> DecodeError:
    """Return the error for an answer that is JSON-RPC, but does not fit the request."""
    return DecodeError(message, fix="Set network.rpc_url to another RPC endpoint.")
