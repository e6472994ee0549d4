"""A step by hand: the chain alone says whether it is possible, and only failures in a row end it."""

from __future__ import annotations

import dataclasses

import pytest
from solders.pubkey import Pubkey

from decloud_pl.config import compose
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.manual import already_done, take
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import RoundError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import Changed, DaemonEvent, Looked, Training, Trouble
from tests.world import World

ROUND = Round(
    id=7,
    creator=Pubkey.new_unique(),
    model_cid="bafy",
    dataset="custom",
    reward_amount=10**9,
    status=RoundStatus.COMPLETED,
    validator=Pubkey.new_unique(),
    validator_fee_bps=1000,
    baseline_score=0,
    created_at=0,
    validator_deadline=1_000,
    join_deadline=2_000,
    submit_deadline=3_000,
    trainers_count=2,
    submissions_count=1,
    bump=255,
    vault_bump=255,
    max_trainers=10,
)
JOINED = Submission(7, Pubkey.new_unique(), "", submitted=False, contribution_bps=0, reward_claimed=False, bump=255)
SUBMITTED = dataclasses.replace(JOINED, submitted=True, gradient_cid="bafyupdate")


@pytest.mark.parametrize(
    ("submission", "why"),
    [
        (None, r"This wallet has not joined round 7\."),
        (JOINED, r"Round 7 has no reward for this wallet: it submitted no update\."),
        (SUBMITTED, r"Round 7 has no reward for this wallet: its validator measured no gain\."),
    ],
)
def test_a_claim_without_a_reward_says_why(submission: Submission | None, why: str) -> None:
    with pytest.raises(RoundError, match=why):
        already_done("claim", 7, ROUND, submission)


WAITS = RoundRecord(7, State.SUBMITTED, "custom", "digits", "bafybase", 10**9)
RETRIES = dataclasses.replace(WAITS, attempts=1, next_try_at=1)
RESTS = dataclasses.replace(WAITS, next_try_at=1)
LOOK = Looked(7, None, 0, 0)
EPOCH = Training(7, "fit", 1, 1, 1, None, None)


async def claimed(world: World, *events: DaemonEvent) -> RoundRecord | None:
    """Claim the reward of round 7 while its daemon reports these events, and then the claim."""

    async def run(daemon: Daemon) -> bool:
        for event in (*events, Changed(dataclasses.replace(WAITS, state=State.CLAIMED))):
            daemon.steps.reporter.report(event)
        return False

    return await take("claim", 7, compose(world.overrides()), world.wallet, world.diary, run=run)


@pytest.mark.parametrize(
    ("round_id", "success"), [(7, Changed(WAITS)), (None, LOOK), (None, EPOCH)], ids=["round", "look", "training"]
)
async def test_a_success_between_failures_lets_the_step_go_on(
    round_id: int | None, success: DaemonEvent, world: World
) -> None:
    record = await claimed(world, *[Trouble(round_id, "It failed."), success] * 5)
    assert record is not None
    assert record.state is State.CLAIMED


@pytest.mark.parametrize(
    ("round_id", "between"),
    [(7, [Changed(RETRIES), LOOK]), (7, [Changed(RESTS), EPOCH]), (None, [Changed(WAITS)])],
    ids=["attempts", "shortage", "endpoint"],
)
async def test_failures_in_a_row_end_the_step(round_id: int | None, between: list[DaemonEvent], world: World) -> None:
    with pytest.raises(RoundError, match=r"Round 7: It failed\. No data was lost\."):
        await claimed(world, *[*between, Trouble(round_id, "It failed.")] * 4)


async def test_failures_of_the_round_and_of_the_daemon_are_counted_separately(world: World) -> None:
    record = await claimed(world, *[Trouble(7, "It failed."), Trouble(None, "It failed.")] * 3)
    assert record is not None
