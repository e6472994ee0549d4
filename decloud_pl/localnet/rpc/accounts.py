"""RPC methods that read accounts."""

from __future__ import annotations

import base64
from typing import Any

import base58
from solders.account import Account

from decloud_pl.localnet.rpc import params as p
from decloud_pl.localnet.rpc.jsonrpc import INVALID_REQUEST, Method, RpcError, invalid
from decloud_pl.localnet.vm import Vm

_LONGEST_BASE58 = 128
_MAX_ADDRESSES = 100
_MAX_FILTERS = 4
_MAX_ACCOUNT_BYTES = 10 << 20
_RENT_EPOCH = 18_446_744_073_709_551_615


def account_methods(vm: Vm) -> dict[str, Method]:
    """Return this module's RPC methods for the chain ``vm``, by name."""

    def with_context(value: Any, config: dict[str, Any]) -> dict[str, Any]:
        return in_context(vm.slot_at(p.commitment(config, newest_slot=vm.slot)), value)

    def get_balance(params: list[Any]) -> Any:
        address = p.pubkey(p.argument(params, 0, "address"))
        return with_context(vm.balance(address), p.options(params, 1))

    def get_account_info(params: list[Any]) -> Any:
        vm.advance()
        address, config = p.pubkey(p.argument(params, 0, "address")), p.options(params, 1)
        return with_context(account_json(vm.account(address), config), config)

    def get_multiple_accounts(params: list[Any]) -> Any:
        vm.advance()
        addresses, config = p.argument(params, 0, "addresses"), p.options(params, 1)
        if not isinstance(addresses, list):
            raise invalid("addresses must be an array")
        if len(addresses) > _MAX_ADDRESSES:
            raise invalid(f"Too many inputs provided; max {_MAX_ADDRESSES}")
        config = {"encoding": "base64", **config}
        return with_context([account_json(vm.account(p.pubkey(a)), config) for a in addresses], config)

    def get_program_accounts(params: list[Any]) -> Any:
        owner, config = p.pubkey(p.argument(params, 0, "program id")), p.options(params, 1)
        wanted = AccountFilter(config.get("filters"))
        found = [
            {"pubkey": str(address), "account": account_json(account, config)}
            for address, account in vm.program_accounts(owner)
            if wanted.matches(account)
        ]
        result = with_context(found, config)
        return result if config.get("withContext") else found

    def get_rent(params: list[Any]) -> Any:
        size = p.number(p.argument(params, 0, "size"), "size")
        if size > _MAX_ACCOUNT_BYTES:
            raise invalid(f"an account has at most {_MAX_ACCOUNT_BYTES} bytes")
        return vm.rent_exempt_minimum(size)

    return {
        "getBalance": get_balance,
        "getAccountInfo": get_account_info,
        "getMultipleAccounts": get_multiple_accounts,
        "getProgramAccounts": get_program_accounts,
        "getMinimumBalanceForRentExemption": get_rent,
    }


API_VERSION = "3.0.0"


def in_context(slot: int, value: Any) -> dict[str, Any]:
    """Return a result together with the slot that it belongs to."""
    return {"context": {"slot": slot, "apiVersion": API_VERSION}, "value": value}


def account_json(account: Account | None, config: dict[str, Any]) -> dict[str, Any] | None:
    """Return an account as JSON, in the encoding that ``config`` requests.

    If ``config`` has a ``dataSlice``, return only that part of the account's data.
    """
    if account is None:
        return None
    data = bytes(account.data)
    piece = config.get("dataSlice")
    shown = data
    if piece is not None:
        if not isinstance(piece, dict):
            raise invalid("dataSlice must be an object")
        offset, length = p.number(piece.get("offset"), "offset"), p.number(piece.get("length"), "length")
        shown = data[offset : offset + length]
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": _encode(shown, config.get("encoding") or "binary"),
        "executable": account.executable,
        "rentEpoch": _RENT_EPOCH,
        "space": len(data),
    }


def _encode(data: bytes, encoding: object) -> Any:
    if encoding in ("base64", "jsonParsed"):  # no parser applies to this program's accounts
        return [base64.b64encode(data).decode(), "base64"]
    if encoding not in ("base58", "binary"):
        raise invalid(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    if len(data) > _LONGEST_BASE58:
        raise RpcError(
            INVALID_REQUEST,
            "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
        )
    encoded = base58.b58encode(data).decode()
    return encoded if encoding == "binary" else [encoded, "base58"]


class AccountFilter:
    """The ``dataSize`` and ``memcmp`` filters of a request. An account must match all of them."""

    def __init__(self, filters: Any) -> None:
        filters = [] if filters is None else filters
        if not isinstance(filters, list):
            raise invalid("filters must be an array")
        if len(filters) > _MAX_FILTERS:
            raise invalid(f"Too many filters provided; max {_MAX_FILTERS}")
        self._sizes: list[int] = []
        self._compares: list[tuple[int, bytes]] = []
        for entry in filters:
            if not isinstance(entry, dict):
                raise invalid("a filter must be an object")
            if "dataSize" in entry:
                self._sizes.append(p.number(entry["dataSize"], "dataSize"))
            elif isinstance(entry.get("memcmp"), dict):
                self._compares.append(_memcmp(entry["memcmp"]))
            else:
                raise invalid("a filter must be dataSize or memcmp")

    def matches(self, account: Account) -> bool:
        data = account.data
        return all(len(data) == size for size in self._sizes) and all(
            data[offset : offset + len(wanted)] == wanted for offset, wanted in self._compares
        )


def _memcmp(entry: dict[str, Any]) -> tuple[int, bytes]:
    offset, wanted = p.number(entry.get("offset"), "offset"), entry.get("bytes")
    try:
        if isinstance(wanted, list):
            return offset, bytes(wanted)
        if not isinstance(wanted, str):
            raise invalid("memcmp needs bytes")
        if entry.get("encoding", "base58") == "base64":
            return offset, base64.b64decode(wanted, validate=True)
        return offset, base58.b58decode(wanted)
    except (ValueError, TypeError):
        raise invalid("memcmp bytes cannot be decoded") from None
