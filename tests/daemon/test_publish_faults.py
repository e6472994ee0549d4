"""The fault table: each store × each fault, through the daemon's publish step with a real journal.

Each entry lists the message to the user and the journal's state. No wrong CID gets on chain: the RPC endpoint here
records every request, and the step after a failed publish is never to submit.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender
from decloud_pl.chain.wallet import Wallet
from decloud_pl.daemon.loop import Daemon
from decloud_pl.domain import Payout, Round, RoundStatus, Submission, Update
from decloud_pl.errors import DecloudError, JournalError
from decloud_pl.executors.process import UPDATE_FILE, ProcessExecutor
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.uploads import JournalUploadLog
from decloud_pl.journal.writer import Journal
from decloud_pl.retry import Retry
from decloud_pl.rounds.drive import Driver
from decloud_pl.rounds.events import DaemonEvent, Trouble
from decloud_pl.rounds.life import Act, Finish, Wait, next_step
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import Criteria
from decloud_pl.rounds.steps import Steps
from decloud_pl.store import Store
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata import PinataCredentials, PinataStore
from decloud_pl.store.publish import StorePublisher
from decloud_pl.store.uploads import UploadState
from decloud_pl.train.plan import TrainingPlan
from tests.store.fakes.kubo import FakeKubo
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.pinata import JWT, KEY, SECRET, FakePinata
from tests.store.fakes.server import Fault, Request, Server, cut_request, silent, status
from tests.store.fakes.shelf import FakeGateway

DATA = random.Random(31).randbytes(300_000)
OTHER = cid_of(b"something else", 1)
ROUND = 7
NOW = 1_000_000


class RecordingRpc(Server):
    """A chain that must get no request."""

    def handle(self, request: Request) -> None:
        request.answer(500)


@dataclass
class Sleeps:
    """A clock that advances when a task sleeps."""

    now: float = 0.0
    store: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def monotonic(self) -> float:
        return self.now


class Notes:
    def __init__(self) -> None:
        self.troubles: list[str] = []

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Trouble):
            self.troubles.append(event.message)


class NoPlan:
    publish_reserve = 60.0

    def plan(
        self,
        record: RoundRecord,
        *,
        base_model: Path,
        folder: Path,
        finish_by: float | None = None,
        payout: Payout | None = None,
    ) -> TrainingPlan:
        raise AssertionError("this test trains no update")


@dataclass
class Bench:
    """One daemon with one finished update, before its publish step."""

    steps: Steps
    driver: Driver
    notes: Notes
    rpc: RecordingRpc
    shelf: FakeGateway
    update: Update

    @property
    def record(self) -> RoundRecord:
        record = self.steps.journal.get(ROUND)
        assert record is not None
        return record

    def upload(self, store: str) -> tuple[UploadState, str | None] | None:
        entry = JournalUploadLog(self.steps.journal, ROUND).get(store)
        return None if entry is None else (entry.state, entry.cid)

    async def publish(self, *, seconds_left: int = 60) -> None:
        """Make one attempt like the daemon."""
        try:
            await self.steps.publish(self.record, seconds_left=seconds_left)
        except DecloudError as error:
            self.driver.failed(ROUND, error)

    def decide(self, *, now: int = NOW) -> Act | Wait | Finish:
        """Return what the daemon decides at its next look."""
        anyone, ahead = Keypair().pubkey(), NOW + 60
        training = RoundStatus.TRAINING
        round_ = Round(ROUND, anyone, OTHER, "custom", 1, training, None, 0, 0, 0, 0, 0, ahead, 1, 0, 0, 0, 10)
        mine = Submission(ROUND, self.steps.wallet.address, "", False, 0, False, 0)
        return next_step(self.record, round_, mine, now=now, update_on_disk=self.update.path.exists())


def pinata_store(server: FakePinata, sleeps: Sleeps, credentials: PinataCredentials, timeout: float) -> PinataStore:
    retry = Retry(sleep=sleeps.store.append)
    return PinataStore(credentials, api_url=server.url, upload_url=server.url, timeout=timeout, retry=retry)


@dataclass
class Provider:
    """A store, its server, and the requests that carry the file."""

    store: Store
    server: FakeKubo | FakePinata
    upload_path: str


def kubo(stack: ExitStack, sleeps: Sleeps, timeout: float) -> Provider:
    server = stack.enter_context(FakeKubo())
    store = KuboStore(server.multiaddr, timeout=timeout, retry=Retry(sleep=sleeps.store.append))
    return Provider(store, server, "/api/v0/add")


def pinata_v1(stack: ExitStack, sleeps: Sleeps, timeout: float) -> Provider:
    server = stack.enter_context(FakePinata())
    pair = PinataCredentials(api_key=KEY, secret_key=SECRET)
    return Provider(pinata_store(server, sleeps, pair, timeout), server, "/pinning/pinFileToIPFS")


def pinata_v3(stack: ExitStack, sleeps: Sleeps, timeout: float) -> Provider:
    server = stack.enter_context(FakePinata())
    return Provider(pinata_store(server, sleeps, PinataCredentials(jwt=JWT), timeout), server, "/v3/files")


PROVIDERS = {"kubo": kubo, "pinata v1": pinata_v1, "pinata v3": pinata_v3}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path, stack: ExitStack, sleeps: Sleeps) -> MakeBench:
    def make(*stores: Store, files: dict[str, bytes]) -> Bench:
        rpc_server = stack.enter_context(RecordingRpc())
        shelf = stack.enter_context(FakeGateway())
        shelf.files = files
        dialect, wallet, notes = get_dialect(), Wallet(Keypair()), Notes()
        journal = Journal(tmp_path / "journal.sqlite", Owner("", "program", str(wallet.address)))
        stack.callback(journal.close)
        rpc = RpcClient(rpc_server.url)
        steps = Steps(
            chain=ChainClient(rpc, dialect),
            sender=Sender(rpc, wallet, dialect, JournalTransactionLog(journal)),
            wallet=wallet,
            dialect=dialect,
            journal=journal,
            publisher=StorePublisher(stores, GatewayReader([shelf.url]), 60, sleeps.sleep, sleeps.monotonic),
            reader=GatewayReader([shelf.url]),
            executor=ProcessExecutor(),
            planner=NoPlan(),
            reporter=notes,
            rounds_folder=tmp_path / "rounds",
            max_model_bytes=1,
            deposit=dialect.submission_deposit,
        )
        folder = steps.folder(ROUND)
        folder.mkdir(parents=True)
        path = folder / "update.pt"
        path.write_bytes(DATA)
        update = Update(path, str(cid_of_file(path)), "kubo-v1", len(DATA), "delta", 0.1, 0.9)
        write_update(folder / UPDATE_FILE, update)
        journal.save(RoundRecord(ROUND, State.TRAINING, "custom", "digits", OTHER, 10**9))
        policy = Policy(Criteria(), resolve=str)
        daemon = Daemon(steps, policy, watch=None, now=lambda: NOW)  # type: ignore[arg-type]  # never run
        return Bench(steps, daemon.driver, notes, rpc_server, shelf, update)

    return make


def check_nothing_submitted(bench: Bench) -> None:
    record = bench.record
    assert record.state is State.PUBLISHING
    assert record.pinned_cid is None
    assert bench.decide() == Act("publish")
    assert bench.update.path.read_bytes() == DATA
    assert not bench.update.path.with_name("read-back").exists()
    assert bench.rpc.log == [], "the chain was not spoken to"
    assert bench.steps.journal.connection.execute("SELECT COUNT(*) FROM transactions").fetchone() == (0,)


@dataclass(frozen=True)
class Row:
    """An entry of the table: the faults of the file's requests, the message to the user, and the retry's wait."""

    faults: tuple[Fault, ...]
    sentence: str
    fix: str
    wait: float = 2.0


TABLE = {
    "timeout": Row((silent,) * 4, "did not answer within 0.3 s.", ""),
    "cut mid-body": Row((cut_request,) * 4, "b", "."),
    "401": Row((status(401),), "does not accept the credentials", "Check "),
    "403": Row((status(403),), "does not permit this request", "missing permission"),
    "413": Row((status(413),), "does not accept a file of this size", "Make the update smaller"),
    "429": Row((status(429, Retry_After="90"),), "limits the request rate for 90 s", "", wait=90.0),
    "500 again and again": Row((status(500),) * 4, "failed with HTTP 500", ""),
}


OF_KUBO = {  # which is sent no credentials
    "401": Row((status(401),), "requires a login (HTTP 401", "the proxy in front of the node"),
    "403": Row((status(403),), "denies access (HTTP 403", "API.Authorizations"),
}


@pytest.mark.parametrize("fault", TABLE)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_fault_delays_and_is_named(
    provider: str, fault: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    row = OF_KUBO.get(fault, TABLE[fault]) if provider == "kubo" else TABLE[fault]
    made = PROVIDERS[provider](stack, sleeps, 0.3 if fault == "timeout" else 10.0)
    one = bench(made.store, files=made.server.files)
    made.server.faulty = lambda request: request.path == made.upload_path
    made.server.faults = list(row.faults)
    await one.publish()
    who = "The IPFS node at /ip4/127.0.0.1/tcp/" if provider == "kubo" else "Pinata "
    reason = one.record.reason
    assert reason.startswith(who)
    assert row.sentence in reason
    assert row.fix in reason
    assert one.notes.troubles == [f"{reason} Retrying in {row.wait:.0f} s."]
    assert one.record.next_try_at == NOW + row.wait
    assert one.record.attempts == 1
    assert one.upload(made.store.name) == (UploadState.BEGUN, None)
    check_nothing_submitted(one)
    assert made.server.faults == [], "all of the faults were met"
    # After the fault has passed, the update is pinned once.
    await one.publish()
    assert one.record.pinned_cid == one.update.cid
    assert one.record.pinned_provider == made.store.name
    assert one.upload(made.store.name) == (UploadState.READABLE, one.update.cid)
    assert one.decide() == Act("submit")
    assert list(made.server.files) == [one.update.cid]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_store_that_refuses_connections(
    provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    made = PROVIDERS[provider](stack, sleeps, 5.0)
    one = bench(made.store, files={})
    made.server.__exit__(None, None, None)
    with socket.socket() as taken:  # reserves the port without listening
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(made.server.url.rpartition(":")[2])))
        await one.publish()
    assert "cannot be reached" in one.record.reason
    assert one.upload(made.store.name) == (UploadState.BEGUN, None)
    assert len(sleeps.store) == 3
    check_nothing_submitted(one)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_three_errors_then_success(provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps) -> None:
    made = PROVIDERS[provider](stack, sleeps, 10.0)
    one = bench(made.store, files=made.server.files)
    made.server.faulty = lambda request: request.path == made.upload_path
    made.server.faults = [status(500)] * 3
    await one.publish()
    assert one.notes.troubles == []
    assert one.record.pinned_cid == one.update.cid
    assert one.upload(made.store.name) == (UploadState.READABLE, one.update.cid)
    assert sleeps.store == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("lie", [OTHER, "not a CID", "../../etc/passwd", ""])
async def test_a_wrong_cid(lie: str, provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps) -> None:
    made = PROVIDERS[provider](stack, sleeps, 10.0)
    one = bench(made.store, files=made.server.files)
    made.server.faulty = lambda request: request.path == made.upload_path
    made.server.lie = lie
    await one.publish()
    if lie == OTHER:
        assert f"The store {made.store.name} returned the CID {OTHER}" in one.record.reason
    else:
        assert "is not a supported CID" in one.record.reason
    for _ in range(6):
        await one.publish()
    assert "The update was not submitted." in one.record.reason
    assert one.upload(made.store.name) == (UploadState.WRONG, lie)
    assert made.server.count("POST", made.upload_path) == 1, "it is not pinned again"
    assert one.shelf.log == [], "the daemon read back a wrong CID"
    check_nothing_submitted(one)


@pytest.mark.parametrize("provider", [*PROVIDERS, "embedded"])
async def test_accepted_but_never_readable(
    provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps, tmp_path: Path
) -> None:
    store: Store = EmbeddedStore(tmp_path / "store")
    server: FakeKubo | FakePinata | None = None
    path = ""
    if provider != "embedded":
        made = PROVIDERS[provider](stack, sleeps, 10.0)
        store, server, path = made.store, made.server, made.upload_path
    one = bench(store, files={})
    for attempt in range(6):  # more attempts than a failed training gets
        await one.publish()
        assert one.record.attempts == attempt + 1
    assert (
        f"{one.update.cid} but cannot be read back yet: The gateway {one.shelf.url.removeprefix('http://')} does"
        in (one.record.reason)
    )
    assert one.upload(store.name) == (UploadState.STORED, one.update.cid)
    check_nothing_submitted(one)
    if server is not None:
        assert server.count("POST", path) == 1, "it is not pinned again"
    one.shelf.files = {one.update.cid: DATA}
    await one.publish()
    assert one.record.pinned_cid == one.update.cid


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_store_that_loses_the_update_gets_it_again(
    provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    made = PROVIDERS[provider](stack, sleeps, 10.0)
    one = bench(made.store, files={})
    await one.publish()
    assert one.upload(made.store.name) == (UploadState.STORED, one.update.cid)
    made.server.files.clear()
    if isinstance(made.server, FakeKubo):
        made.server.pins.clear()
    one.shelf.files = made.server.files
    await one.publish()
    assert one.record.pinned_cid == one.update.cid
    assert one.upload(made.store.name) == (UploadState.READABLE, one.update.cid)
    assert made.server.count("POST", made.upload_path) == 2


async def test_an_embedded_store_that_cannot_write(bench: MakeBench, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where the folder should be")
    one = bench(EmbeddedStore(tmp_path / "store"), files={})
    for _ in range(6):
        await one.publish()
    assert "cannot be written" in one.record.reason
    assert "Free disk space" in one.record.reason
    assert one.upload("embedded") == (UploadState.BEGUN, None)
    check_nothing_submitted(one)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_other_bytes_read_back(provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps) -> None:
    made = PROVIDERS[provider](stack, sleeps, 10.0)
    one = bench(made.store, files={})
    one.shelf.files = {one.update.cid: DATA[:-1] + b"?"}
    await one.publish()
    assert "do not match" in one.record.reason
    assert one.upload(made.store.name) == (UploadState.STORED, one.update.cid)
    check_nothing_submitted(one)


async def test_the_fallback_takes_over(bench: MakeBench, stack: ExitStack, sleeps: Sleeps) -> None:
    first, second = pinata_v3(stack, sleeps, 10.0), kubo(stack, sleeps, 10.0)
    one = bench(first.store, second.store, files=second.server.files)
    first.server.faulty = lambda request: request.path == first.upload_path
    first.server.faults = [status(401)] * 9
    await one.publish()
    assert one.record.pinned_provider == "kubo"
    assert one.upload("pinata") == (UploadState.BEGUN, None)
    assert one.upload("kubo") == (UploadState.READABLE, one.update.cid)
    assert one.decide() == Act("submit")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_crash_after_the_upload_pins_nothing_twice(
    provider: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    made = PROVIDERS[provider](stack, sleeps, 10.0)
    one = bench(made.store, files=made.server.files)
    # The row "begun" is written but "stored" is not, as if the process had died in between.
    database = one.steps.journal.connection
    database.execute(
        "CREATE TEMP TRIGGER dies BEFORE INSERT ON uploads WHEN NEW.state <> 'begun'"
        " BEGIN SELECT RAISE(ABORT, 'dead'); END"
    )
    with pytest.raises(JournalError):
        await one.steps.publish(one.record, seconds_left=60)
    database.execute("DROP TRIGGER dies")
    assert one.upload(made.store.name) == (UploadState.BEGUN, None)
    assert list(made.server.files) == [one.update.cid]
    await one.publish()
    assert made.server.count("POST", made.upload_path) == 1
    assert one.record.pinned_cid == one.update.cid


async def test_a_silent_store_does_not_occupy_the_slot_beyond_the_deadline(
    bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    made = kubo(stack, sleeps, 20.0)
    one = bench(made.store, files={})
    made.server.faults = [silent] * 4
    await one.publish(seconds_left=0)
    assert one.notes.troubles[0].startswith("No store published the update within 1 s. Check the connection")
    check_nothing_submitted(one)
    assert one.decide(now=NOW + 61) == Finish(State.MISSED, "the submit deadline passed before the update was ready")


async def test_the_journal_shows_the_whole_course(bench: MakeBench, stack: ExitStack, sleeps: Sleeps) -> None:
    made = pinata_v1(stack, sleeps, 10.0)
    one = bench(made.store, files=made.server.files)
    made.server.faulty = lambda request: request.path == made.upload_path
    made.server.faults = [status(403), status(429, Retry_After="90")]
    for _ in range(3):
        await one.publish()
    course = [(state, reason.partition(" (")[0]) for _, state, reason, _ in one.steps.journal.transitions(ROUND)]
    assert course == [
        (State.TRAINING, ""),
        (State.PUBLISHING, ""),
        (State.PUBLISHING, "Pinata does not permit this request with the current credentials"),
        (State.PUBLISHING, ""),
        (State.PUBLISHING, "Pinata limits the request rate for 90 s"),
        (State.PUBLISHING, ""),
    ]
    assert one.record == replace(one.record, pinned_cid=one.update.cid, pinned_provider="pinata")


@pytest.mark.parametrize("version", ["v1", "v3"])
async def test_a_server_that_repeats_a_key_does_not_get_it_into_the_journal(
    version: str, bench: MakeBench, stack: ExitStack, sleeps: Sleeps
) -> None:
    secret = "a-secret-that-is-wrong"
    credentials = PinataCredentials(jwt=secret) if version == "v3" else PinataCredentials(KEY, secret)
    server = stack.enter_context(FakePinata())
    one = bench(pinata_store(server, sleeps, credentials, 10.0), files={})
    await one.publish()
    assert "Invalid/expired credentials" in one.record.reason
    assert "[hidden]" in one.record.reason
    one.steps.journal.connection.execute("PRAGMA wal_checkpoint")
    for file in one.steps.journal.path.parent.glob("journal*"):
        assert secret.encode() not in file.read_bytes(), file.name
    assert secret not in "".join(one.notes.troubles)
    check_nothing_submitted(one)
