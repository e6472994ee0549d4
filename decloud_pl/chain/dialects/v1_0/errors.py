"""The program's custom error codes and their meanings."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The custom error codes of v1.0."""

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


MEANINGS: dict[IntEnum, str] = {
    ErrorCode.InvalidCid: "a CID must be 46 to 64 characters long",
    ErrorCode.ZeroReward: "the reward must be more than zero",
    ErrorCode.InvalidRoundId: "the round id is not the next free id",
    ErrorCode.CannotCancel: "only a round that no validator has claimed can be cancelled",
    ErrorCode.RoundNotWaitingValidator: "the round is not waiting for a validator",
    ErrorCode.ValidatorDeadlinePassed: "the deadline for validators has passed",
    ErrorCode.RoundNotWaitingTrainers: "the round is not open for trainers",
    ErrorCode.NotValidator: "only the round's validator may do this",
    ErrorCode.NoTrainers: "no trainer has joined the round",
    ErrorCode.JoinDeadlinePassed: "the deadline for joining has passed",
    ErrorCode.MaxTrainersReached: "the round already has ten trainers",
    ErrorCode.RoundNotTraining: "the round is not in training",
    ErrorCode.SubmitDeadlinePassed: "the deadline for submissions has passed",
    ErrorCode.AlreadySubmitted: "this trainer has already submitted to the round",
    ErrorCode.RoundNotCompleted: "the round is not completed",
    ErrorCode.NotSubmitted: "this trainer has not submitted to the round",
    ErrorCode.RewardAlreadyClaimed: "the reward has already been claimed",
    ErrorCode.NoContribution: "the validator gave this submission no share of the reward",
    ErrorCode.FeeAlreadyClaimed: "the validator fee has already been claimed",
    ErrorCode.InvalidContributionSum: "the contributions do not add up to the round's reward",
    ErrorCode.RoundNotValidating: "the round is not being validated",
}
