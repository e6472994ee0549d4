"""Whether a step by hand is possible, and why not, follows from the chain alone."""

from __future__ import annotations

import dataclasses

import pytest
from solders.pubkey import Pubkey

from decloud_pl.daemon.manual import already_done
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import RoundError

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
