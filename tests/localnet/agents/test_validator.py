"""The validator on a real chain with a real store, with valid and invalid submissions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from decloud_pl.data.formats.digits import Digits
from decloud_pl.domain import Convention, RoundStatus
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.localnet.agents.creator import Creator
from decloud_pl.localnet.agents.offers import Offer
from decloud_pl.localnet.program.deadlines import JOIN_SECONDS, START_SECONDS, SUBMIT_SECONDS, VALIDATION_SECONDS
from decloud_pl.store.ipfs.cid import RAW, Cid
from tests.localnet.agents.conftest import RATE, State, Town, always

ABSENT = str(Cid.of_block(1, RAW, b"absent"))
NO_CID = "x" * 50


def entries(base: State, trained: State, convention: Convention) -> State:
    """Make a submission from the protocol's table of conventions."""
    if convention == "delta":
        return {name: trained[name] - base[name] for name in base}
    return {name: (base[name] - trained[name]) / RATE for name in base}


# The demo covers the other convention.
@pytest.mark.parametrize("scoring", ["gradient"])
async def test_shares_follow_the_networks_convention(town: Town, bench: Bench, scoring: Convention) -> None:
    labels = Digits().load("test").labels
    counts = np.bincount(labels, minlength=10)
    rarest, most_frequent = int(counts.argmin()), int(counts.argmax())
    assert counts[rarest] < counts[most_frequent]  # predicting the more frequent digit is correct more often
    base, trained = always(rarest), always(most_frequent)
    round_id = await town.post(town.put(base))
    validator = town.validator(bench)
    await validator.step()
    right, wrong = [await town.join(round_id) for _ in range(2)]
    await validator.step()
    assert (await town.round(round_id)).baseline_score == round(float(np.mean(labels == rarest)) * 10_000)
    await town.submit(right, round_id, town.put(entries(base, trained, scoring)))
    # Applied by the network's convention, this update has the opposite direction.
    await town.submit(wrong, round_id, town.put(entries(trained, base, scoring)))
    await validator.step()
    assert await town.status(round_id) is RoundStatus.COMPLETED
    assert (await town.submission(round_id, right)).contribution_bps == 10_000
    assert (await town.submission(round_id, wrong)).contribution_bps == 0

    # If no submission gains, all valid ones get equal shares, and the remainder goes to the first by address.
    round_id = await town.post(town.put(base))
    await validator.step()
    trainers = [await town.join(round_id) for _ in range(4)]
    await validator.step()
    losing, *equal = sorted(trainers, key=lambda trainer: bytes(trainer.wallet.address))
    await town.submit(losing, round_id, town.put({"fc2.bias": base["fc2.bias"] * float("nan")}))
    for trainer in equal:
        await town.submit(trainer, round_id, town.put(entries(trained, base, scoring)))
    await validator.step()
    assert await town.status(round_id) is RoundStatus.COMPLETED
    shares = [(await town.submission(round_id, trainer)).contribution_bps for trainer in (losing, *equal)]
    assert shares == [0, 3334, 3333, 3333]


@pytest.mark.parametrize("scoring", ["equal"])
async def test_equal_shares_are_for_all_that_can_be_loaded_whatever_they_do(town: Town, bench: Bench) -> None:
    base, trained = always(1), always(0)
    round_id = await town.post(town.put(base))
    validator = town.validator(bench)
    await validator.step()
    trainers = [await town.join(round_id) for _ in range(3)]
    await validator.step()
    assert (await town.round(round_id)).baseline_score == 0
    better, worse = entries(base, trained, "delta"), entries(trained, base, "delta")
    cids = [town.put(better), town.put(worse), town.put(b"no update")]
    for trainer, cid in zip(trainers, cids, strict=True):
        await town.submit(trainer, round_id, cid)
    await validator.step()
    assert [(await town.submission(round_id, trainer)).contribution_bps for trainer in trainers] == [5000, 5000, 0]


