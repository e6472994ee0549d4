"""The RPC endpoints of a network, with failover.

The pool uses the first healthy endpoint. The other endpoints are fallbacks. After a failure, the pool avoids the
endpoint for a time that grows with each failure. Then the pool probes the endpoint in the background. If the endpoint
answers with a recent slot, the pool uses it again. Every five minutes, the pool compares the slots of all endpoints, so
that it leaves an endpoint that lags behind the others.
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
"""About eleven hours. If two slots are further apart, one endpoint is wrong, and the pool ignores the higher slot."""
_MOST_SECONDS_AT_SLOT = 60.0
"""An endpoint whose slot stays the same for longer has lost contact with the chain. A slot takes 0.4 s."""
_NEEDED_SECONDS = 120.0
"""How long the pool refuses answers that do not show this wallet's last transaction. A working endpoint needs less."""
_COMPARE_SECONDS = 300.0
_MOST_SLOTS = 1 << 62

T = TypeVar("T")


@dataclass(slots=True)
class RpcHealth:
    """Counts the requests and the failures of this run.

    Attributes:
        requests: the number of requests.
        errors: the number of requests without a usable answer.
        heard_at: Unix seconds of the last usable answer or event; None before the first.
    """

    requests: int = 0
    errors: int = 0
    heard_at: float | None = None

    def heard(self) -> None:
        """Record that an answer or an event has just arrived."""
        self.heard_at = time.time()


