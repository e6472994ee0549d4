"""Decode the program's accounts, which consist of an Anchor discriminator and Borsh fields."""

from __future__ import annotations

from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import discriminator, open_account
from decloud_pl.chain.dialects.v1_0.datasets import DATASET_NAMES
from decloud_pl.domain import Round, RoundCounter, RoundStatus, Submission
from decloud_pl.errors import DecodeError

NO_VALIDATOR = Pubkey.default()

ROUND_ID_OFFSET = 8
"""The offset of ``id`` in a Round and of ``round_id`` in a Submission, for ``memcmp`` filters."""
SUBMISSION_TRAINER_OFFSET = 16
SUBMISSION_SIZE = 121
"""Size of a Submission account in bytes: discriminator, fields, and space for the longest CID (64 characters)."""
MAX_TRAINERS = 10

ROUND_DISCRIMINATOR = discriminator("account", "Round")
SUBMISSION_DISCRIMINATOR = discriminator("account", "Submission")
_STATUSES = tuple(RoundStatus)
"""The program numbers the statuses in the order of `RoundStatus`."""


def read_dataset(reader: borsh.BorshReader) -> str:
    """Read a data set's number from the account and return the data set's name in lower case."""
    index = reader.u8()
    if index >= len(DATASET_NAMES):
        raise borsh.undecodable(f"Data set number {index} is unknown; this revision has {len(DATASET_NAMES)}.")
    return DATASET_NAMES[index]


def write_dataset(name: str) -> bytes:
    try:
        return borsh.u8(DATASET_NAMES.index(name))
    except ValueError:
        raise DecodeError(f"This revision of the program has no data set {name!r}.") from None


def _status(reader: borsh.BorshReader) -> RoundStatus:
    value = reader.u8()
    if value >= len(_STATUSES):
        raise borsh.undecodable(f"Round status {value} is unknown.")
    return _STATUSES[value]


def decode_round(data: bytes, *, treasury_fee_bps: int) -> Round:
    """Decode a Round, and ignore the spare bytes after its last field.

    Args:
        data: the bytes of the account.
        treasury_fee_bps: see `Round`.

    Raises:
        DecodeError: the discriminator is wrong, the account is too short or a value is out of range.
    """
    read = open_account(data, "Round")
    round_id, creator, model_cid = read.u64(), read.pubkey(), read.string()
    dataset, reward_amount, status = read_dataset(read), read.u64(), _status(read)
    validator = read.pubkey()
    return Round(
        id=round_id,
        creator=creator,
        model_cid=model_cid,
        dataset=dataset,
        reward_amount=reward_amount,
        status=status,
        validator=None if validator == NO_VALIDATOR else validator,
        validator_fee_bps=read.u16(),
        baseline_score=read.u32(),
        created_at=read.i64(),
        validator_deadline=read.i64(),
        join_deadline=read.i64(),
        submit_deadline=read.i64(),
        trainers_count=read.u8(),
        submissions_count=read.u8(),
        bump=read.u8(),
        vault_bump=read.u8(),
        max_trainers=MAX_TRAINERS,
        treasury_fee_bps=treasury_fee_bps,
    )


def decode_submission(data: bytes) -> Submission:
    """Decode a Submission.

    Raises:
        DecodeError: the discriminator is wrong, the account is too short or a value is out of range.
    """
    read = open_account(data, "Submission")
    return Submission(
        round_id=read.u64(),
        trainer=read.pubkey(),
        gradient_cid=read.string(),
        submitted=read.bool(),
        contribution_bps=read.u16(),
        reward_claimed=read.bool(),
        bump=read.u8(),
    )


def decode_round_counter(data: bytes) -> RoundCounter:
    """Decode the RoundCounter.

    Raises:
        DecodeError: the discriminator is wrong or the account is too short.
    """
    read = open_account(data, "RoundCounter")
    return RoundCounter(count=read.u64(), authority=read.pubkey(), bump=read.u8())
