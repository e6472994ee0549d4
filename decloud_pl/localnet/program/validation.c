// The validator reports the contributions in one of two ways: set_contribution per trainer followed by complete_validation,
// or finalize_round with all shares at once.
#include "instructions.h"
#include "log.h"
#include "money.h"

u64 set_contribution(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, READ_ONLY},
                                      {"submission", SUBMISSION_ACCOUNT, WRITABLE},
                                      {"validator", SIGNER, READ_ONLY}};
  enum { ROUND, SUBMISSION, VALIDATOR };
  u64 id = read_integer(&context->arguments, 8);
  u16 contribution_bps = read_integer(&context->arguments, 2);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Submission submission;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_submission(context, SUBMISSION, id, &submission);
  if (error) return error;
  if (round.status != VALIDATING) return fail(RoundNotValidating);
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);
  if (!submission.submitted) return fail(NotSubmitted);
  if (contribution_bps > BPS) return fail(InvalidContributionSum);

  submission.contribution_bps = contribution_bps;
  write_submission(&context->accounts[SUBMISSION], &submission);
  return 0;
}

u64 complete_validation(Context *context) {
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
  if (round.status != VALIDATING) return fail(RoundNotValidating);
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);

  Payment payment;
  if ((error = pay(context, VAULT, validator_fee(&round), &vault, &payment))) return error;
  round.fee_paid = 1;
  round.status = COMPLETED;
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, id);
  say(&out, " validation completed. Rewards ready to claim.");
  log_line(&out);
  event_start(&out, EVENT_VALIDATION_COMPLETED);
  put_integer(&out, id, 8);
  log_event(&out);
  return 0;
}

enum { RESULT_SIZE = sizeof(Pubkey) + 2 };

// `results` holds `count` entries, each a trainer and its basis points.
static u64 check_results(const u8 *results, u64 count) {
  u64 sum = 0;
  for (u64 i = 0; i < count; i++) {
    const u8 *trainer = results + i * RESULT_SIZE;
    sum += trainer[32] | (u64)trainer[33] << 8;
    // A second share of the same trainer would replace the first, and the sum checked here would be wrong.
    for (u64 j = 0; j < i; j++)
      if (keys_equal((const Pubkey *)trainer, (const Pubkey *)(results + j * RESULT_SIZE))) return fail(InvalidContributionSum);
  }
  return sum == BPS ? 0 : fail(InvalidContributionSum);
}

static u64 apply_result(const Context *context, u64 index, u64 round_id, const u8 *result) {
  static const Expected EXPECTED = {"submission", SUBMISSION_ACCOUNT, WRITABLE};
  Submission submission;
  u64 error = check_account(context, index, &EXPECTED);
  if (!error) error = open_submission(context, index, round_id, &submission);
  if (error) return error;
  if (!keys_equal(&submission.trainer, (const Pubkey *)result)) return fail(ConstraintHasOne);
  if (!submission.submitted) return fail(NotSubmitted);
  submission.contribution_bps = result[32] | (u16)result[33] << 8;
  write_submission(&context->accounts[index], &submission);
  return 0;
}

u64 finalize_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE}, {"validator", SIGNER, READ_ONLY}};
  enum { ROUND, VALIDATOR, FIRST_SUBMISSION };
  u64 id = read_integer(&context->arguments, 8);
  u64 count = read_integer(&context->arguments, 4);
  const u8 *results = context->arguments.at;
  if (context->arguments.failed || (u64)(context->arguments.end - results) != count * RESULT_SIZE)
    return fail(InstructionDidNotDeserialize);
  Round round;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (error) return error;
  if (round.status != VALIDATING) return fail(RoundNotValidating);
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);
  // A round cannot have this many trainers, so the results cannot belong to it.
  if (count > MAX_TRAINERS) return fail(InvalidContributionSum);
  if (context->count < FIRST_SUBMISSION + count) return fail(AccountNotEnoughKeys);
  if ((error = check_results(results, count))) return error;
  for (u64 i = 0; i < count; i++)
    if ((error = apply_result(context, FIRST_SUBMISSION + i, id, results + i * RESULT_SIZE))) return error;

  round.status = COMPLETED;
  write_round(&context->accounts[ROUND], &round);
  Buffer event;
  event_start(&event, EVENT_ROUND_FINALIZED);
  put_integer(&event, id, 8);
  put_integer(&event, validator_fee(&round), 8);
  put_integer(&event, trainers_pool(&round), 8);
  put_integer(&event, count, 4);
  put_bytes(&event, results, count * RESULT_SIZE);
  log_event(&event);
  return 0;
}
