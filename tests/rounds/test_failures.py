"""What follows a failure in a round: retries in time, and no joined round or finished update that is given up early."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import CLOCK_SYSVAR, RpcClient
from decloud_pl.chain.send import Sender
from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Round, RoundStatus, Submission, Update
from decloud_pl.errors import (
    ContentNotFound,
    DecloudError,
    DecodeError,
    IntegrityError,
    MachineShortage,
    ProgramError,
    RpcRejected,
    RpcUnavailable,
    StoreRejected,
    TrainingError,
)
from decloud_pl.executors.process import UPDATE_FILE, ProcessExecutor
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.drive import Again, Driver
from decloud_pl.rounds.failures import InternalError
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import Criteria
from decloud_pl.rounds.steps import Steps
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.publish import StorePublisher
from tests.chain.dialects.encoding import encode_round, encode_submission
from tests.store.fakes.server import Request, Server
from tests.world import Diary, NoPlan

ROUND = 7
NOW = 1_000_000
WINDOW = 3600
CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
DIALECT = get_dialect()
SYSVARS = Pubkey.from_string("Sysvar1111111111111111111111111111111111111")


class Chain(Server):
    """An RPC endpoint that knows one round, one wallet's place in it and the time, or refuses all requests."""

    round: Round | None = None
    place: Submission | None = None
    refusal = 0

    def handle(self, request: Request) -> None:
        call = json.loads(request.body())
        if self.refusal:
            request.answer(self.refusal)
            return
        assert call["method"] == "getMultipleAccounts"
        known: dict[Pubkey, dict[str, object]] = {
            CLOCK_SYSVAR: account(struct.pack("<QqQQq", 1, 0, 0, 0, NOW), SYSVARS)
        }
        if self.round is not None:
            known[DIALECT.round_address(ROUND)] = account(encode_round(self.round), DIALECT.program_id)
        if self.place is not None:
            place = DIALECT.submission_address(ROUND, self.place.trainer)
            known[place] = account(encode_submission(self.place), DIALECT.program_id)
        value = [known.get(Pubkey.from_string(address)) for address in call["params"][0]]
        request.answer(200, {"jsonrpc": "2.0", "id": call["id"], "result": {"context": {"slot": 5}, "value": value}})


def account(data: bytes, owner: Pubkey) -> dict[str, object]:
    encoded = [base64.b64encode(data).decode(), "base64"]
    return {"data": encoded, "owner": str(owner), "lamports": 1, "executable": False, "rentEpoch": 0}