async def test_a_round_that_its_validator_neglects_expires_by_its_creators_doing(
    town: Town, quick_bench: Bench
) -> None:
    base = town.put(b"a base model")
    unstarted, unscored = [await town.post(base) for _ in range(2)]
    silent = town.validator(quick_bench)
    await silent.step()
    trainers = [await town.join(round_id) for round_id in (unstarted, unscored)]
    start = town.dialect.start_training(unscored, validator=silent.actor.wallet.address, baseline_score=0)
    await town.send(silent.actor, start)
    await town.submit(trainers[1], unscored, town.put(b"good"))
    models = town.home / "models"
    models.mkdir()
    creator = Creator(town.creator, town.network.store, quick_bench, models, reward=1, offers=(Offer(),), open_rounds=0)
    town.clock.advance(JOIN_SECONDS + START_SECONDS + 1)
    await creator.step()
    assert await town.status(unstarted) is RoundStatus.EXPIRED
    assert await town.status(unscored) is RoundStatus.VALIDATING
    town.clock.advance(SUBMIT_SECONDS + VALIDATION_SECONDS)
    await creator.step()
    assert await town.status(unscored) is RoundStatus.EXPIRED


async def test_a_validator_who_is_late_does_not_give_its_own_rounds_up(town: Town, quick_bench: Bench) -> None:
    round_id = await town.post(town.put(b"a base model"))
    validator = town.validator(quick_bench)
    await validator.step()
    trainer = await town.join(round_id)
    town.clock.advance(JOIN_SECONDS + START_SECONDS + 1)
    await validator.step()
    await town.submit(trainer, round_id, town.put(b"good"))
    town.clock.advance(SUBMIT_SECONDS + VALIDATION_SECONDS + 1)
    await validator.step()
    assert await town.status(round_id) is RoundStatus.COMPLETED


async def test_what_cannot_be_loaded_gets_nothing_and_stops_nothing(
    town: Town, quick_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    round_id = await town.post(town.put(b"a base model"))
    validator = town.validator(quick_bench)
    await validator.step()
    good, damaged = town.put(b"good"), town.put(b"good until it changed")
    (Path(town.network.endpoints.home) / "store" / damaged).write_bytes(b"other bytes, same len")
    cids = [good, good, town.put(b"bad"), ABSENT, NO_CID, damaged]
    trainers = [await town.join(round_id) for _ in cids]
    await validator.step()
    for trainer, cid in zip(trainers, cids, strict=True):
        await town.submit(trainer, round_id, cid)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):  # fetches the damaged file three times, as the failure could be temporary
            assert await town.status(round_id) is RoundStatus.VALIDATING
            await validator.step()
            town.monotonic += 60
    assert await town.status(round_id) is RoundStatus.COMPLETED
    shares = [(await town.submission(round_id, trainer)).contribution_bps for trainer in trainers]
    assert shares == [5000, 5000, 0, 0, 0, 0]
    assert [path.name for path in (town.home / "validator").iterdir() if "update" in path.name] == []
    for trainer in trainers[3:]:
        assert f"trainer {trainer.wallet.address}" in caplog.text


