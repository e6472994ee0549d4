"""What the program's custom error codes mean and what a user can do about each."""

from __future__ import annotations

from enum import IntEnum

from decloud_pl.errors import InsufficientFunds, ProgramError


class ErrorCode(IntEnum):
    """Custom program error codes."""

    InvalidCid = 6000
    ZeroReward = 6001
    InvalidRoundId = 6002
    CannotCancel = 6003
    RoundNotWaitingValidator = 6004
    ValidatorDeadlinePassed = 6005
    RoundNotWaitingTrainers = 6006
    NotValidator = 6007
    NoTrainers = 6008
    JoinDeadlinePassed = 6009
    MaxTrainersReached = 6010
    RoundNotTraining = 6011
    SubmitDeadlinePassed = 6012
    AlreadySubmitted = 6013
    RoundNotCompleted = 6014
    NotSubmitted = 6015
    RewardAlreadyClaimed = 6016
    NoContribution = 6017
    FeeAlreadyClaimed = 6018
    InvalidContributionSum = 6019
    RoundNotValidating = 6020


_MEANING: dict[int, str] = {
    ErrorCode.InvalidCid: "a CID must be 46 to 64 characters long",
    ErrorCode.ZeroReward: "the reward must be more than zero",
    ErrorCode.InvalidRoundId: "the round id is not the next one",
    ErrorCode.CannotCancel: "only a round that no validator has claimed can be cancelled",
    ErrorCode.RoundNotWaitingValidator: "the round is not waiting for a validator",
    ErrorCode.ValidatorDeadlinePassed: "the deadline for validators has passed",
    ErrorCode.RoundNotWaitingTrainers: "the round is not open for trainers",
    ErrorCode.NotValidator: "only the round's validator may do this",
    ErrorCode.NoTrainers: "no trainer has joined the round",
    ErrorCode.JoinDeadlinePassed: "the deadline for joining has passed",
    ErrorCode.MaxTrainersReached: "the round already has its ten trainers",
    ErrorCode.RoundNotTraining: "the round is not in training",
    ErrorCode.SubmitDeadlinePassed: "the deadline for submissions has passed",
    ErrorCode.AlreadySubmitted: "this trainer has already submitted to the round",
    ErrorCode.RoundNotCompleted: "the round is not completed",
    ErrorCode.NotSubmitted: "this trainer has not submitted to the round",
    ErrorCode.RewardAlreadyClaimed: "the reward has already been claimed",
    ErrorCode.NoContribution: "the validator gave this submission no share of the reward",
    ErrorCode.FeeAlreadyClaimed: "the validator fee has already been claimed",
    ErrorCode.InvalidContributionSum: "the contributions do not fit into the round's reward",
    ErrorCode.RoundNotValidating: "the round is not being validated",
}

_ANCHOR_NAMES: dict[int, str] = {
    101: "InstructionFallbackNotFound",
    102: "InstructionDidNotDeserialize",
    2000: "ConstraintMut",
    2001: "ConstraintHasOne",
    2006: "ConstraintSeeds",
    2012: "ConstraintAddress",
    3001: "AccountDiscriminatorNotFound",
    3002: "AccountDiscriminatorMismatch",
    3005: "AccountNotEnoughKeys",
    3007: "AccountOwnedByWrongProgram",
    3010: "AccountNotSigner",
    3012: "AccountNotInitialized",
}

ALREADY_IN_USE = 0
"""Custom error 0 of the system program: the account to create exists. A second join ends here."""
_INSUFFICIENT_LAMPORTS = 1


def error_from_code(code: int, logs: tuple[str, ...] = ()) -> ProgramError | InsufficientFunds:
    """The typed error for a custom program error code."""
    if code == _INSUFFICIENT_LAMPORTS:
        return InsufficientFunds(
            "The wallet has too few lamports for this transaction.",
            fix="Send some SOL to the wallet and try again.",
        )
    if code == ALREADY_IN_USE:
        return ProgramError(
            "The account to create already exists (this wallet has probably joined the round before).",
            code=code,
            name="AccountAlreadyInUse",
            logs=logs,
        )
    if code in _MEANING:
        name = ErrorCode(code).name
        return ProgramError(f"The program refused: {_MEANING[code]} ({name}, {code}).", code=code, name=name, logs=logs)
    name = _ANCHOR_NAMES.get(code, f"Custom{code}")
    return ProgramError(
        f"The program refused the instruction ({name}, {code}).",
        code=code,
        name=name,
        fix="Check that the configured program id is the DECLOUD program of this network.",
        logs=logs,
    )
