// The instructions. Each reads its arguments, checks its accounts and then the round's rules in the README's order.
// Only then does it change anything. All return 0 or an error code.
#pragma once
#include "accounts.h"

// X(name as in the protocol, suffix of its discriminator, name in the log)
#define INSTRUCTIONS_OF_ALL(X)                             \
  X(initialize, INITIALIZE, "Initialize")                  \
  X(create_round, CREATE_ROUND, "CreateRound")             \
  X(cancel_round, CANCEL_ROUND, "CancelRound")             \
  X(claim_round, CLAIM_ROUND, "ClaimRound")                \
  X(join_round, JOIN_ROUND, "JoinRound")                   \
  X(start_training, START_TRAINING, "StartTraining")       \
  X(submit_gradients, SUBMIT_GRADIENTS, "SubmitGradients") \
  X(set_contribution, SET_CONTRIBUTION, "SetContribution") \
  X(complete_validation, COMPLETE_VALIDATION, "CompleteValidation") \
  X(finalize_round, FINALIZE_ROUND, "FinalizeRound")       \
  X(claim_reward, CLAIM_REWARD, "ClaimReward")             \
  X(claim_validator_fee, CLAIM_VALIDATOR_FEE, "ClaimValidatorFee") \
  X(check_round, CHECK_ROUND, "CheckRound")

#if HAS_ABORT
#define INSTRUCTIONS(X) INSTRUCTIONS_OF_ALL(X) X(abort_round, ABORT_ROUND, "AbortRound")
#else
#define INSTRUCTIONS(X) INSTRUCTIONS_OF_ALL(X)
#endif

#define X(name, suffix, log) u64 name(Context *);
INSTRUCTIONS(X)
#undef X

static inline i64 later(i64 time, u64 seconds) { return (i64)((u64)time + seconds); }

static inline u64 read_clock(i64 *now) {
  Clock clock;
  u64 error = sol_get_clock_sysvar(&clock);
  *now = clock.unix_timestamp;
  return error;
}