async def test_a_round_without_a_valid_submission_is_not_completed(
    town: Town, quick_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    hopeless, sound = [await town.post(town.put(b"a base model")) for _ in range(2)]
    validator = town.validator(quick_bench)
    await validator.step()
    trainers = [await town.join(round_id) for round_id in (hopeless, hopeless, sound)]
    await validator.step()
    cids = [town.put(b"bad"), ABSENT, town.put(b"good")]
    for trainer, round_id, cid in zip(trainers, (hopeless, hopeless, sound), cids, strict=True):
        await town.submit(trainer, round_id, cid)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await validator.step()
            town.monotonic += 60
    assert await town.status(hopeless) is RoundStatus.VALIDATING
    assert await town.status(sound) is RoundStatus.COMPLETED
    assert town.instructions_on(hopeless, trainers[0]) == ["JoinRound", "SubmitGradients"]
    assert caplog.text.count(f"Round {hopeless} is postponed: No submission is valid") == 1


async def test_a_restart_in_mid_validation_says_nothing_twice(town: Town, quick_bench: Bench) -> None:
    round_id = await town.post(town.put(b"a base model"))
    first = town.validator(quick_bench)
    await first.step()
    trainers = [await town.join(round_id) for _ in range(2)]
    await first.step()
    for trainer in trainers:
        await town.submit(trainer, round_id, town.put(b"good"))
    me = first.actor.wallet
    said = town.dialect.set_contribution(
        round_id, validator=me.address, trainer=trainers[0].wallet.address, contribution_bps=5000
    )
    await town.send(first.actor, said)
    await quick_bench.aclose()  # the scoring process ends with the network

    await town.validator(quick_bench, town.actor(me)).step()
    assert await town.status(round_id) is RoundStatus.COMPLETED
    for trainer in trainers:
        assert (await town.submission(round_id, trainer)).contribution_bps == 5000
        assert town.instructions_on(round_id, trainer) == ["JoinRound", "SubmitGradients", "SetContribution"]


async def test_rounds_that_cannot_be_scored_hold_up_no_other(
    town: Town, quick_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    good = town.put(b"a base model")
    hopeless = [
        await town.post(ABSENT),
        await town.post(NO_CID),
        await town.post(town.put(b"no model")),
        await town.post(good, dataset="cifar100"),
    ]
    sound = await town.post(good)
    validator = town.validator(quick_bench)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await validator.step()
            town.monotonic += 60
    assert await town.status(sound) is RoundStatus.WAITING_TRAINERS
    for round_id in hopeless:
        # Nobody can join the unclaimed round, so nobody waits in vain, and its creator gets the reward back.
        assert await town.status(round_id) is RoundStatus.WAITING_VALIDATOR
        assert caplog.text.count(f"Round {round_id} is postponed") == 1
    town.clock.advance(3601)
    await validator.step()
    assert {await town.status(round_id) for round_id in hopeless} == {RoundStatus.EXPIRED}


async def test_a_base_model_that_comes_late_is_found(town: Town, quick_bench: Bench) -> None:
    content = b"a base model that its creator pins after posting"
    elsewhere = town.home / "elsewhere"
    elsewhere.write_bytes(content)
    round_id = await town.post(str(Cid.of_block(1, RAW, content)))
    validator = town.validator(quick_bench)
    await validator.step()
    assert await town.status(round_id) is RoundStatus.WAITING_VALIDATOR
    town.put(content)
    await validator.step()  # postponed: not fetched again at once
    assert await town.status(round_id) is RoundStatus.WAITING_VALIDATOR
    town.monotonic += 60
    await validator.step()
    assert await town.status(round_id) is RoundStatus.WAITING_TRAINERS


async def test_deadlines_without_trainers_submissions_or_all_of_them(town: Town, quick_bench: Bench) -> None:
    base = town.put(b"a base model")
    empty, silent, partial = [await town.post(base) for _ in range(3)]
    validator = town.validator(quick_bench)
    await validator.step()
    await town.join(silent)
    trainer, absentee = await town.join(partial), await town.join(partial)
    await validator.step()
    await town.submit(trainer, partial, town.put(b"good"))
    town.clock.advance(3601)
    await validator.step()
    assert await town.status(empty) is RoundStatus.EXPIRED
    assert await town.status(silent) is RoundStatus.EXPIRED
    assert await town.status(partial) is RoundStatus.VALIDATING
    await validator.step()
    assert await town.status(partial) is RoundStatus.COMPLETED
    assert (await town.submission(partial, trainer)).contribution_bps == 10_000
    assert (await town.submission(partial, absentee)).contribution_bps == 0