class EndpointPool:
    """The endpoints of one network, the preferred one first.

    Args:
        endpoints: at least one endpoint, in the order of preference.
        genesis: the genesis hash that the endpoints must have; empty to accept any network.
        pace: the monotonic clock, the sleep function and the random waits.
    """

    def __init__(self, endpoints: Sequence[Endpoint], *, genesis: str = "", pace: Pace) -> None:
        self._all = tuple(endpoints)
        self._genesis = genesis
        self._pace = pace
        self._probes: dict[Endpoint, asyncio.Task[None]] = {}
        self._newest_slot = 0
        self._needed_slot = 0
        self._needed_until = 0.0
        self._compare_at = pace.monotonic() + _COMPARE_SECONDS
        # The network's genesis hash and the endpoints that have it, after `check_same_network`.
        self._network = ""
        self._of_network: set[Endpoint] = set()
        self.health = RpcHealth()

    async def aclose(self) -> None:
        """Cancel the probes and close the connections."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for endpoint in self._all:
            await endpoint.aclose()

    @property
    def host(self) -> str:
        """The host of the endpoint that the next request uses, for messages."""
        return next((endpoint.host for endpoint in self._all if endpoint.healthy), self._all[0].host)

    @property
    def refused(self) -> list[Refusal]:
        """The methods that each endpoint refuses. An entry is removed when the endpoint answers this method again."""
        return [refusal for endpoint in self._all for refusal in endpoint.refusals.all()]

    def need(self, slot: int) -> None:
        """For two minutes, reject each answer that is older than this wallet's last transaction.

        An endpoint that gives such an answer counts as failed.

        Args:
            slot: the slot of the transaction. An answer from a lower slot is rejected.
        """
        self._needed_slot = max(self._needed, slot)
        self._needed_until = self._pace.monotonic() + _NEEDED_SECONDS

    @property
    def _needed(self) -> int:
        return self._needed_slot if self._pace.monotonic() < self._needed_until else 0

    async def call(self, method: str, request: Request[T], *, replaceable: bool = False) -> T:
        """Send a request to the first endpoint that can answer it.

        Endpoints that refused the method recently are tried last, or not at all if ``replaceable`` is True.

        Args:
            method: the JSON-RPC method.
            request: sends the request with an endpoint's client.
            replaceable: whether the caller can do without this method.

        Raises:
            RpcUnavailable: no endpoint can answer now. ``retry_after`` is the shortest wait that an endpoint requested.
            RpcRejected: every endpoint refused the request. With ``replaceable``, this error is also raised if at least
                one endpoint refused the method and no endpoint answered.
        """
        self._compare()
        unavailable: RpcUnavailable | None = None
        waits = {endpoint: endpoint.must_wait for endpoint in self._all if endpoint.must_wait}
        rejected: RpcRejected | None = None
        refusing = [endpoint for endpoint in self._all if endpoint.refusals.of(method) is not None]
        if replaceable and refusing:
            rejected = refusing[0].refusals.of(method)
        for endpoint in self._candidates(refusing, with_refusing=not replaceable):
            self.health.requests += 1
            try:
                await self._check_network(endpoint)
                answer = await endpoint.call(method, request)
                self._check_age(endpoint, method, answer)
            except RpcUnavailable as error:
                self.health.errors += 1
                endpoint.failed(error.retry_after)
                waits[endpoint] = error.retry_after or 0.0
                unavailable = error
            except RpcRejected as error:
                self.health.errors += 1
                if isinstance(error, PreflightFailure):
                    raise
                endpoint.refusals.add(method, error, is_only=len(self._all) == 1)
                rejected = rejected or error
            else:
                endpoint.recovered()
                endpoint.refusals.forget(method)
                self.health.heard()
                return answer
        if unavailable is not None and not (replaceable and rejected):
            unavailable.retry_after = min(waits.values()) or None
            raise unavailable
        if rejected is not None:
            raise rejected
        wait = min(endpoint.must_wait for endpoint in self._all)
        raise RpcUnavailable(
            f"The RPC endpoint {self._all[0].host} accepts no requests for {wait:.0f} s (Retry-After).",
            fix="Set network.fallback_rpc_urls, so that another endpoint can answer meanwhile.",
            retry_after=wait,
        )

    async def call_all(self, method: str, request: Request[object]) -> None:
        """Send a request to every healthy endpoint at once. It suffices if one of them accepts it.

        Raises:
            RpcUnavailable: no endpoint can answer now.
            RpcRejected: no endpoint accepted the request, and the first one refused it.
        """
        endpoints = [one for one in self._all if one.healthy and (not self._network or one in self._of_network)]
        if len(endpoints) < 2:
            await self.call(method, request)
            return
        self.health.requests += len(endpoints)
        outcomes = await asyncio.gather(*(one.call(method, request) for one in endpoints), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        self.health.errors += len(errors)
        for endpoint, outcome in zip(endpoints, outcomes, strict=True):
            if isinstance(outcome, RpcUnavailable):
                endpoint.failed(outcome.retry_after)
        for error in errors:
            if not isinstance(error, ChainError) or len(errors) == len(endpoints):
                raise error
        self.health.heard()

    async def check_same_network(self) -> str:
        """Return the genesis hash of the network, and check that all reachable endpoints belong to it.

        An endpoint that does not answer is checked before its first later answer is used.

        Raises:
            ConfigError: the endpoints belong to different networks, or not to the configured network.
            RpcUnavailable: no endpoint answers, and at least one may do so later.
            RpcRejected: all endpoints refuse the request.
        """
        seen: dict[str, str] = {}
        failure: ChainError | None = None
        for endpoint in self._all:
            try:
                answer = await endpoint.call("getGenesisHash", lambda client: client.get_genesis_hash())
            except ChainError as error:
                failure = failure if isinstance(failure, RpcUnavailable) else error
                continue
            seen[str(answer.value)] = endpoint.host
            self._of_network.add(endpoint)
        if len(seen) > 1:
            raise ConfigError(
                f"The RPC endpoints {' and '.join(seen.values())} belong to different networks.",
                fix="Correct network.rpc_url or network.fallback_rpc_urls.",
            )
        if self._genesis and set(seen) - {self._genesis}:
            raise ConfigError(
                f"The RPC endpoint {next(iter(seen.values()))} does not belong to the chosen network"
                f" (genesis hash {next(iter(seen))} instead of {self._genesis}).",
                fix="Correct network.rpc_url, choose the network of this endpoint, or set network.genesis.",
            )
        if not seen:
            raise failure or RpcUnavailable("No RPC endpoint answers.", fix="Check the connection and network.rpc_url.")
        self._network = next(iter(seen))
        return self._network

    async def _check_network(self, endpoint: Endpoint) -> None:
        """Check an endpoint that did not answer in `check_same_network`. A wrong one would show other rounds."""
        if not self._network or endpoint in self._of_network:
            return
        answer = await endpoint.call("getGenesisHash", lambda client: client.get_genesis_hash())
        if str(answer.value) != self._network:
            raise RpcUnavailable(
                f"The RPC endpoint {endpoint.host} does not belong to the network of the other endpoints.",
                fix="Correct network.rpc_url or network.fallback_rpc_urls.",
            )
        self._of_network.add(endpoint)

    def _compare(self) -> None:
        """Start to read the slots of all healthy endpoints, if it is time to."""
        if len(self._all) > 1 and self._pace.monotonic() >= self._compare_at:
            self._compare_at = self._pace.monotonic() + _COMPARE_SECONDS
            for endpoint in self._all:
                if endpoint.healthy:
                    self._probe_soon(endpoint)

    def _candidates(self, refusing: Sequence[Endpoint], *, with_refusing: bool) -> Iterator[Endpoint]:
        """Yield the endpoints in the order to try. Check the state of each endpoint only when it is its turn."""
        asked: set[Endpoint] = set()
        for endpoint in self._all:
            if endpoint.healthy and endpoint not in refusing:
                asked.add(endpoint)
                yield endpoint
            elif not endpoint.healthy and not endpoint.rests and len(self._all) > 1:
                self._probe_soon(endpoint)
        for endpoint in (*(one for one in self._all if one not in refusing), *(refusing if with_refusing else ())):
            # The pool uses its only endpoint again after the back-off, even if Retry-After requested a longer wait.
            is_overdue = len(self._all) == 1 and not endpoint.rests_by_itself
            if endpoint not in asked and (is_overdue or not endpoint.must_wait):
                yield endpoint

    def _check_age(self, endpoint: Endpoint, method: str, answer: object) -> None:
        slot = getattr(getattr(answer, "context", None), "slot", None)
        if not isinstance(slot, int):
            return
        if slot > _MOST_SLOTS:
            raise not_rpc(endpoint.host)
        # A single endpoint is used nevertheless: the whole chain may have stopped, and its accounts can still be read.
        if len(self._all) > 1 and endpoint.seconds_at(method, slot) > _MOST_SECONDS_AT_SLOT:
            raise RpcUnavailable(
                f"The RPC endpoint {endpoint.host} has shown the same slot for {_MOST_SECONDS_AT_SLOT:.0f} s.",
                fix="Wait for it to catch up, or use another endpoint.",
            )
        if slot < self._needed:
            raise RpcUnavailable(
                f"The RPC endpoint {endpoint.host} lags behind the chain and lacks this wallet's last transaction.",
                fix="Wait for it to catch up, or use another endpoint.",
            )
        if len(self._all) > 1 and _MOST_SLOTS_BEHIND < self._newest_slot - slot <= _BELIEVED_SLOTS:
            raise RpcUnavailable(
                f"The RPC endpoint {endpoint.host} is {self._newest_slot - slot:,} slots behind another endpoint.",
                fix="Wait for it to catch up, or use another endpoint.",
            )
        self._saw(slot)

    def _saw(self, slot: int) -> None:
        """Raise the newest known slot to ``slot`` if ``slot`` is higher.

        If the two slots are more than 100,000 apart, the higher one is implausible. Then the lower one becomes the
        newest known slot.
        """
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
            await self._check_network(endpoint)
            answer = await endpoint.call("getEpochInfo", lambda client: client.get_epoch_info())
        except RpcUnavailable as error:
            endpoint.failed(error.retry_after)
            return
        except RpcRejected:
            if not endpoint.healthy:  # a healthy one may refuse only this method
                endpoint.failed()
            return
        slot = answer.value.absolute_slot
        self._saw(slot)
        is_behind = slot < max(self._newest_slot - _MOST_SLOTS_BEHIND, self._needed)
        if is_behind or endpoint.stands_at(slot, _MOST_SECONDS_AT_SLOT):
            endpoint.failed()
            return
        if not endpoint.healthy:
            logger.info("The RPC endpoint %s works again", endpoint.host)
        endpoint.recovered()
