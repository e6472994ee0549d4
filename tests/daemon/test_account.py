"""Updates from outside the daemon are submitted by its steps: once, completely, and also after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.wallet import Wallet, create_wallet
from decloud_pl.children import Child, output_of
from decloud_pl.cli import main
from decloud_pl.config import Settings, compose
from decloud_pl.daemon.account import WalletRounds
from decloud_pl.daemon.assemble import assemble
from decloud_pl.domain import Update
from decloud_pl.errors import JournalLocked, RoundError, TrainingError
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE, lock
from decloud_pl.journal.writer import Journal
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.world import World

KILLED = 9
# Publishes in a fork, because an import takes a second. The fork exits after a state is in the journal and before its
# effect. No outside signal could be timed to that moment.
_DIES = """
import asyncio, json, os, sys
from pathlib import Path
from decloud_pl.chain.wallet import load_wallet
from decloud_pl.daemon.account import WalletRounds
from decloud_pl.rounds.events import Changed
from decloud_pl.domain import Update
from decloud_pl.config import compose
from decloud_pl.store.ipfs.unixfs import cid_of_file

key, path, *overrides = sys.argv[1:]
wallet, path, settings = load_wallet(keypair_path=Path(key), environ={}), Path(path), compose(overrides)


class Killer:
    def report(self, event):
        if isinstance(event, Changed) and event.record.state.value == last:
            os._exit(9)


async def publish(number):
    account = WalletRounds(settings, wallet, Killer())
    await account.open()
    await account.publish(number, Update(path, str(cid_of_file(path)), "kubo-v1", path.stat().st_size, "delta"))


