"""WebSocket subscriptions and their notifications.

A notification is sent when its transaction reaches the requested commitment. The default is ``finalized``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from decloud_pl.localnet.ledger import Executed
from decloud_pl.localnet.rpc import params as p
from decloud_pl.localnet.rpc.accounts import AccountFilter, account_json, in_context
from decloud_pl.localnet.rpc.jsonrpc import INVALID_REQUEST, Method, RpcError, invalid
from decloud_pl.localnet.vm import FINALITY_SLOTS, Changed, Vm


@dataclass
class Subscription:
    """One subscription.

    ``on_transaction`` returns the values to send for a transaction; each value is sent in its own notification. The
    list is empty if the transaction does not match. With ``once``, the subscription ends after its first notification.
    """

    kind: str
    on_transaction: Callable[[Executed, Changed], list[Any]] = field(default=lambda _executed, _changed: [])
    commitment: str = "confirmed"
    once: bool = False


class Subscriber:
    """One client's subscriptions.

    Args:
        vm: the chain.
        send: sends a message to the client; must not block.
        numbers: yields subscription ids that are unique in the server.
    """

    def __init__(self, vm: Vm, send: Callable[[str], None], numbers: itertools.count[int]) -> None:
        self._vm = vm
        self._send = send
        self._numbers = numbers
        self._subscriptions: dict[int, Subscription] = {}
        self._later: list[tuple[int, Executed]] = []
        self._not_final: list[tuple[int, int, Any]] = []

    def methods(self) -> dict[str, Method]:
        """Return this client's subscribe and unsubscribe methods."""
        found: dict[str, Method] = {
            "logsSubscribe": self._logs,
            "accountSubscribe": self._account,
            "programSubscribe": self._program,
            "signatureSubscribe": self._signature,
            "slotSubscribe": lambda _: self._add(Subscription("slot")),
            "rootSubscribe": lambda _: self._add(Subscription("root")),
        }
        kinds = [name.removesuffix("Subscribe") for name in found]
        found.update({f"{kind}Unsubscribe": self._unsubscriber(kind) for kind in kinds})
        return found

    def on_transaction(self, executed: Executed, changed: Changed) -> None:
        """Notify the client of a transaction if a subscription matches it."""
        for number, subscription in list(self._subscriptions.items()):
            for value in subscription.on_transaction(executed, changed):
                self._tell(number, subscription, executed.slot, value)

    def on_slot(self, slot: int) -> None:
        """Notify the client of a new slot, and of the transactions that this slot makes final."""
        self._tell_what_is_final(slot)
        for number, subscription in list(self._subscriptions.items()):
            root = max(0, slot - FINALITY_SLOTS)
            if subscription.kind == "slot":
                self._notify(number, subscription, {"parent": slot - 1, "root": root, "slot": slot})
            elif subscription.kind == "root":
                self._notify(number, subscription, root)

    def _logs(self, params: list[Any]) -> int:
        wanted = p.argument(params, 0, "filter")
        mentioned: Pubkey | None = None
        if isinstance(wanted, dict):
            mentions = wanted.get("mentions")
            if not isinstance(mentions, list) or len(mentions) != 1:
                raise invalid("Only 1 address supported in `mentions`")
            mentioned = p.pubkey(mentions[0])
        elif wanted not in ("all", "allWithVotes"):
            raise invalid("the filter must be all, allWithVotes or mentions")
        commitment = p.commitment(p.options(params, 1))

        def value(executed: Executed, _changed: Changed) -> list[Any]:
            keys = VersionedTransaction.from_bytes(executed.wire).message.account_keys
            if mentioned is not None and mentioned not in keys:
                return []
            logs = executed.meta["logMessages"]
            return [{"signature": executed.signature, "err": executed.error, "logs": logs}]

        return self._add(Subscription("logs", value, commitment))

    def _account(self, params: list[Any]) -> int:
        address, config = p.pubkey(p.argument(params, 0, "address")), p.options(params, 1)
        last = [self._vm.account(address)]
        commitment = p.commitment(config)
        _notified(_EMPTY, config)  # rejects an invalid encoding now, not with the first notification

        def value(_executed: Executed, changed: Changed) -> list[Any]:
            if address not in changed or changed[address] == last[0]:
                return []
            last[0] = changed[address]
            return [_notified(changed[address] or _EMPTY, config)]

        return self._add(Subscription("account", value, commitment))

    def _program(self, params: list[Any]) -> int:
        owner, config = p.pubkey(p.argument(params, 0, "program id")), p.options(params, 1)
        commitment = p.commitment(config)
        _notified(_EMPTY, config)
        wanted = AccountFilter(config.get("filters"))

        def value(_executed: Executed, changed: Changed) -> list[Any]:
            return [
                {"pubkey": str(address), "account": _notified(account, config)}
                for address, account in changed.items()
                if account is not None and account.owner == owner and wanted.matches(account)
            ]

        return self._add(Subscription("program", value, commitment))

    def _signature(self, params: list[Any]) -> int:
        signature = str(p.signature(p.argument(params, 0, "signature")))
        commitment = p.commitment(p.options(params, 1))

        def value(executed: Executed, _changed: Changed) -> list[Any]:
            return [{"err": executed.error}] if executed.signature == signature else []

        number = self._add(Subscription("signature", value, commitment, once=True))
        landed = self._vm.ledger.transaction(signature)
        if landed is not None:
            # The response with the subscription's id must be sent first.
            self._later.append((number, landed))
        return number

    def flush(self) -> None:
        """Send the notifications that had to wait until the last request was answered."""
        for number, landed in self._later:
            subscription = self._subscriptions.get(number)
            if subscription is not None:
                self._tell(number, subscription, landed.slot, {"err": landed.error})
        self._later.clear()

    def _tell(self, number: int, subscription: Subscription, slot: int, value: Any) -> None:
        """Notify the client of a transaction in ``slot``.

        If the subscription's commitment is ``finalized``, wait until the slot is final. Otherwise, notify at once.
        """
        result = in_context(slot, value)
        if subscription.commitment == "finalized" and slot > self._vm.slot_at("finalized"):
            self._not_final.append((slot, number, result))
        else:
            self._notify(number, subscription, result)

    def _tell_what_is_final(self, slot: int) -> None:
        final = [entry for entry in self._not_final if entry[0] <= slot - FINALITY_SLOTS]
        self._not_final = [entry for entry in self._not_final if entry[0] > slot - FINALITY_SLOTS]
        for _, number, result in final:
            subscription = self._subscriptions.get(number)
            if subscription is not None:
                self._notify(number, subscription, result)

    def _add(self, subscription: Subscription) -> int:
        number = next(self._numbers)
        self._subscriptions[number] = subscription
        return number

    def _unsubscriber(self, kind: str) -> Method:
        def unsubscribe(params: list[Any]) -> bool:
            number = p.number(p.argument(params, 0, "subscription"), "subscription")
            subscription = self._subscriptions.get(number)
            if subscription is None or subscription.kind != kind:
                raise invalid("Invalid subscription id")
            del self._subscriptions[number]
            return True

        return unsubscribe

    def _notify(self, number: int, subscription: Subscription, result: Any) -> None:
        if subscription.once:
            self._subscriptions.pop(number, None)
        params = {"result": result, "subscription": number}
        self._send(json.dumps({"jsonrpc": "2.0", "method": f"{subscription.kind}Notification", "params": params}))


_EMPTY = Account(0, b"", Pubkey.default())


def _notified(account: Account, config: dict[str, Any]) -> dict[str, Any] | None:
    """Encode an account for a notification. If its data is too large for base58, an error text replaces the data."""
    try:
        return account_json(account, config)
    except RpcError as error:
        if error.code != INVALID_REQUEST:
            raise
        too_large = "error: data too large for bs58 encoding"
        data = [too_large, "base58"] if config.get("encoding") == "base58" else too_large
        return {**(account_json(account, {**config, "encoding": "base64"}) or {}), "data": data}
