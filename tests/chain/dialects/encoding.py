"""Encodes accounts of the newest revision for fake chains."""

from __future__ import annotations

from decloud_pl.chain import borsh
from decloud_pl.chain.dialects.v1_0.accounts import (
    NO_VALIDATOR,
    ROUND_DISCRIMINATOR,
    SUBMISSION_DISCRIMINATOR,
    write_dataset,
)
from decloud_pl.domain import Round, Submission


def encode_round(value: Round) -> bytes:
    """Encode a Round without spare bytes; the inverse of `decode_round`."""
    return b"".join(
        (
            ROUND_DISCRIMINATOR,
            borsh.u64(value.id),
            bytes(value.creator),
            borsh.string(value.model_cid),
            write_dataset(value.dataset),
            borsh.u64(value.reward_amount),
            borsh.u8(value.status),
            bytes(value.validator or NO_VALIDATOR),
            borsh.u16(value.validator_fee_bps),
            borsh.u32(value.baseline_score),
            borsh.i64(value.created_at),
            borsh.i64(value.validator_deadline),
            borsh.i64(value.join_deadline),
            borsh.i64(value.submit_deadline),
            borsh.u8(value.trainers_count),
            borsh.u8(value.submissions_count),
            borsh.u8(value.bump),
            borsh.u8(value.vault_bump),
        )
    )


def encode_submission(value: Submission) -> bytes:
    """Encode a Submission without spare bytes; the inverse of `decode_submission`."""
    return b"".join(
        (
            SUBMISSION_DISCRIMINATOR,
            borsh.u64(value.round_id),
            bytes(value.trainer),
            borsh.string(value.gradient_cid),
            borsh.u8(value.submitted),
            borsh.u16(value.contribution_bps),
            borsh.u8(value.reward_claimed),
            borsh.u8(value.bump),
        )
    )
