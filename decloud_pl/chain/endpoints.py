"""Several endpoints behind one door: who is asked, who is passed over, and who comes back.

The first endpoint that is well is asked; the others stand in for it. One that failed rests for a time that
grows, is then asked how it is in the background, and comes back when it answers and is not behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from decloud_pl.chain.endpoint import Endpoint, Request
from decloud_pl.chain.pace import Pace
from decloud_pl.chain.refusals import Refusal
from decloud_pl.chain.rpc_errors import PreflightFailure, not_rpc
from decloud_pl.errors import ChainError, ConfigError, RpcRejected, RpcUnavailable

logger = logging.getLogger(__name__)

_MOST_SLOTS_BEHIND = 150
_BELIEVED_SLOTS = 100_000
"""Eleven hours. Of two endpoints further apart one is wrong, and the slot of the higher one counts no more."""
_NEEDED_SECONDS = 120.0
"""How long answers from before this wallet's own transaction are refused; every working endpoint has it by then."""
_MOST_SLOTS = 1 << 62

T = TypeVar("T")


@dataclass(slots=True)
class RpcHealth:
    """How the endpoints have answered so far.

    Attributes:
        requests: asked in this run.
        errors: of them, those without a usable answer.
        heard_at: Unix seconds of the last usable answer or event, None before the first.
    """

    requests: int = 0
    errors: int = 0
    heard_at: float | None = None

    def heard(self) -> None:
        """Notes that the chain has just been heard."""
        self.heard_at = time.time()


