// All error codes of this program, and the log line from which Anchor clients read an error's name and message.
#pragma once
#include "revision.h"
#include "sol.h"

// X(code, name, message). Codes from 6000 are the program's own. Lower codes are the Anchor framework's, with Anchor's names
// and messages (https://docs.rs/anchor-lang, enum ErrorCode).
#define ERRORS_OF_ALL(X)                                                                              \
  X(101, InstructionFallbackNotFound, "Fallback functions are not supported")                         \
  X(102, InstructionDidNotDeserialize, "The program could not deserialize the given instruction")     \
  X(2000, ConstraintMut, "A mut constraint was violated")                                             \
  X(2001, ConstraintHasOne, "A has one constraint was violated")                                      \
  X(2006, ConstraintSeeds, "A seeds constraint was violated")                                         \
  X(3001, AccountDiscriminatorNotFound, "No discriminator was found on the account")                  \
  X(3002, AccountDiscriminatorMismatch, "Account discriminator did not match what was expected")      \
  X(3003, AccountDidNotDeserialize, "Failed to deserialize the account")                              \
  X(3005, AccountNotEnoughKeys, "Not enough account keys given to the instruction")                   \
  X(3007, AccountOwnedByWrongProgram, "The given account is owned by a different program than expected") \
  X(3008, InvalidProgramId, "Program ID was not as expected")                                         \
  X(3010, AccountNotSigner, "The given account did not sign")                                         \
  X(3012, AccountNotInitialized, "The program expected this account to be already initialized")       \
  X(6000, InvalidCid, "A CID must be 46 to 64 characters long")                                       \
  X(6001, ZeroReward, "The reward must be more than zero")                                            \
  X(6002, InvalidRoundId, "The round id is not the next one")                                         \
  X(6003, CannotCancel, "Only a round that waits for a validator can be cancelled")                   \
  X(6004, RoundNotWaitingValidator, "The round is not waiting for a validator")                       \
  X(6005, ValidatorDeadlinePassed, "The deadline for validators has passed")                          \
  X(6006, RoundNotWaitingTrainers, "The round is not waiting for trainers")                           \
  X(6007, NotValidator, "Only the validator of the round may do this")                                \
  X(6008, NoTrainers, "No trainer has joined the round")                                              \
  X(6009, JoinDeadlinePassed, "The deadline for joining has passed")                                  \
  X(6010, MaxTrainersReached, "The round has all the trainers it can take")                           \
  X(6011, RoundNotTraining, "The round is not in training")                                           \
  X(6012, SubmitDeadlinePassed, "The deadline for submissions has passed")                            \
  X(6013, AlreadySubmitted, "The trainer has submitted already")                                      \
  X(6014, RoundNotCompleted, "The round is not completed")                                            \
  X(6015, NotSubmitted, "The trainer has not submitted")                                              \
  X(6016, RewardAlreadyClaimed, "The reward was claimed already")                                     \
  X(6017, NoContribution, "The submission has no share of the reward")                                \
  X(6018, FeeAlreadyClaimed, "The validator fee was claimed already")                                 \
  X(6019, InvalidContributionSum, "The contributions do not add up to the reward")                    \
  X(6020, RoundNotValidating, "The round is not being validated")

#if HAS_TREASURY
#define ERRORS_OF_TREASURY(X) X(6021, InvalidTreasury, "This is not the treasury")
#else
#define ERRORS_OF_TREASURY(X)
#endif

#if HAS_ABORT
#define ERRORS_OF_ABORT(X)                                                                       \
  X(6022, CannotAbort, "Only a round that was claimed and is not over can be aborted")           \
  X(6023, InvalidCreator, "This is not the creator of the round")
#else
#define ERRORS_OF_ABORT(X)
#endif

#define ERRORS(X) ERRORS_OF_ALL(X) ERRORS_OF_TREASURY(X) ERRORS_OF_ABORT(X)

enum {
#define X(code, name, message) name = code,
  ERRORS(X)
#undef X
};

// Both log the error and return its code, which the instruction then returns.
u64 fail(u64 code);
u64 fail_because_of(const char *account, u64 capacity, u64 code);
