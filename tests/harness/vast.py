"""An RPC endpoint for a chain with any number of rounds. It creates their accounts on demand."""

from __future__ import annotations

import json
from collections import Counter
from types import TracebackType
from typing import Any

from aiohttp import web
from solders.account import Account
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.program import NEWEST, shared_object
from decloud_pl.localnet.rpc.accounts import account_methods
from decloud_pl.localnet.rpc.cluster import cluster_methods
from decloud_pl.localnet.rpc.jsonrpc import answer
from decloud_pl.localnet.rpc.transactions import transaction_methods
from decloud_pl.localnet.vm import Vm
from tests.chain.dialects.encoding import encode_round

OPEN = 100
"""The number of rounds that wait for a validator, wait for trainers, or are in training."""
_EVERY = 5
"""Among the latest rounds, each fifth is open."""
_MADE_AT_ONCE = 1000
_OPEN_STATUSES = (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS, RoundStatus.TRAINING)
_CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


class VastVm(Vm):
    """A chain with the program and many rounds. Some of the latest are open.

    Args:
        rounds: the number of rounds.
        seconds_between: seconds between the creation of two rounds.
    """

    def __init__(self, rounds: int, seconds_between: float) -> None:
        self.dialect = get_dialect(NEWEST)
        self._count = rounds
        self._seconds_between = seconds_between
        self._made: dict[Pubkey, int] = {}
        self._lowest = rounds
        clock = ManualClock()
        super().__init__(clock, {self.dialect.program_id: shared_object(NEWEST)})
        self._now = int(clock.now())

    def account(self, address: Pubkey) -> Account | None:
        if address == self.dialect.round_counter_address():
            data = discriminator("account", "RoundCounter") + borsh.u64(self._count)
            return self._account(data + bytes(self.dialect.program_id) + borsh.u8(255))
        found = super().account(address)
        if found is not None:
            return found
        if address not in self._made:
            self._make_more()
        number = self._made.get(address)
        return None if number is None else self._account(encode_round(self.round(number)))

    def program_accounts(self, owner: Pubkey) -> list[tuple[Pubkey, Account]]:
        return []  # this wallet is not in any round, and the endpoint cannot list all rounds

    def round(self, number: int) -> Round:
        age = self._count - number
        is_open = age % _EVERY == 0 and age <= _EVERY * OPEN
        created_at = self._now - int(age * self._seconds_between)
        deadline = self._now + 3600 if is_open else created_at + 3600
        return Round(
            id=number,
            creator=self.dialect.program_id,
            model_cid=_CID,
            dataset="fashionmnist",
            reward_amount=10**9,
            status=_OPEN_STATUSES[age // _EVERY % 3] if is_open else RoundStatus.COMPLETED,
            validator=self.dialect.program_id,
            validator_fee_bps=1000,
            baseline_score=1000,
            created_at=created_at,
            validator_deadline=created_at + 3600,
            join_deadline=deadline,
            submit_deadline=deadline,
            trainers_count=3,
            submissions_count=3,
            bump=255,
            vault_bump=255,
            max_trainers=10,
        )

    def _make_more(self) -> None:
        """Compute the addresses of the next thousand rounds, latest first, as clients read."""
        first = max(0, self._lowest - _MADE_AT_ONCE)
        self._made.update((self.dialect.round_address(number), number) for number in range(first, self._lowest))
        self._lowest = first

    def _account(self, data: bytes) -> Account:
        return Account(self.rent_exempt_minimum(len(data)), data, self.dialect.program_id)


class VastChain:
    """Serves a `VastVm` while the context is open, and counts requests and answers.

    Attributes:
        url: the address of the endpoint.
        methods: the number of requests by method.
        sent: the size of all answers in bytes.
    """

    def __init__(self, rounds: int, *, seconds_between: float = 60.0) -> None:
        self._vm = VastVm(rounds, seconds_between)
        self._methods = {**cluster_methods(self._vm), **account_methods(self._vm), **transaction_methods(self._vm)}
        self.methods: Counter[str] = Counter()
        self.sent = 0
        self.url = ""

    async def __aenter__(self) -> VastChain:
        application = web.Application()
        application.router.add_post("/", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        self._vm.close()

    def taken(self) -> tuple[dict[str, int], int]:
        """Return the requests by method, and the size of the answers in bytes, since the last call."""
        found = dict(sorted(self.methods.items())), self.sent
        self.methods.clear()
        self.sent = 0
        return found

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        call: dict[str, Any] = json.loads(body)
        self.methods[call["method"]] += 1
        reply = answer(body, self._methods) or ""
        self.sent += len(reply)
        return web.Response(text=reply, content_type="application/json")
