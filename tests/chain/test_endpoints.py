"""The choice of the endpoint: failover, rest, return and the request rate."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from solana.rpc.async_api import AsyncClient
from solders.pubkey import Pubkey
from solders.signature import Signature

from decloud_pl.chain.endpoint import Endpoint, TokenBucket
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.errors import ConfigError, RpcRejected, RpcUnavailable

ANYBODY = Pubkey.default()


class ManualPace:
    """A clock that advances only when a test sets it, or in a sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def jitter(self, seconds: float) -> float:
        return seconds


@dataclass
class Node:
    """An endpoint that answers with its balance, or with ``status`` or ``error`` if they are set."""

    balance: int
    url: str = ""
    status: int = 200
    error: int | None = None
    without_history: bool = False
    refused: dict[str, tuple[int, str] | int] = field(default_factory=dict)
    slot: int = 1000
    unconfirmed: int = 0
    genesis: str = "11111111111111111111111111111111"
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    probed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: web.Request) -> web.Response:
        call = json.loads(await request.read())
        self.calls.append(call["method"])
        if call["method"] == "getEpochInfo":
            self.probed.set()
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers)
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        if self.error is not None:
            return web.json_response({**reply, "error": {"code": self.error, "message": "no"}})
        refusal = self.refused.get(call["method"])
        if isinstance(refusal, int):
            return web.json_response({**reply, "error": {"code": refusal, "message": "Not in your plan."}})
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1])
        if self.without_history and call["params"][1].get("searchTransactionHistory"):
            return web.json_response({**reply, "error": {"code": -32011, "message": "no history"}})
        return web.json_response({**reply, "result": self._result(call["method"])})

    def _result(self, method: str) -> object:
        if method == "getGenesisHash":
            return self.genesis
        if method == "getEpochInfo":
            return {
                "absoluteSlot": self.slot,
                "blockHeight": self.slot,
                "epoch": 0,
                "slotIndex": 0,
                "slotsInEpoch": 1,
                "transactionCount": 0,
            }
        if method == "getProgramAccounts":
            return []
        if method == "sendTransaction":
            return str(Signature.default())
        # A status comes from the newest slot, other answers from a confirmed one.
        if method == "getSignatureStatuses":
            return {"context": {"slot": self.slot + self.unconfirmed}, "value": [None]}
        return {"context": {"slot": self.slot}, "value": self.balance}


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[Node, Node]]:
    made = (Node(1), Node(2))
    runners = []
    for node in made:
        application = web.Application()
        application.router.add_post("/", node.serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    yield made
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def pace() -> ManualPace:
    return ManualPace()


@pytest.fixture
async def rpc(nodes: tuple[Node, Node], pace: ManualPace) -> AsyncIterator[RpcClient]:
    client = RpcClient(nodes[0].url, fallbacks=[nodes[1].url], timeout=5, pace=pace)
    yield client
    await client.aclose()


async def until_probed(node: Node) -> None:
    await asyncio.wait_for(node.probed.wait(), 10)
    await probes_end()


async def probes_end() -> None:
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "probe"))


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(nodes: tuple[Node, Node]) -> None:
    endpoint = Endpoint(nodes[0].url, timeout=5, rate=0, pace=ManualPace())
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def request(_: AsyncClient) -> int | None:
        await answer
        return None

    asking = asyncio.create_task(endpoint.call("getBalance", request))
    await asyncio.sleep(0)
    answer.set_result(7)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await endpoint.aclose()