@dataclass
class Time:
    """This machine's clocks."""

    unix: float = NOW
    monotonic: float = 50.0

    def passes(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds


@dataclass
class Bench:
    """A round in a driver, and its chain."""

    steps: Steps
    chain: Chain
    time: Time
    restart: Callable[[], Driver]

    def __post_init__(self) -> None:
        self.driver = self.restart()

    @property
    def record(self) -> RoundRecord:
        record = self.steps.journal.get(ROUND)
        assert record is not None
        return record

    def is_in(self, state: State, *, finished: bool = False) -> None:
        """Put the round into a state, with the chain as it is then, and with a finished update if asked."""
        me, other = self.steps.wallet.address, Keypair().pubkey()
        status = RoundStatus.WAITING_TRAINERS if state is State.WAITING else RoundStatus.TRAINING
        deadlines = (NOW, NOW + WINDOW, NOW + WINDOW)
        self.chain.round = Round(ROUND, other, CID, "custom", 10**9, status, other, 0, 0, 0, *deadlines, 1, 0, 0, 0, 10)
        self.chain.place = Submission(ROUND, me, "", False, 0, False, 0)
        self.steps.journal.save(RoundRecord(ROUND, state, "custom", "digits", CID, 10**9))
        if finished:
            folder = self.steps.folder(ROUND)
            folder.mkdir(parents=True)
            path = folder / "update.pt"
            path.write_bytes(b"an update")
            update = Update(path, str(cid_of_file(path)), "kubo-v1", 9, "delta", 0.1, 0.9)
            write_update(folder / UPDATE_FILE, update)

    def fails(self, *errors: DecloudError) -> None:
        for error in errors:
            again = self.driver.failed(ROUND, error)
            self.time.passes(0.0 if again is None else again.seconds)

    @property
    def is_kept(self) -> bool:
        return not self.record.state.is_final and self.steps.folder(ROUND).exists()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with ExitStack() as stack:
        chain, time, wallet = stack.enter_context(Chain()), Time(), Wallet(Keypair())
        journal = Journal(tmp_path / "journal.sqlite", Owner("", "program", str(wallet.address)))
        stack.callback(journal.close)
        rpc = RpcClient(chain.url)
        reader = GatewayReader([chain.url])
        steps = Steps(
            chain=ChainClient(rpc, DIALECT),
            sender=Sender(rpc, wallet, DIALECT, JournalTransactionLog(journal)),
            wallet=wallet,
            dialect=DIALECT,
            journal=journal,
            publisher=StorePublisher([], reader),
            reader=reader,
            executor=ProcessExecutor(),
            planner=NoPlan(),
            reporter=Diary(),
            rounds_folder=tmp_path / "rounds",
            max_model_bytes=1,
            deposit=DIALECT.submission_deposit,
            monotonic=lambda: time.monotonic,
        )
        policy = Policy(Criteria(), resolve=str, auto_train=False)
        yield Bench(steps, chain, time, lambda: Driver(steps, policy, now=lambda: time.unix))
        await rpc.aclose()


REFUSED = RpcRejected("The endpoint refuses the request.", code=403)
MISREAD = DecodeError("The account is too short.")
INTERNAL = InternalError("Internal error (KeyError).")
NOT_PAID = ProgramError("The program refuses the claim.", code=6016, name="RewardAlreadyClaimed")
BUSY = RpcUnavailable("The endpoint limits the request rate.", retry_after=3600)


@pytest.mark.parametrize("behind", ["without the round", "without the join"])
async def test_a_finished_update_survives_an_endpoint_that_is_behind(bench: Bench, behind: str) -> None:
    bench.is_in(State.PUBLISHING, finished=True)
    shown = bench.chain.round
    assert shown is not None
    early = replace(shown, status=RoundStatus.WAITING_VALIDATOR, submit_deadline=0, trainers_count=0)
    bench.chain.round, bench.chain.place = (None if behind == "without the round" else early), None
    for _ in range(9):
        again = await bench.driver.drive(ROUND)
        assert again is not None
        assert bench.is_kept
        assert f"shows round {ROUND} as it was earlier, or not at all" in bench.record.reason
        bench.time.passes(again.seconds)


async def test_a_joined_round_that_stays_away_from_the_chain_ends(bench: Bench) -> None:
    bench.is_in(State.WAITING)
    bench.chain.round = bench.chain.place = None
    while (again := await bench.driver.drive(ROUND)) is not None:
        bench.time.passes(again.seconds)
    assert bench.time.monotonic >= 650
    assert (bench.record.state, bench.record.reason) == (State.FAILED, "the round does not exist on this network")


async def test_after_a_restart_a_finished_update_waits_a_day_for_an_endpoint_that_catches_up(bench: Bench) -> None:
    bench.is_in(State.PUBLISHING, finished=True)
    shown = bench.chain.round, bench.chain.place
    bench.chain.round = bench.chain.place = None
    while bench.time.monotonic < 12 * 3600:
        again = await bench.driver.drive(ROUND)
        assert again is not None
        bench.time.passes(max(again.seconds, 1800))
    assert bench.is_kept
    bench.chain.round, bench.chain.place = shown
    await bench.driver.drive(ROUND)
    assert not bench.record.state.is_final
    bench.chain.round = bench.chain.place = None
    bench.driver = bench.restart()
    while (again := await bench.driver.drive(ROUND)) is not None:
        bench.time.passes(max(again.seconds, 1800))
    assert bench.record.state is State.FAILED


@pytest.mark.parametrize("state", [State.SEEN, State.JOINING])
async def test_a_round_to_join_survives_an_endpoint_that_is_behind(bench: Bench, state: State) -> None:
    """It got its row after a look that showed it open."""
    bench.is_in(state)
    shown = bench.chain.round
    assert shown is not None
    bench.chain.place = None
    for early in (None, replace(shown, status=RoundStatus.WAITING_VALIDATOR)):
        bench.chain.round = early
        again = await bench.driver.drive(ROUND)
        assert again is not None
        bench.time.passes(again.seconds)
    bench.chain.round = shown  # its training has begun
    assert await bench.driver.drive(ROUND) is None
    assert bench.record.state is State.MISSED


@pytest.mark.parametrize("error", [REFUSED, MISREAD, INTERNAL, StoreRejected("The key is wrong."), TrainingError("?")])
def test_no_error_deletes_a_finished_update_before_the_deadline(bench: Bench, error: DecloudError) -> None:
    bench.is_in(State.SUBMITTING, finished=True)
    bench.fails(*[error] * 20)
    assert bench.is_kept


async def test_after_the_deadline_an_internal_error_ends_the_round_within_about_an_hour(bench: Bench) -> None:
    bench.is_in(State.WAITING)
    assert await bench.driver.drive(ROUND) is None  # it reads the deadline
    bench.is_in(State.PUBLISHING, finished=True)
    bench.time.passes(WINDOW)
    bench.fails(*[INTERNAL] * 63)
    assert not bench.record.state.is_final
    assert bench.time.monotonic > 50 + WINDOW + 3000
    bench.fails(*[INTERNAL] * 4)
    assert bench.record.state is State.FAILED


def test_a_folder_that_cannot_be_read_ends_no_round_with_an_update(bench: Bench) -> None:
    bench.is_in(State.PUBLISHING, finished=True)
    file = bench.steps.folder(ROUND) / UPDATE_FILE
    file.unlink()
    file.mkdir()  # reading it is an OSError, also for root
    bench.fails(*[INTERNAL] * 9)
    assert not bench.record.state.is_final


def test_a_join_that_may_be_on_chain_survives_an_endpoint_that_refuses_requests(bench: Bench) -> None:
    bench.is_in(State.JOINING)
    log = JournalTransactionLog(bench.steps.journal)
    log.record(f"join:{ROUND}", Attempt("1" * 64, "1" * 32, 9, b"wire", "pending", 5000, 10**6))
    bench.fails(*[REFUSED] * 20)
    assert not bench.record.state.is_final


async def test_a_shortage_that_is_over_leaves_no_trace_in_the_row(bench: Bench) -> None:
    bench.is_in(State.WAITING)
    bench.fails(MachineShortage("The disk is full."))
    assert (bench.record.attempts, bench.record.next_try_at > 0) == (0, True)
    assert await bench.driver.drive(ROUND) is None
    assert bench.record.next_try_at == 0


def test_a_round_that_exhausts_the_machine_again_and_again_frees_its_slot(bench: Bench) -> None:
    bench.is_in(State.TRAINING)
    shortage = MachineShortage("The training process was killed, probably because memory ran out.")
    bench.fails(*[shortage] * 4)
    assert (bench.record.attempts, bench.record.occupies_slot) == (0, True)
    bench.fails(shortage)
    assert not bench.record.occupies_slot
    bench.fails(*[shortage] * 200)
    assert not bench.record.state.is_final
    bench.steps.enter(bench.record, State.TRAINING)  # the next attempt
    assert bench.record.occupies_slot


async def test_a_step_that_is_left_to_the_user_does_not_keep_an_earlier_failure_as_its_reason(bench: Bench) -> None:
    bench.is_in(State.TRAINING)
    bench.fails(BUSY)
    assert await bench.driver.drive(ROUND) is None
    assert (bench.record.attempts, bench.record.reason) == (0, "")


@pytest.mark.parametrize(("error", "kept"), [(REFUSED, 200), (MISREAD, 63), (INTERNAL, 63), (TrainingError("?"), 3)])
def test_a_joined_round_survives_an_endpoint_with_wrong_answers(bench: Bench, error: DecloudError, kept: int) -> None:
    bench.is_in(State.TRAINING)
    bench.fails(*[error] * kept)
    assert not bench.record.state.is_final
    if kept < 200:
        bench.fails(*[error] * 4)
        assert bench.record.state is State.FAILED


async def test_a_gateway_with_other_bytes_ends_no_joined_round_before_its_deadline(bench: Bench) -> None:
    bench.is_in(State.TRAINING)
    assert await bench.driver.drive(ROUND) is None  # it reads the deadline
    bench.fails(*[IntegrityError("The bytes do not match the CID.")] * 20)
    assert not bench.record.state.is_final
    bench.time.passes(WINDOW)
    bench.fails(*[IntegrityError("The bytes do not match the CID.")] * 4)
    assert bench.record.state is State.FAILED


def test_a_round_that_is_not_joined_is_given_up_after_four_errors(bench: Bench) -> None:
    bench.is_in(State.JOINING)
    bench.fails(*[REFUSED] * 3)
    assert not bench.record.state.is_final
    bench.fails(REFUSED)
    assert bench.record.state is State.FAILED


def test_failures_that_pass_are_not_counted_as_attempts_to_train(bench: Bench) -> None:
    bench.is_in(State.TRAINING)
    bench.fails(*[ContentNotFound("No gateway has the file.")] * 9, *[TrainingError("?")] * 3)
    assert not bench.record.state.is_final
    bench.fails(TrainingError("?"))
    assert bench.record.state is State.FAILED


async def test_a_successful_look_forgets_earlier_failures(bench: Bench) -> None:
    bench.is_in(State.WAITING)
    for _ in range(5):
        bench.fails(BUSY)
        assert bench.record.attempts == 1
        assert await bench.driver.drive(ROUND) is None
        assert (bench.record.attempts, bench.record.next_try_at) == (0, 0)


@pytest.mark.parametrize("state", [State.WAITING, State.TRAINING, State.SUBMITTING])
async def test_after_a_restart_a_busy_endpoint_is_asked_again_before_an_unknown_deadline(
    bench: Bench, state: State
) -> None:
    bench.is_in(state)
    bench.fails(BUSY)
    assert bench.time.monotonic == 110
    bench.time.passes(-60)
    bench.driver = bench.restart()
    assert await bench.driver.drive(ROUND) == Again(60)
    bench.time.passes(60)
    assert await bench.driver.drive(ROUND) is None


def test_a_reward_waits_as_long_as_a_busy_endpoint_asks(bench: Bench) -> None:
    bench.is_in(State.CLAIMING)
    bench.fails(BUSY)
    assert bench.time.monotonic == 3650


def test_a_claim_that_keeps_failing_is_retried_every_ten_minutes(bench: Bench) -> None:
    bench.is_in(State.CLAIMING)
    bench.fails(*[NOT_PAID] * 20)
    before = bench.time.monotonic
    bench.fails(NOT_PAID)
    assert (bench.record.state, bench.time.monotonic - before) == (State.CLAIMING, 600)
    bench.fails(RpcUnavailable("No endpoint answers."))
    assert bench.time.monotonic - before == 660


async def test_a_run_for_one_round_does_not_wait_after_an_earlier_failure(bench: Bench) -> None:
    bench.is_in(State.WAITING)
    bench.fails(RpcUnavailable("No endpoint answers."))
    bench.time.passes(-2)
    bench.driver = bench.restart()
    assert await bench.driver.reopen(ROUND)
    assert await bench.driver.drive(ROUND) is None  # it has looked at the round


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_set_back_delays_no_retry(bench: Bench, *, restarts: bool) -> None:
    bench.is_in(State.WAITING)
    bench.fails(RpcUnavailable("No endpoint answers."))
    bench.time.unix -= 7200
    if restarts:
        bench.driver = bench.restart()
        assert await bench.driver.drive(ROUND) == Again(60)
        bench.time.passes(60)
    assert await bench.driver.drive(ROUND) is None
