"""The agents' loop survives errors, and their wallets stay funded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from decloud_pl.domain import RoundStatus
from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.agents.actor import drive
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.localnet.agents.creator import MODEL_FORMATS, Creator
from decloud_pl.localnet.agents.offers import Offer
from tests.localnet.agents.conftest import Town


@dataclass
class Clumsy:
    """An agent that raises the given errors first."""

    failures: list[Exception]
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.done.set()


async def test_no_failure_ends_an_agent_and_none_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    refusal = LocalnetError("The disk is full.", fix="Free some space.")
    agent = Clumsy([refusal, refusal, OSError("no space"), RuntimeError("a defect")])
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(drive(agent, wake=asyncio.Event(), interval=0.0, back_off=0.0))
        await asyncio.wait_for(agent.done.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert caplog.text.count("The disk is full.") == 1
    assert "RuntimeError: a defect" in caplog.text


async def test_a_failure_names_the_longest_time_until_the_retry(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    class Failing:
        async def step(self) -> None:
            failed.set()
            raise LocalnetError("The disk is full.", fix="Free some space.")

    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(drive(Failing(), wake=asyncio.Event(), interval=60.0, back_off=2.0))
        await asyncio.wait_for(failed.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "Retrying within 62 s." in caplog.text


async def test_an_agent_that_is_woken_and_cancelled_at_once_ends() -> None:
    """Before Python 3.12, `asyncio.wait_for` could lose such a cancellation (python/cpython#86296)."""
    wake, agent = asyncio.Event(), Clumsy([])
    task = asyncio.create_task(drive(agent, wake=wake, interval=60.0))
    await asyncio.wait_for(agent.done.wait(), 10)
    await asyncio.sleep(0)
    wake.set()
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


async def test_a_creator_never_runs_out_of_money(town: Town, quick_bench: Bench) -> None:
    models = town.home / "models"
    models.mkdir()
    for name in MODEL_FORMATS:
        (models / f"simple_cnn-10.{name}").write_bytes(b"a base model")
    reward = 5_000_000_000_000
    actor = town.actor(lamports=1_000_000)
    creator = Creator(actor, town.network.store, quick_bench, models, reward=reward, offers=(Offer(),))
    for round_id in range(3):
        await creator.step()
        assert (await town.round(round_id)).reward_amount == reward
        # No validator claims the round. Its reward is refunded, but the next round must not depend on the refund.
        town.clock.advance(3601)
        await creator.step()
        assert await town.status(round_id) is RoundStatus.EXPIRED
        await town.spend(actor)


async def test_a_round_that_is_never_completed_does_not_hold_up_the_next(town: Town, quick_bench: Bench) -> None:
    models = town.home / "models"
    models.mkdir()
    (models / "simple_cnn-10.state_dict").write_bytes(b"a base model")
    (models / "simple_cnn-10.package").write_bytes(b"another")
    creator = Creator(town.actor(), town.network.store, quick_bench, models, reward=1000, offers=(Offer(),))
    validator = town.validator(quick_bench)
    await creator.step()
    await validator.step()
    trainer = await town.join(0)
    await validator.step()
    await town.submit(trainer, 0, town.put(b"bad"))
    await validator.step()
    await creator.step()
    assert await town.chain.round(1) is None  # round 0 may still be completed
    town.clock.advance(3601)
    await creator.step()
    assert await town.status(0) is RoundStatus.VALIDATING
    assert await town.status(1) is RoundStatus.WAITING_VALIDATOR