async def test_the_first_is_preferred(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    assert [await rpc.balance(ANYBODY) for _ in range(3)] == [1, 1, 1]
    assert nodes[1].calls == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_another_stands_in_and_the_first_comes_back(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace, status: int
) -> None:
    first, _ = nodes
    first.status = status
    assert await rpc.balance(ANYBODY) == 2
    first.status = 200
    assert await rpc.balance(ANYBODY) == 2  # it rests
    assert len(first.calls) == 1
    pace.now += 60
    assert await rpc.balance(ANYBODY) == 2  # the pool probes it in the background
    await until_probed(first)
    assert await rpc.balance(ANYBODY) == 1


async def test_the_rest_grows_with_each_failure(rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace) -> None:
    first, _ = nodes
    first.status = 500
    await rpc.balance(ANYBODY)
    for _ in range(400):
        pace.now += 1
        nodes[1].slot += 2
        await rpc.balance(ANYBODY)
        await probes_end()
    # Probes come after 2, 4, 8, … seconds, and finally every 120 seconds.
    assert 8 <= first.calls.count("getEpochInfo") <= 10


async def test_one_that_is_far_behind_does_not_come_back(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    first, second = nodes
    first.status = 500
    second.slot = 5000
    await rpc.balance(ANYBODY)
    first.status, first.slot = 200, 4000
    pace.now += 60
    await rpc.balance(ANYBODY)
    await until_probed(first)
    assert await rpc.balance(ANYBODY) == 2
    first.slot = 4990
    pace.now += 60
    first.probed.clear()
    await rpc.balance(ANYBODY)
    await until_probed(first)
    assert await rpc.balance(ANYBODY) == 1


async def test_an_endpoint_that_lags_behind_the_others_is_left_until_it_has_caught_up(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    first, second = nodes
    second.slot = 1500
    for first.slot in (1000, 1001):
        assert await rpc.balance(ANYBODY) == 1  # nothing has shown yet that the first one is behind
    pace.now, first.slot, second.slot = 300, 1700, 2200
    await rpc.balance(ANYBODY)
    await probes_end()
    pace.now, first.slot, second.slot = 301, 1702, 2202
    assert await rpc.balance(ANYBODY) == 2
    pace.now, first.slot, second.slot = 420, 2400, 2500
    await rpc.balance(ANYBODY)
    await probes_end()
    assert await rpc.balance(ANYBODY) == 1


async def test_an_endpoint_that_refuses_to_show_its_slot_is_used_nevertheless(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    nodes[0].refused["getEpochInfo"] = -32601
    for pace.now, nodes[0].slot in ((0, 1000), (300, 1700), (301, 1702)):
        assert await rpc.balance(ANYBODY) == 1
        await probes_end()


async def test_an_endpoint_that_stays_at_one_slot_is_left_until_it_moves(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    first, second = nodes
    assert await rpc.balance(ANYBODY) == 1
    pace.now, second.slot = 61, 1120
    assert await rpc.balance(ANYBODY) == 2
    pace.now, second.slot = 64, 1130
    assert await rpc.balance(ANYBODY) == 2  # the pool probes the first, which is less than 150 slots behind
    await until_probed(first)
    assert await rpc.balance(ANYBODY) == 2
    first.probed.clear()
    pace.now, first.slot, second.slot = 80, 1200, 1200
    assert await rpc.balance(ANYBODY) == 2
    await until_probed(first)
    assert await rpc.balance(ANYBODY) == 1


async def test_an_endpoint_that_stays_at_one_slot_for_each_method_is_left(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    first, second = nodes
    first.unconfirmed = 2
    for pace.now in range(0, 70, 5):
        second.slot = 1000 + 3 * pace.now
        await rpc.signature_statuses([Signature.default()])
        await rpc.balance(ANYBODY)
    assert await rpc.balance(ANYBODY) == 2


async def test_the_only_endpoint_is_read_even_if_the_chain_has_stopped(
    nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    rpc = RpcClient(nodes[0].url, timeout=5, pace=pace)
    for pace.now in (0, 3600):
        assert await rpc.balance(ANYBODY) == 1
    await rpc.aclose()


async def test_an_answer_from_before_our_transaction_is_not_taken(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    rpc.need(2000)
    nodes[1].slot = 2000
    assert await rpc.balance(ANYBODY) == 2
    nodes[1].slot = 1999
    with pytest.raises(RpcUnavailable, match="lags behind the chain"):
        await rpc.balance(ANYBODY)


async def test_retry_after_is_honoured_by_every_caller(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    for node in nodes:
        node.status, node.headers = 429, {"Retry-After": "30"}
    with pytest.raises(RpcUnavailable):
        await rpc.balance(ANYBODY)
    pace.now += 10
    with pytest.raises(RpcUnavailable, match="accepts no requests") as caught:
        await rpc.balance(ANYBODY)
    assert caught.value.retry_after == 20
    assert [len(node.calls) for node in nodes] == [1, 1]
    for node in nodes:
        node.status = 200
    pace.now += 21
    assert await rpc.balance(ANYBODY) in (1, 2)


@pytest.mark.parametrize(("waits", "shortest"), [(("20", "90"), 20), (("90", "20"), 20), (("", "90"), None)])
async def test_the_shortest_wait_that_an_endpoint_requests_is_handed_on(
    rpc: RpcClient, nodes: tuple[Node, Node], waits: tuple[str, str], shortest: float | None
) -> None:
    for node, wait in zip(nodes, waits, strict=True):
        node.status, node.headers = 429, {"Retry-After": wait}
    with pytest.raises(RpcUnavailable, match="overloaded") as caught:
        await rpc.balance(ANYBODY)
    assert caught.value.retry_after == shortest


async def test_an_endpoint_that_was_not_asked_again_yet_may_be_the_first_to_answer(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    nodes[0].status, nodes[0].headers = 429, {"Retry-After": "30"}
    await rpc.balance(ANYBODY)
    pace.now += 10
    nodes[1].status, nodes[1].headers = 429, {"Retry-After": "90"}
    with pytest.raises(RpcUnavailable, match="overloaded") as caught:
        await rpc.balance(ANYBODY)
    assert caught.value.retry_after == 20


async def test_all_that_rest_are_asked_rather_than_none(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        node.status = 500
    with pytest.raises(RpcUnavailable):
        await rpc.balance(ANYBODY)
    nodes[1].status = 200
    assert await rpc.balance(ANYBODY) == 2


@pytest.mark.parametrize("code", [-32601, -32010, -32600, -32602, -32011])
async def test_what_one_provider_does_not_offer_another_may(
    rpc: RpcClient, nodes: tuple[Node, Node], code: int
) -> None:
    nodes[0].error = code
    assert await rpc.balance(ANYBODY) == 2
    nodes[1].error = code
    with pytest.raises(RpcRejected):
        await rpc.balance(ANYBODY)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_no_reason_to_stand_still(
    rpc: RpcClient, nodes: tuple[Node, Node], status: int
) -> None:
    nodes[0].status = status
    assert await rpc.balance(ANYBODY) == 2


async def test_a_node_without_history_shows_what_was_sent_lately(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        node.error = -32011
    with pytest.raises(RpcRejected, match="TransactionHistoryNotAvailable"):
        await rpc.balance(ANYBODY)
    for node in nodes:
        node.error, node.without_history = None, True
    statuses = await rpc.signature_statuses([Signature.default()])
    assert (statuses.slot, statuses.values) == (1000, (None,))
    for node in nodes:
        node.calls.clear()
    await rpc.signature_statuses([Signature.default()])
    assert [node.calls for node in nodes] == [["getSignatureStatuses"], []]


@pytest.mark.parametrize("refusal", [(410, ""), (403, ""), -32010, -32600, -32601])
async def test_who_refuses_a_method_is_passed_over_for_it_alone_until_a_while_has_passed(
    rpc: RpcClient,
    nodes: tuple[Node, Node],
    pace: ManualPace,
    caplog: pytest.LogCaptureFixture,
    refusal: tuple[int, str] | int,
) -> None:
    caplog.set_level(logging.INFO)
    first, second = nodes
    first.refused["getProgramAccounts"] = refusal
    for _ in range(3):
        assert await rpc.program_accounts(ANYBODY, []) == []
        assert await rpc.balance(ANYBODY) == 1
    assert [node.calls.count("getProgramAccounts") for node in nodes] == [1, 3]
    assert second.calls.count("getBalance") == 0
    for count in (2, 3):
        pace.now += 600
        first.slot += 1500
        await rpc.program_accounts(ANYBODY, [])
        assert first.calls.count("getProgramAccounts") == count
    assert caplog.text.count("Avoiding this endpoint for getProgramAccounts for 10 min") == 1
    first.refused.clear()
    pace.now += 600
    for _ in range(2):
        await rpc.program_accounts(ANYBODY, [])
    assert (first.calls.count("getProgramAccounts"), second.calls.count("getProgramAccounts")) == (5, 5)
    assert caplog.text.count("no longer refuses getProgramAccounts") == 1


async def test_where_all_refuse_what_can_be_replaced_none_is_asked_again(
    rpc: RpcClient, nodes: tuple[Node, Node]
) -> None:
    nodes[0].refused["getProgramAccounts"] = 410, "Gone with plan A"
    nodes[1].refused["getProgramAccounts"] = -32601
    for _ in range(3):
        with pytest.raises(RpcRejected, match=r"refused getProgramAccounts \(HTTP 410 Gone: Gone with plan A\)"):
            await rpc.program_accounts(ANYBODY, [])
    assert [node.calls for node in nodes] == [["getProgramAccounts"]] * 2


async def test_where_one_refuses_and_another_is_away_the_caller_replaces_the_request(
    rpc: RpcClient, nodes: tuple[Node, Node]
) -> None:
    nodes[0].refused["getProgramAccounts"] = -32601
    nodes[1].status = 500
    for _ in range(2):
        with pytest.raises(RpcRejected, match="error -32601"):
            await rpc.program_accounts(ANYBODY, [])


async def test_where_all_refuse_what_is_needed_they_are_asked_every_time(
    rpc: RpcClient, nodes: tuple[Node, Node], caplog: pytest.LogCaptureFixture
) -> None:
    for node in nodes:
        node.refused["getBalance"] = 403, ""
    for _ in range(5):
        with pytest.raises(RpcRejected, match="HTTP 403"):
            await rpc.balance(ANYBODY)
    assert [len(node.calls) for node in nodes] == [5, 5]
    assert caplog.text.count("Avoiding this endpoint for getBalance for 10 min.") == 2
    nodes[1].refused.clear()
    assert await rpc.balance(ANYBODY) == 2


async def test_a_refusal_of_one_request_says_nothing_of_the_method(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    nodes[0].refused["getProgramAccounts"] = -32602
    for _ in range(2):
        await rpc.program_accounts(ANYBODY, [])
    assert nodes[0].calls == ["getProgramAccounts"] * 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"jsonrpc": "2.0", "error": {"code": 7, "message": "Upgrade for 0123-key."}}', ": Upgrade for …)"),
        ('{"error": "Upgrade"}', ": Upgrade)"),
        ('{"message": "Upgrade"}', ": Upgrade)"),
        ("Upgrade\n\x1b[31m now", ": Upgrade \\x1b[31m now)"),
        ("<html>Upgrade</html>", "Gone)"),
        ("[1]", "Gone)"),
        ("", "Gone)"),
        ("x" * 1_000_000, "x" * 200),
    ],
)
async def test_what_a_provider_says_is_quoted(nodes: tuple[Node, Node], body: str, said: str) -> None:
    nodes[0].refused["getProgramAccounts"] = 410, body
    rpc = RpcClient(nodes[0].url + "/?api-key=0123-key", timeout=5)
    with pytest.raises(RpcRejected) as caught:
        await rpc.program_accounts(ANYBODY, [])
    assert said in caught.value.message
    assert len(caught.value.message) < 400
    await rpc.aclose()


async def test_the_only_endpoint_is_asked_again_however_long_it_wants_to_be_left_alone(
    nodes: tuple[Node, Node], pace: ManualPace
) -> None:
    only, _ = nodes
    rpc = RpcClient(only.url, timeout=5, pace=pace)
    only.status, only.headers = 429, {"Retry-After": "999999999"}
    with pytest.raises(RpcUnavailable):
        await rpc.balance(ANYBODY)
    only.status = 200
    with pytest.raises(RpcUnavailable) as caught:
        await rpc.balance(ANYBODY)
    assert caught.value.retry_after == 300
    pace.now += 3
    assert await rpc.balance(ANYBODY) == 1
    await rpc.aclose()


@pytest.mark.parametrize("slot", [2**64 - 1, 2**63, 2**62 - 1])
async def test_one_wrong_slot_disables_no_honest_endpoint(
    rpc: RpcClient, nodes: tuple[Node, Node], pace: ManualPace, slot: int
) -> None:
    first, second = nodes
    first.slot = slot
    assert await rpc.balance(ANYBODY) in (1, 2)
    rpc.need(slot)  # the slot of a transaction that this endpoint reported as confirmed
    first.status, second.slot = 500, 1200
    pace.now += 130
    assert await rpc.balance(ANYBODY) == 2
    first.status, first.slot, second.status = 200, 1300, 500
    pace.now += 130
    await rpc.balance(ANYBODY)
    first.slot, second.slot, second.status = 1600, 1600, 200
    pace.now += 130
    assert await rpc.balance(ANYBODY) in (1, 2)
    await probes_end()
    assert await rpc.balance(ANYBODY) == 1


async def test_an_endpoint_of_another_network_than_the_chosen_one_is_refused(nodes: tuple[Node, Node]) -> None:
    rpc = RpcClient(nodes[0].url, genesis=str(Pubkey.new_unique()), timeout=5)
    with pytest.raises(ConfigError, match="does not belong to the chosen network"):
        await rpc.check_same_network()
    await rpc.aclose()


async def test_endpoints_of_different_networks_are_refused(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    assert await rpc.check_same_network() == nodes[0].genesis
    nodes[1].genesis = str(Pubkey.new_unique())
    with pytest.raises(ConfigError, match="different networks"):
        await rpc.check_same_network()
    nodes[1].status = 500
    assert await rpc.check_same_network() == nodes[0].genesis


async def test_an_endpoint_that_was_away_is_checked_before_its_first_answer_counts(
    rpc: RpcClient, nodes: tuple[Node, Node]
) -> None:
    first, second = nodes
    second.status, second.genesis = 500, str(Pubkey.new_unique())
    await rpc.check_same_network()
    first.status, second.status = 500, 200
    with pytest.raises(RpcUnavailable, match="does not belong to the network of the other endpoints"):
        await rpc.balance(ANYBODY)
    assert "getBalance" not in second.calls
    second.genesis = first.genesis
    assert await rpc.balance(ANYBODY) == 2


@pytest.mark.parametrize("away", [0, 1])
async def test_an_endpoint_that_is_away_may_answer_later_although_another_one_refuses(
    rpc: RpcClient, nodes: tuple[Node, Node], away: int
) -> None:
    nodes[away].status, nodes[1 - away].status = 500, 403
    with pytest.raises(RpcUnavailable):
        await rpc.check_same_network()


async def test_a_plain_http_endpoint_needs_no_certificates(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    rpc = RpcClient(nodes[0].url, timeout=5)
    assert await rpc.balance(ANYBODY) == 1
    await rpc.aclose()


async def test_bytes_are_sent_again_to_every_endpoint(rpc: RpcClient, nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    await rpc.send_again(b"transaction")
    assert [one.calls.count("sendTransaction") for one in nodes] == [1, 1]
    first.refused["sendTransaction"] = second.refused["sendTransaction"] = -32601
    with pytest.raises(RpcRejected):
        await rpc.send_again(b"transaction")
    del second.refused["sendTransaction"]
    await rpc.send_again(b"transaction")  # it suffices if one accepts the transaction
    first.calls.clear()
    first.status = 500
    await rpc.send_again(b"transaction")
    await rpc.send_again(b"transaction")
    assert first.calls.count("sendTransaction") == 1  # an endpoint that failed rests


async def test_a_rate_is_kept(nodes: tuple[Node, Node], pace: ManualPace) -> None:
    rpc = RpcClient(nodes[0].url, requests_per_second=4, pace=pace)
    for _ in range(46):
        await rpc.balance(ANYBODY)
    await rpc.aclose()
    assert pace.now == pytest.approx(10.0)  # six at once, then four per second


def test_a_bucket_fills_up_to_its_burst() -> None:
    bucket = TokenBucket(2.0, 3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert bucket.take(1000.0) == 0.0
    assert [bucket.take(1000.0) for _ in range(3)] == [0.0, 0.0, 0.5]
