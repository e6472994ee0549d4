"""Commands on a local network without agents, as a new user types them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from decloud_pl.chain.fees import FeeLimits
from decloud_pl.cli.task import failure_of
from decloud_pl.config import NetworkConfig
from decloud_pl.diagnose.chain import check_chain
from decloud_pl.journal.audits import Audit, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.writer import Journal
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.harness.proxy import Fault, FaultProxy
from tests.world import World


@pytest.fixture
def ask(world: World, run: Any) -> Callable[..., Awaitable[Any]]:
    """Run a command with the network's settings while the network is running."""

    def command(*arguments: str) -> Awaitable[Any]:
        # The base models of this network are not valid, so the test skips their check.
        settings = [*world.overrides(), "join.verify=cid"]
        return asyncio.to_thread(run, *arguments, *settings)

    return command


async def test_a_run_prints_no_log_lines(world: World) -> None:
    environ = {**os.environ, "DECLOUD_PRIVATE_KEY": str(world.wallet.signer)}
    command = [sys.executable, "-m", "decloud_pl", "task=round", "round=99", *world.overrides()]
    child = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await child.communicate()
    assert (child.returncode, b"Looking for rounds" in out, b"HTTP Request" in out) == (13, True, False)
    assert error.startswith(b"decloud_pl: Round 99 does not exist on this network.")


async def test_an_interrupted_run_for_one_round_ends_with_130(world: World) -> None:
    environ = {**os.environ, "DECLOUD_PRIVATE_KEY": str(world.wallet.signer)}
    round_id = await world.post(model_cid="bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    command = [sys.executable, "-m", "decloud_pl", "task=round", f"round={round_id}", *world.overrides()]
    child = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    out = b""
    while b"Looking for rounds" not in out:
        line = await asyncio.wait_for(child.stdout.readline(), 60)
        assert line, out.decode()
        out += line
    child.send_signal(signal.SIGINT)
    rest = await child.stdout.read()
    assert (await child.wait(), b"Run the same command again to resume." in rest) == (130, True)


async def test_status_of_a_completed_round_without_a_share(
    world: World, ask: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", str(world.wallet.signer))
    round_id, me = await world.post(), world.wallet.address
    await world.as_other(world.dialect.join_round(round_id, trainer=me), world.wallet)
    await world.begin(round_id)
    submit = world.dialect.submit_gradients(round_id, trainer=me, gradient_cid=str(cid_of_file(world.home / "base")))
    await world.as_other(submit, world.wallet)
    assert "Share        not scored yet" in (await ask("status", str(round_id))).out
    await world.complete(round_id, 0)
    assert "Share        0 %, 0 SOL" in (await ask("status", str(round_id))).out


async def test_commands_that_only_read_need_no_wallet(world: World, ask: Callable[..., Awaitable[Any]]) -> None:
    number = str(await world.post())
    listed = await ask("list")
    assert (listed.code, listed.err) == (0, "")
    assert "waiting-trainers" in listed.out
    status = await ask("status", number)
    assert (status.code, status.err) == (0, "")
    assert status.out.splitlines()[-1] == "This wallet  none (No private key found)"
    explained = (await ask("explain", number, "--json")).document
    failed = {check["name"]: check["detail"] for check in explained["checks"] if not check["passed"]}
    assert failed == {"balance": "no wallet (No private key found); a join needs 0.00293892 SOL"}
    assert explained["joins"] is False
    # An unsuitable round is reported before the missing wallet.
    assert (await ask("explain", number, "rewards.min=5")).out.endswith("is below your minimum of 5 SOL.\n")
    wrong = await ask("explain", number, "wallet=environment", "--json")
    assert "wallet=environment, but DECLOUD_PRIVATE_KEY is not set" in wrong.out
    assert (await ask("status")).code == 4  # without an ID it needs a wallet


async def test_explain_shows_the_shares_of_an_audit_only_to_their_wallet(
    world: World, ask: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, mine = await world.post(), str(world.wallet.address)
    owner = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), mine)
    with Journal(world.home / "journal.sqlite", owner) as journal:
        store_audit(journal, Audit(number, "v", "c", "unfair", "delta", mine, 6_000, 1_000, 100, note="It kept half."))
    shares = "Your share is 10 %, and the fair share is 60 %. "
    for wallet, said in ((world.wallet, shares), (world.other, "")):
        monkeypatch.setenv("DECLOUD_PRIVATE_KEY", str(wallet.signer))
        assert f"The audit of its shares: unfair. {said}It kept half.\n" in (await ask("explain", str(number))).out
    assert (await ask("explain", str(number), "--json")).document["audit"]["trainer"] is None


async def test_a_creators_escape_sequences_reach_no_terminal(world: World, ask: Callable[..., Awaitable[Any]]) -> None:
    number = str(await world.post(model_cid="\x1b]8;;http://e\x07\x9b2J\u202e\r\n<b>'=" + "x" * 24))
    for command in (("list",), ("status", number), ("explain", number)):
        for options in ((), ("--json",)):
            said = await ask(*command, *options)
            assert not [char for char in said.out + said.err if char != "\n" and not char.isprintable()]
    shown = r"\x1b]8;;http://e\x07\x9b2J\u202e  <b>'=" + "x" * 24
    assert f"Model        {shown}\n" in (await ask("status", number)).out
    assert (await ask("status", number, "--json")).document["round"]["model_cid"] == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("methods", "fallback", "verdict", "fix"),
    [
        (["getProgramAccounts"], True, "note", "The daemon sends these requests to the other endpoints."),
        (["getProgramAccounts"], False, "note", "Without it the daemon finds its joins only in the latest 10,000"),
        (["sendTransaction"], False, "problem", "Use an endpoint that supports sendTransaction (network.rpc_url or"),
    ],
)
async def test_doctor_shows_what_each_endpoint_refuses(
    world: World, methods: list[str], fallback: bool, verdict: str, fix: str
) -> None:
    endpoints = world.network.endpoints
    async with FaultProxy(endpoints.rpc_url, endpoints.ws_url, faults=[Fault("410", methods)]) as proxy:
        others = [endpoints.rpc_url] if fallback else []
        network = NetworkConfig(rpc_url=proxy.url, ws_url=proxy.ws_url, fallback_rpc_urls=others)
        gateways = partial(GatewayReader, [endpoints.gateway_url])
        findings = await check_chain(network, FeeLimits(), gateways, world.wallet, poll_interval=1.0)
    first, *rest = [finding for finding in findings if finding.name == "methods"]
    assert first.verdict == verdict
    (method,) = methods
    said = f"{method}: refused (HTTP 410 Gone: {method} is not part of this plan), retrying in 10 min"
    assert first.detail == f"{proxy.url.removeprefix('http://')}: {said}"
    assert first.fix.startswith(fix)
    assert [finding.verdict for finding in rest] == ["ok"] * fallback


