"""Three daemons of different strength in one round: each is paid by its update's gain, which the test recomputes."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from solders.pubkey import Pubkey
from torch.nn import functional

from decloud_pl.chain.events import RewardClaimed
from decloud_pl.config import compose
from decloud_pl.data.formats.digits import Digits
from decloud_pl.domain import RoundStatus
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.record import State
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.models.networks.simple_cnn import SimpleCNN
from decloud_pl.rounds.events import Changed, DaemonEvent, Trouble
from decloud_pl.rounds.planner import SettingsPlanner
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from tests.harness.trainer import Spec, trainer
from tests.localnet.agents.conftest import Town

REWARD = 1_000_000_007
"""Not divisible by 10000, so that the shares leave a remainder."""
POOL = REWARD - REWARD // 10
TREASURY_FEE_BPS = 200
BATCHES = {1: 18, 2: 26, 3: 40}
"""The number of batches of each trainer, by the seed of its wallet."""
PATIENCE = 120.0


class HereExecutor:
    """Trains in this process, one training at a time: in three children, importing torch would dominate the test."""

    def __init__(self, turns: asyncio.Lock) -> None:
        self._turns = turns

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        loop = asyncio.get_running_loop()

        def report(progress: Progress) -> None:
            loop.call_soon_threadsafe(on_progress, progress.to_dict())

        plan = TrainingPlan.read(folder)
        plan = dataclasses.replace(plan, round=dataclasses.replace(plan.round, threads=1))
        async with self._turns:
            update = await asyncio.to_thread(train_round, plan, Supervisor(report))
        assert update is not None
        write_update(folder / UPDATE_FILE, update)


class Watch:
    """A reporter that lets the test wait for a state. The round must stay in it until the test looks."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.said: list[str] = []
        self._news = asyncio.Event()

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Changed):
            self.state = event.record.state
            self.said.append(f"{self.state.value}: {event.record.reason}")
            self._news.set()
        elif isinstance(event, Trouble):
            self.said.append(event.message)

    async def until(self, state: State) -> None:
        while self.state is not state:
            self._news.clear()
            await self._news.wait()


def hits(state: Mapping[str, torch.Tensor]) -> int:
    """Count the test samples whose largest logit is the label's, as the protocol defines accuracy."""
    test = Digits().load("test")
    grey = torch.from_numpy(test.images).unsqueeze(1)
    resized = functional.interpolate(grey, (32, 32), mode="bilinear", antialias=True)
    inputs = (resized.float() / 255 - 0.5) / 0.5
    network = SimpleCNN(10).eval()
    network.load_state_dict(dict(state))
    with torch.no_grad():
        return int((network(inputs.expand(-1, 3, -1, -1)).argmax(1) == torch.from_numpy(test.labels)).sum())


async def fetched(town: Town, cid: str) -> dict[str, torch.Tensor]:
    """Read a pinned file through the gateway."""

    def read() -> bytes:
        with urllib.request.urlopen(f"{town.network.endpoints.gateway_url}/ipfs/{cid}", timeout=PATIENCE) as answer:
            return bytes(answer.read())

    return dict(torch.load(io.BytesIO(await asyncio.to_thread(read)), weights_only=True))


def shares_of(gained: Mapping[Pubkey, int]) -> dict[Pubkey, int]:
    """Return basis points, rounded down. The remainder to 10000 goes to the first trainer by address."""
    shares = {who: 10_000 * gain // sum(gained.values()) for who, gain in gained.items()}
    shares[min(shares, key=bytes)] += 10_000 - sum(shares.values())
    return shares


async def test_rewards_follow_the_measured_gain_and_sum_to_the_pool(town: Town, bench: Bench) -> None:
    torch.manual_seed(0)
    base_cid = town.put(SimpleCNN(10).state_dict())
    round_id = await town.post(base_cid, reward=REWARD)
    validator = town.validator(bench)
    await validator.step()
    turns, watches, daemons, wallets = asyncio.Lock(), [], [], []
    for seed, batches in BATCHES.items():
        home = town.home / f"trainer-{seed}"
        endpoints = town.network.endpoints
        spec = Spec(
            rpc_url=endpoints.rpc_url,
            ws_urls=[endpoints.ws_url],
            gateway_url=endpoints.gateway_url,
            store=str(Path(endpoints.home) / "store"),
            home=str(home),
            seed=seed,
        )
        wallets.append(spec.wallet().address)
        town.network.vm.airdrop(wallets[-1], 10**9)
        course = ["trainer=cpu", "update.candidates=[]", f"max_batches={batches}"]
        planner = SettingsPlanner(compose([*course, f"home={home}"]))
        watches.append(Watch())

        async def work(spec: Spec = spec, planner: SettingsPlanner = planner, watch: Watch = watches[-1]) -> None:
            async with trainer(
                spec, reporter=watch, executor=HereExecutor(turns), planner=planner, stop_after=1
            ) as daemon:
                await daemon.run()

        daemons.append(asyncio.create_task(work()))

    async def all_are(state: State) -> None:
        waiting = asyncio.ensure_future(asyncio.gather(*(watch.until(state) for watch in watches)))
        ended: list[asyncio.Future[Any]] = [waiting, *daemons]
        await asyncio.wait(ended, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.cancel() is False, [watch.said for watch in watches]

    await all_are(State.WAITING)
    await validator.step()
    await all_are(State.SUBMITTED)
    await validator.step()
    assert await town.status(round_id) is RoundStatus.COMPLETED
    await asyncio.wait_for(asyncio.gather(*daemons), PATIENCE)

    submissions = {entry.trainer: entry for entry in await town.chain.round_submissions(round_id)}
    base = await fetched(town, base_cid)
    before = hits(base)
    gained: dict[Pubkey, int] = {}
    for who in wallets:
        entries = await fetched(town, submissions[who].gradient_cid)
        gained[who] = hits({name: base[name] + entries[name] for name in base}) - before
    weak, middle, strong = gained.values()
    assert 0 < weak < middle < strong
    assert {who: entry.contribution_bps for who, entry in submissions.items()} == shares_of(gained)
    # Each trainer gets its share of the pool, rounded down to a lamport, minus the treasury's fee. The remainder stays
    # in the vault.
    claimed = {
        event.trainer: event.amount
        for who in wallets
        for event in town.dialect.events(logs_of(town, round_id, who))
        if isinstance(event, RewardClaimed)
    }
    shares = {who: POOL * entry.contribution_bps // 10_000 for who, entry in submissions.items()}
    assert claimed == {who: share - share * TREASURY_FEE_BPS // 10_000 for who, share in shares.items()}
    rest = POOL - sum(shares.values())
    assert 0 <= rest < len(claimed)
    vault = await town.chain.rpc.balance(town.dialect.vault_address(round_id))
    assert vault == await town.chain.rpc.rent_exempt_minimum(0) + rest


def logs_of(town: Town, round_id: int, who: Pubkey) -> list[str]:
    """Return the program's log lines of the successful transactions on a trainer's submission account."""
    address = town.dialect.submission_address(round_id, who)
    found = town.network.vm.ledger.mentions(address, before=None, until=0, newest_slot=1 << 40, limit=100)
    return [line for entry in found if entry.error is None for line in entry.meta["logMessages"]]