for line in sys.stdin:
    number, last = json.loads(line)
    fork = os.fork()
    if fork == 0:
        try:
            asyncio.run(publish(number))
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
"""


@pytest.fixture
def wallet(world: World, tmp_path: Path) -> Wallet:
    found = create_wallet(tmp_path / "id.json")
    world.network.vm.airdrop(found.address, 10**9)
    world.wallet = found
    return found


@asynccontextmanager
async def opened(
    world: World, wallet: Wallet, *more: str, settings: Settings | None = None
) -> AsyncIterator[WalletRounds]:
    account = WalletRounds(settings or compose([*world.overrides(), *more]), wallet, world.diary)
    try:
        await account.open()
        yield account
    finally:
        await account.aclose()


def update(path: Path, data: bytes) -> Update:
    path.write_bytes(data)
    return Update(path, str(cid_of_file(path)), "kubo-v1", len(data), "delta")


async def test_an_update_is_submitted_once_and_its_reward_claimed(world: World, wallet: Wallet, tmp_path: Path) -> None:
    number = await world.post()
    mine = update(tmp_path / "mine.pt", b"a trained update")
    async with opened(world, wallet) as account:
        await account.join(number)
        publishing = asyncio.create_task(account.publish(number, mine))
        await world.diary.looks(number, 1)  # it waits for the validator
        await world.begin(number)
        assert await publishing == mine.cid
        world.clock.advance(1)
        assert await account.publish(number, mine) == mine.cid
        with pytest.raises(RoundError, match=rf"Round {number} already has another update of this wallet: {mine.cid}"):
            await account.publish(number, update(tmp_path / "other.pt", b"another update"))
        with pytest.raises(RoundError, match=rf"Round {number} was not scored within 0\.2 s\. Claim the reward later"):
            await account.claim(number, seconds=0.2)
        claiming = asyncio.create_task(account.claim(number, seconds=None))
        await world.diary.looks(number, 1)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        world.clock.advance(3700)
        await _validate(world, number)
        assert await account.claim(number, seconds=None) == (10_000, 882_000_000)
        assert await account.claim(number, seconds=None) == (10_000, 882_000_000)
    states = world.diary.states(number)
    assert states.count(State.SUBMITTING) == states.count(State.CLAIMING) == 1
    assert (await world.chain.submission(number, wallet.address)).gradient_cid == mine.cid  # type: ignore[union-attr]
    assert world.row(number).accuracy_before is None


async def _validate(world: World, number: int) -> None:
    round_ = await world.chain.round(number)
    assert round_ is not None
    if round_.status.name == "TRAINING":
        await world.as_other(world.dialect.check_round(number, creator=round_.creator))
    await world.complete(number)


@pytest.mark.slow
async def test_a_kill_before_the_submission_loses_nothing(world: World, wallet: Wallet, tmp_path: Path) -> None:
    path, other = tmp_path / "mine.pt", update(tmp_path / "other.pt", b"another update")
    command = (sys.executable, "-c", _DIES, str(tmp_path / "id.json"), str(path), *world.overrides())
    child = await Child.start(command, log=asyncio.subprocess.DEVNULL, env=os.environ)
    settings = compose(world.overrides())
    try:
        for last, then in product(("publishing", "submitting"), ("publish", "claim", "another")):
            number, mine = await world.post(), update(path, b"a trained update")
            async with opened(world, wallet, settings=settings) as account:
                await account.join(number)
            await world.begin(number)
            child.stdin.write(json.dumps([number, last]).encode() + b"\n")
            assert int(await child.stdout.readline()) == KILLED
            assert not (await world.submission(number)).submitted
            async with opened(world, wallet, settings=settings) as account:
                assert await account.next_round(None, seconds=0) == number
                if then == "publish":
                    mine.path.unlink()  # the round has its own copy
                    assert await account.publish(number, mine) == mine.cid
                elif then == "another":
                    assert await account.publish(number, other) == other.cid
                else:
                    with pytest.raises(RoundError, match="was not scored within"):
                        await account.claim(number, seconds=0.1)
            cid = (await world.submission(number)).gradient_cid
            assert cid == (other if then == "another" else mine).cid, (last, then)
    finally:
        await child.end()


async def test_one_that_may_be_on_its_way_is_not_replaced(world: World, wallet: Wallet, tmp_path: Path) -> None:
    number = await world.post()
    mine = update(tmp_path / "mine.pt", b"a trained update")
    async with opened(world, wallet) as account:
        await account.join(number)
        await world.begin(number)
        await account.publish(number, mine)
    # The chain would refuse a second update. This one is not even pinned.
    async with assemble(compose(world.overrides()), wallet, world.diary) as daemon:
        daemon.steps.hand_in(number, mine)
        with pytest.raises(RoundError, match=rf"An earlier update of round {number} is being submitted: {mine.cid}"):
            daemon.steps.hand_in(number, update(tmp_path / "other.pt", b"another update"))


async def test_what_cannot_be_handed_in(world: World, wallet: Wallet, tmp_path: Path) -> None:
    number = await world.post()
    mine = update(tmp_path / "mine.pt", b"a trained update")
    async with opened(world, wallet) as account:
        for step in (account.publish(7, mine), account.claim(7, seconds=None), account.round(7), account.join(7)):
            with pytest.raises(RoundError, match=r"Round 7 does not exist"):
                await step
        with pytest.raises(RoundError, match=rf"This wallet has not joined round {number}\."):
            await account.publish(number, mine)
        await account.join(number)
        await account.join(number)
        await world.begin(number)
        with pytest.raises(RoundError, match=rf"Round {number} has no submission of this wallet\. Publish"):
            await account.claim(number, seconds=None)
        mine.path.write_bytes(b"half")
        with pytest.raises(TrainingError, match=r"mine\.pt is incomplete\."):
            await account.publish(number, mine)
        mine.path.unlink()
        with pytest.raises(TrainingError, match=r"mine\.pt cannot be read: No such file"):
            await account.publish(number, mine)
        assert await account.publish(number, update(mine.path, b"a trained update")) == mine.cid


async def test_a_data_set_that_is_not_here_is_no_obstacle(world: World, wallet: Wallet) -> None:
    number = await world.post(dataset="librispeech")
    async with opened(world, wallet, "mappings={}") as account:
        assert await account.next_round("librispeech", seconds=0) == number
        await account.join(number)
    assert await world.chain.submission(number, wallet.address) is not None


async def test_the_next_round_is_one_that_the_settings_want(world: World, wallet: Wallet) -> None:
    for dataset, reward in (("mnist", 10**9), ("custom", 10**8), ("custom", 10**9)):
        await world.post(dataset=dataset, reward=reward)
    async with opened(world, wallet, "datasets=[digits]", "rewards.min=0.5") as account:
        assert await account.next_round(None, seconds=0) == 2
        assert await account.next_round("mnist", seconds=0) == 0
        with pytest.raises(RoundError, match=r"No round for svhn was open within 0 s\. Pass a larger timeout=\."):
            await account.next_round("svhn", seconds=0)


async def test_a_joined_round_that_never_starts_does_not_keep_the_next_one_away(world: World, wallet: Wallet) -> None:
    first = await world.post()
    async with opened(world, wallet) as account:
        await account.join(first)
        assert await account.next_round(None, seconds=0) == first
        world.clock.advance(2 * 3600)
        second = await world.post()
        assert await account.next_round(None, seconds=0) == second


async def test_a_home_that_a_daemon_uses(world: World, wallet: Wallet) -> None:
    descriptor = lock(world.home / "journal.sqlite")
    try:
        with pytest.raises(JournalLocked, match=rf"A daemon or another session \(process {os.getpid()}\) is using"):
            async with opened(world, wallet):
                pass
    finally:
        os.close(descriptor)


async def test_two_accounts_may_take_turns_in_one_home(world: World, wallet: Wallet) -> None:
    first, second = await world.post(), await world.post()
    async with opened(world, wallet, "max_concurrent_rounds=2") as one, opened(world, wallet) as other:
        await one.join(first)
        with pytest.raises(RoundError, match="all slots are busy with other rounds"):
            await other.join(second)
        await one.join(second)


async def failed(world: World, wallet: Wallet, *, reason: str = "the disk broke") -> int:
    """A round in training that this wallet has joined and that failed for it."""
    number = await world.post()
    await world.as_other(world.dialect.join_round(number, trainer=wallet.address), signer=wallet)
    await world.begin(number)
    await leave_row(world, wallet, number, State.FAILED, reason)
    return number


async def leave_row(world: World, wallet: Wallet, number: int, state: State, reason: str = "") -> None:
    owner = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), str(wallet.address))
    with Journal(world.home / JOURNAL_FILE, owner) as journal:
        cid = (await world.round(number)).model_cid
        journal.save(RoundRecord(number, state, "custom", "digits", cid, 10**9, reason=reason, pinned_cid="x"))


async def test_a_round_that_failed_takes_an_update_after_all(world: World, wallet: Wallet, tmp_path: Path) -> None:
    number = await failed(world, wallet)
    mine = update(tmp_path / "mine.pt", b"a trained update")
    async with opened(world, wallet) as account:
        assert await account.publish(number, mine) == mine.cid
    states = world.diary.states(number)
    assert (states[:2], states[-1]) == ([State.FAILED, State.WAITING], State.SUBMITTED)


@pytest.mark.slow
async def test_a_round_that_failed_is_trained_again_or_it_is_said_why_not(
    world: World, wallet: Wallet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*world.overrides(), f"wallet.keypair_path={tmp_path / 'id.json'}"]

    async def train(number: int) -> tuple[int, str]:
        """Call the command in a thread: a step that is refused sets no signal handlers."""
        capsys.readouterr()
        return await asyncio.to_thread(main, ["train", str(number), *own]), capsys.readouterr().err

    number, settings = await failed(world, wallet), compose(world.overrides())
    # Its base model is not a model, and the training fails on it again.
    ended = await output_of((sys.executable, "-m", "decloud_pl.cli", "train", str(number), *own), seconds=120)
    assert (ended.code, ended.log.decode()) == (13, f"decloud-trainer: Round {number}: failed, {NO_MODEL}.\n")
    for state, words in {
        State.ABORTED: "aborted, given up by its validator",
        State.FAILED: "missed, the submit deadline passed before the update was ready",
        State.MISSED: "missed, the submit deadline passed before the update was ready",
    }.items():
        number = await failed(world, wallet)
        reason = "given up by its validator" if state is State.ABORTED else ""
        await leave_row(world, wallet, number, state, reason)
        world.clock.advance(0 if state is State.ABORTED else 4000)
        async with opened(world, wallet, settings=settings) as account:
            with pytest.raises(RoundError, match=rf"^Round {number}: {words}\.$"):
                await account.train(number, settings)
    unjoined = await world.post()
    code, said = await train(unjoined)
    assert (code, f"This wallet has not joined round {unjoined}." in said) == (13, True)
    code, said = await train(99)
    assert (code, "Round 99 does not exist" in said) == (13, True)
    async with opened(world, Wallet(Keypair()), settings=settings) as stranger:
        with pytest.raises(RoundError, match=f"This wallet has not joined round {number}"):
            await stranger.train(number, settings)
    expired = await world.post()
    await world.as_other(world.dialect.join_round(expired, trainer=wallet.address), signer=wallet)
    await world.begin(expired)
    world.clock.advance(4000)
    await world.as_other(world.dialect.check_round(expired, creator=(await world.round(expired)).creator))
    await leave_row(world, wallet, expired, State.FAILED)
    code, said = await train(expired)
    assert (code, f"Round {expired} accepts no more submissions: it is " in said) == (13, True)


NO_MODEL = "The file is neither a model package nor a file written by torch.save. The file was not used"