@pytest.mark.slow
async def test_doctor_finds_all_that_the_daemon_asks_for(world: World, ask: Callable[..., Awaitable[Any]]) -> None:
    findings = (await ask("doctor", "--json")).document["findings"]
    by_name = {finding["name"]: finding for finding in findings}
    assert by_name["methods"]["detail"].endswith("supports all methods of the daemon")
    assert by_name["websocket"]["verdict"] == "ok"


async def test_a_strangers_round_is_no_problem_of_this_machine(
    world: World, ask: Callable[..., Awaitable[Any]]
) -> None:
    number = await world.post(model_cid="nonsense" * 6)
    findings = (await ask("doctor", "--json")).document["findings"]
    (gateways,) = [finding for finding in findings if finding["name"] == "gateways"]
    assert (gateways["verdict"], f"round {number} may have" in gateways["fix"]) == ("note", True)
    assert "is not a supported CID" in gateways["detail"]


async def test_the_error_for_an_unknown_data_set_shows_how_to_map_it(
    world: World, run: Any, ask: Callable[..., Awaitable[Any]]
) -> None:
    """The documentation calls this "Dataset not found"."""
    number = str(await world.post(dataset="food101"))
    said = (await ask("explain", number)).out
    assert "does not join this round: The data set food101 is not supported." in said
    assert "Map it with `decloud-trainer config --add-mapping food101:NAME`" in said
    assert run("config", "--add-mapping", "food101:digits").code == 0
    assert "food101, trained on digits" in (await ask("explain", number)).out


@pytest.mark.parametrize("was_seen", [True, False])
async def test_a_run_for_one_round_that_is_missed_fails(world: World, *, was_seen: bool) -> None:
    number = await world.post()
    world.clock.advance(10 * 86_400)
    owner = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), str(world.wallet.address))
    if was_seen:
        with Journal(world.home / "journal.sqlite", owner) as journal:
            journal.save(RoundRecord(number, State.MISSED, "custom", "digits", "bafy", 1))
    settings = [*world.overrides(), "auto_train=false", "task=round", f"round={number}"]
    key = str(world.wallet.signer)
    environ = {**os.environ, "DECLOUD_HOME": str(world.home), "DECLOUD_PRIVATE_KEY": key}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "decloud_pl", *settings), env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 13
    why = "not joined, its join deadline has passed" if was_seen else "its join deadline has passed"
    assert said.decode() == f"decloud_pl: Round {number}: missed, {why}.\n"


