// The payments from a completed round's vault. Each is made once.
#include "instructions.h"
#include "log.h"
#include "money.h"

u64 claim_reward(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, READ_ONLY},
                                      {"submission", SUBMISSION_ACCOUNT, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      FEE_ACCOUNTS  //
                                      {"trainer", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { ROUND, SUBMISSION, VAULT, FEE_PLACES TRAINER };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Submission submission;
  Seeds vault;
  u64 left;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_submission(context, SUBMISSION, id, &submission);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (!error) error = left_for_trainers(&round, &context->accounts[VAULT], &left);
  if (error) return error;
  if (!keys_equal(&submission.trainer, context->accounts[TRAINER].key))
    return fail_at(context, SUBMISSION, ConstraintHasOne);
  if (round.status != COMPLETED) return fail(RoundNotCompleted);
  if (!submission.submitted) return fail(NotSubmitted);
  if (submission.reward_claimed) return fail(RewardAlreadyClaimed);
  if (submission.contribution_bps == 0) return fail(NoContribution);
  u64 share = share_of(trainers_pool(&round), submission.contribution_bps);
  // The shares may exceed the whole, and can no longer be corrected. A late claim gets what earlier claims have left.
  if (share > left) share = left;
  if (share == 0 && left == 0) return fail(InvalidContributionSum);

  Payment payment;
  if ((error = pay(context, VAULT, share, &vault, &payment))) return error;
  submission.reward_claimed = 1;
  write_submission(&context->accounts[SUBMISSION], &submission);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Trainer ");
  say_key(&out, &submission.trainer);
  say(&out, " claimed ");
  say_number(&out, payment.amount);
  say(&out, " lamports from round ");
  say_number(&out, id);
  log_line(&out);
  event_start(&out, EVENT_REWARD_CLAIMED);
  put_integer(&out, id, 8);
  put_key(&out, &submission.trainer);
  put_integer(&out, payment.amount, 8);
  put_fees(&out, &payment);
  log_event(&out);
  return 0;
}

u64 claim_validator_fee(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      FEE_ACCOUNTS  //
                                      {"validator", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { ROUND, VAULT, FEE_PLACES VALIDATOR };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds vault;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (error) return error;
  if (round.status != COMPLETED) return fail(RoundNotCompleted);
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);
  if (round.fee_paid) return fail(FeeAlreadyClaimed);

  Payment payment;
  if ((error = pay(context, VAULT, validator_fee(&round), &vault, &payment))) return error;
  round.fee_paid = 1;
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Validator ");
  say_key(&out, &round.validator);
  say(&out, " claimed ");
  say_number(&out, payment.amount);
  say(&out, " lamports fee from round ");
  say_number(&out, id);
  log_line(&out);
  event_start(&out, EVENT_VALIDATOR_FEE_CLAIMED);
  put_integer(&out, id, 8);
  put_key(&out, &round.validator);
  put_integer(&out, payment.amount, 8);
  put_fees(&out, &payment);
  log_event(&out);
  return 0;
}
