"""JSON-RPC 2.0: requests, batches, errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from decloud_pl.errors import LocalnetError

logger = logging.getLogger(__name__)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
PREFLIGHT_FAILURE = -32002
SIGNATURE_FAILURE = -32003
UNSUPPORTED_VERSION = -32015
MIN_CONTEXT_SLOT = -32016
_LONGEST_BATCH = 1000

Method = Callable[[list[Any]], Any]


class RpcError(Exception):
    """An error that a method returns to the client."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def answer(body: str | bytes, methods: Mapping[str, Method]) -> str | None:
    """Answer a request or a batch. Return None if it contains only notifications."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return json.dumps(_failure(None, RpcError(PARSE_ERROR, "Parse error")))
    if isinstance(request, list):
        if not request or len(request) > _LONGEST_BATCH:
            return json.dumps(_failure(None, RpcError(INVALID_REQUEST, "Invalid request")))
        answers = [reply for reply in (_one(entry, methods) for entry in request) if reply is not None]
        return json.dumps(answers) if answers else None
    reply = _one(request, methods)
    return None if reply is None else json.dumps(reply)


def _one(request: Any, methods: Mapping[str, Method]) -> dict[str, Any] | None:
    if (
        not isinstance(request, dict)
        or request.get("jsonrpc") != "2.0"
        or not isinstance(request.get("method"), str)
        or not isinstance(request.get("id"), (str, int, float, type(None)))
    ):
        identifier = request.get("id") if isinstance(request, dict) else None
        if not isinstance(identifier, (str, int, float)):
            identifier = None
        return _failure(identifier, RpcError(INVALID_REQUEST, "Invalid request"))
    try:
        result = _call(request["method"], request.get("params"), methods)
    except RpcError as error:
        return _failure(request.get("id"), error) if "id" in request else None
    except LocalnetError as error:  # the state file cannot be read or written
        logger.warning("%s: %s", request["method"], error)
        return _failure(request.get("id"), RpcError(INTERNAL_ERROR, str(error)))
    except Exception:
        logger.exception("%s: internal error", request["method"])
        return _failure(request.get("id"), RpcError(INTERNAL_ERROR, "Internal error"))
    return {"jsonrpc": "2.0", "result": result, "id": request["id"]} if "id" in request else None


def _call(name: str, params: Any, methods: Mapping[str, Method]) -> Any:
    if name not in methods:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    if params is None:
        params = []
    if not isinstance(params, list):
        raise invalid("`params` should be an array")
    return methods[name](params)


def invalid(message: str) -> RpcError:
    """Return the JSON-RPC error -32602 (invalid parameters) with ``message`` as its reason."""
    return RpcError(INVALID_PARAMS, f"Invalid params: {message}.")


def _failure(identifier: Any, error: RpcError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return {"jsonrpc": "2.0", "error": body, "id": identifier}