async def test_a_run_for_one_round_ends_when_the_round_can_no_longer_be_joined(world: World) -> None:
    number = await world.post(claim=False)
    settings = [*world.overrides(), "auto_train=false", "task=round", f"round={number}"]
    environ = {**os.environ, "DECLOUD_HOME": str(world.home), "DECLOUD_PRIVATE_KEY": str(world.wallet.signer)}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "decloud_pl", *settings),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        while b"no validator" not in await child.stdout.readline():
            assert child.returncode is None
        world.clock.advance(10 * 86_400)
        _, said = await child.communicate()
    assert child.returncode == 13
    assert said.decode().startswith(f"decloud_pl: Round {number}: missed, ")


async def earn(world: World) -> int:
    """Complete a round in which this wallet has earned a reward; return its id."""
    number = await world.post()
    await world.as_other(world.dialect.join_round(number, trainer=world.wallet.address), signer=world.wallet)
    await world.begin(number)
    round_ = await world.round(number)
    submit = world.dialect.submit_gradients(number, trainer=world.wallet.address, gradient_cid=round_.model_cid)
    await world.as_other(submit, signer=world.wallet)
    world.clock.advance(4000)
    await world.as_other(world.dialect.check_round(number, creator=round_.creator))
    await world.complete(number)
    return number


async def claim(world: World, *arguments: str) -> tuple[int, str, str]:
    """Run the command ``claim`` with this wallet; return its exit code and output."""
    key = str(world.wallet.signer)
    environ = {**os.environ, "DECLOUD_HOME": str(world.home), "DECLOUD_PRIVATE_KEY": key}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "decloud_pl.cli", "claim", *arguments, *world.overrides()),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_a_reward_that_cannot_be_claimed_does_not_stop_the_others(world: World) -> None:
    numbers = [await earn(world) for _ in range(2)]
    owner = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), str(world.wallet.address))
    with Journal(world.home / "journal.sqlite", owner) as journal:
        journal.save(RoundRecord(numbers[0], State.ABORTED, "custom", "digits", "bafy", 10**9, reason="given up"))
    code, out, err = await claim(world, "--all", "--json")
    why = f"Round {numbers[0]}: aborted, given up."
    claims = [(entry["round_id"], entry["done"], entry.get("message")) for entry in json.loads(out)["rounds"]]
    assert (code, claims) == (13, [(numbers[0], "failed", why), (numbers[1], "now", None)])
    assert err.splitlines().count(f"decloud-trainer: {why}") == 1
    assert [(await world.submission(number)).reward_claimed for number in numbers] == [False, True]


async def test_a_failure_that_concerns_all_rewards_is_reported_once(world: World) -> None:
    numbers = [await earn(world) for _ in range(2)]
    with world.open_journal():  # as a daemon does
        code, out, err = await claim(world, "--all", "--json")
    assert (code, err.count("stop the daemon to claim by hand")) == (11, 1)
    assert [(entry["round_id"], entry["done"]) for entry in json.loads(out)["rounds"]] == [(numbers[0], "failed")]


async def test_a_claim_needs_no_storage(world: World) -> None:
    """It publishes nothing."""
    number = await earn(world)
    code, out, err = await claim(world, str(number), "storage=pinata")
    assert (code, err) == (0, "")
    assert f"Round {number}: claimed 0.882 SOL." in out
    assert (await world.submission(number)).reward_claimed


SUCCESSES = (State.SUBMITTED, State.CLAIMING, State.CLAIMED, State.UNREWARDED)


@pytest.mark.parametrize("state", [one for one in State if one.is_final or one in (*SUCCESSES, State.WITHHELD)])
def test_a_run_for_one_round_fails_unless_its_update_was_scored_or_waits_for_the_claim(state: State) -> None:
    record = RoundRecord(3, state, "custom", "digits", "bafy", 1, reason="this is why.")
    failure = failure_of([record])
    assert str(failure) == ("None" if state in SUCCESSES else f"Round 3: {state.value}, this is why.")
    assert failure_of([]) is None