class EndpointPool:
    """EndpointPool of one network, the preferred one first.

    Args:
        endpoints: at least one.
        genesis: the genesis hash that they must have; empty for any.
        pace: time.
    """

    def __init__(self, endpoints: Sequence[Endpoint], *, genesis: str = "", pace: Pace) -> None:
        self._all = tuple(endpoints)
        self._genesis = genesis
        self._pace = pace
        self._probes: dict[Endpoint, asyncio.Task[None]] = {}
        self._newest_slot = 0
        self._needed_slot = 0
        self._needed_until = 0.0
        self.health = RpcHealth()

    async def aclose(self) -> None:
        """Ends the probes and closes the connections."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for endpoint in self._all:
            await endpoint.aclose()

    @property
    def host(self) -> str:
        """Of the endpoint that is asked next, for messages."""
        return next((endpoint.host for endpoint in self._all if endpoint.healthy), self._all[0].host)

    @property
    def refused(self) -> list[Refusal]:
        """What the endpoints refused when they were asked last."""
        return [refusal for endpoint in self._all for refusal in endpoint.refusals.all()]

    def need(self, slot: int) -> None:
        """From now on refuses answers that are older than ``slot``: this wallet's own transaction is in it."""
        self._needed_slot = max(self._needed, slot)
        self._needed_until = self._pace.monotonic() + _NEEDED_SECONDS

    @property
    def _needed(self) -> int:
        return self._needed_slot if self._pace.monotonic() < self._needed_until else 0

    async def call(self, method: str, request: Request[T], *, replaceable: bool = False) -> T:
        """Makes a request of the first endpoint that can answer it.

        One that refused the method a short while ago is asked last, and for what is replaceable not at all.

        Args:
            method: of JSON-RPC.
            request: makes it.
            replaceable: whether the caller has another way where this one is refused.

        Raises:
            RpcUnavailable: none can now; ``retry_after`` is the shortest wait that was asked for.
            RpcRejected: the endpoint, or every one of them, said no; one of them where the request is replaceable.
        """
        unavailable: RpcUnavailable | None = None
        rejected: RpcRejected | None = None
        refusing = [endpoint for endpoint in self._all if endpoint.refusals.of(method) is not None]
        if replaceable and refusing:
            rejected = refusing[0].refusals.of(method)
        for endpoint in self._candidates(refusing, with_refusing=not replaceable):
            self.health.requests += 1
            try:
                answer = await endpoint.call(method, request)
                self._check_age(endpoint, answer)
            except RpcUnavailable as error:
                self.health.errors += 1
                endpoint.failed(error)
                unavailable = error
            except RpcRejected as error:
                self.health.errors += 1
                if isinstance(error, PreflightFailure):
                    raise
                endpoint.refusals.add(method, error)
                rejected = rejected or error
            else:
                endpoint.recovered()
                endpoint.refusals.forget(method)
                self.health.heard()
                return answer
        if unavailable is not None and not (replaceable and rejected):
            raise unavailable
        if rejected is not None:
            raise rejected
        wait = min(endpoint.must_wait for endpoint in self._all)
        raise RpcUnavailable(
            f"The RPC endpoint {self._all[0].host} asked to be left alone for {wait:.0f} s.",
            fix="With network.fallback_rpc_urls another one can stand in.",
            retry_after=wait,
        )

    async def check_same_network(self) -> str:
        """The genesis hash that all endpoints within reach agree on.

        Raises:
            ConfigError: two belong to different networks, or one to another network than was configured.
            RpcUnavailable: none answers.
        """
        seen: dict[str, str] = {}
        failure: ChainError | None = None
        for endpoint in self._all:
            try:
                answer = await endpoint.call("getGenesisHash", lambda client: client.get_genesis_hash())
            except ChainError as error:
                failure = error
                continue
            seen[str(answer.value)] = endpoint.host
        if len(seen) > 1:
            raise ConfigError(
                f"The RPC endpoints {' and '.join(seen.values())} belong to different networks.",
                fix="Correct network.rpc_url or network.fallback_rpc_urls.",
            )
        if self._genesis and set(seen) - {self._genesis}:
            raise ConfigError(
                f"The RPC endpoint {next(iter(seen.values()))} belongs to another network than the one that is chosen.",
                fix="Correct network.rpc_url, choose the network that it belongs to, or set network.genesis.",
            )
        if not seen:
            raise failure or RpcUnavailable("No RPC endpoint answers.", fix="Check the connection.")
        return next(iter(seen))

    def _candidates(self, refusing: Sequence[Endpoint], *, with_refusing: bool) -> Iterator[Endpoint]:
        """Those to ask, one after the other; what is found out on the way counts for the next."""
        asked: set[Endpoint] = set()
        for endpoint in self._all:
            if endpoint.healthy and endpoint not in refusing:
                asked.add(endpoint)
                yield endpoint
            elif not endpoint.healthy and not endpoint.rests and len(self._all) > 1:
                self._probe_soon(endpoint)
        for endpoint in (*(one for one in self._all if one not in refusing), *(refusing if with_refusing else ())):
            # The pool asks its only endpoint again after the back-off, whatever Retry-After said.
            is_overdue = len(self._all) == 1 and not endpoint.rests_by_itself
            if endpoint not in asked and (is_overdue or not endpoint.must_wait):
                yield endpoint

    def _check_age(self, endpoint: Endpoint, answer: object) -> None:
        slot = getattr(getattr(answer, "context", None), "slot", None)
        if not isinstance(slot, int):
            return
        if slot > _MOST_SLOTS:
            raise not_rpc(endpoint.host)
        if slot < self._needed:
            raise RpcUnavailable(
                f"The RPC endpoint {endpoint.host} is behind: it does not show this wallet's last transaction yet.",
            )
        self._saw(slot)

    def _saw(self, slot: int) -> None:
        """Remembers the newest slot, within what another answer allows."""
        is_far = self._newest_slot and abs(slot - self._newest_slot) > _BELIEVED_SLOTS
        self._newest_slot = min(self._newest_slot, slot) if is_far else max(self._newest_slot, slot)

    def _probe_soon(self, endpoint: Endpoint) -> None:
        if endpoint in self._probes:
            return
        probe = asyncio.create_task(self._probe(endpoint), name="probe")
        self._probes[endpoint] = probe
        probe.add_done_callback(lambda _: self._probes.pop(endpoint, None))

    async def _probe(self, endpoint: Endpoint) -> None:
        try:
            answer = await endpoint.call("getEpochInfo", lambda client: client.get_epoch_info())
        except RpcUnavailable as error:
            endpoint.failed(error)
            return
        except RpcRejected as error:
            endpoint.failed(RpcUnavailable(error.message))
            return
        self._saw(answer.value.absolute_slot)
        if answer.value.absolute_slot < max(self._newest_slot - _MOST_SLOTS_BEHIND, self._needed):
            endpoint.failed(RpcUnavailable(f"The RPC endpoint {endpoint.host} is behind."))
            return
        endpoint.recovered()
        logger.info("The RPC endpoint %s is back", endpoint.host)
