// check_round: advances a round whose deadline has passed, and returns the rest of a finished round. Anyone may send it.
#include "instructions.h"
#include "log.h"
#include "money.h"

// The action that is due for a round. The expiries have the values of the protocol's ExpireReason.
typedef enum { NO_VALIDATOR, NO_TRAINERS, NO_SUBMISSIONS, END_TRAINING, RETURN_REST, NOTHING } Due;

enum { ROUND, VAULT, CREATOR, SYSTEM, FIRST_SUBMISSION };

static Due due_by_time(const Round *round, i64 now) {
  switch (round->status) {
    case WAITING_VALIDATOR:
      return now > round->validator_deadline ? NO_VALIDATOR : NOTHING;
    case WAITING_TRAINERS:
      if (round->trainers_count == 0) return now > round->join_deadline ? NO_TRAINERS : NOTHING;
      return now > later(round->join_deadline, START_SECONDS) ? NO_VALIDATOR : NOTHING;
    case TRAINING:
      if (now <= round->submit_deadline) return NOTHING;
      return round->submissions_count == 0 ? NO_SUBMISSIONS : END_TRAINING;
    case VALIDATING:
      return now > later(round->submit_deadline, VALIDATION_SECONDS) ? NO_VALIDATOR : NOTHING;
  }
  return NOTHING;
}

// Whether all submissions of a completed round follow the fixed accounts, and none has a reward to claim.
static u64 check_settled(const Context *context, const Round *round, int *settled) {
  static const Expected EXPECTED = {"submission", SUBMISSION_ACCOUNT, READ_ONLY};
  *settled = 0;
  u64 count = round->submissions_count;
  if (context->count < FIRST_SUBMISSION + count) return 0;
  for (u64 i = FIRST_SUBMISSION; i < FIRST_SUBMISSION + count; i++) {
    Submission submission;
    u64 error = check_account(context, i, &EXPECTED);
    if (!error) error = open_submission(context, i, round->id, &submission);
    if (error) return error;
    if (!submission.submitted || (submission.contribution_bps && !submission.reward_claimed)) return 0;
    for (u64 j = FIRST_SUBMISSION; j < i; j++)
      if (keys_equal(context->accounts[i].key, context->accounts[j].key)) return 0;
  }
  *settled = 1;
  return 0;
}

// Whether only the creator is entitled to the lamports in the vault of a finished round.
static u64 check_rest(const Context *context, const Round *round, int *is_rest) {
  *is_rest = 0;
  if (*context->accounts[VAULT].lamports == 0) return 0;
  if (round->status != COMPLETED) {
    *is_rest = round->status == EXPIRED || round->status == CANCELLED;
    return 0;
  }
  if (!round->fee_paid) return 0;
  u64 left;
  u64 error = left_for_trainers(round, &context->accounts[VAULT], &left);
  if (error) return error;
  if (left) return check_settled(context, round, is_rest);
  *is_rest = 1;
  return 0;
}

static u64 return_rest(Context *context, const Round *round, const Seeds *vault) {
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, round->id);
  say(&out, " closed. Returned ");
  say_number(&out, *context->accounts[VAULT].lamports);
  say(&out, " lamports to creator");
  u64 error = empty_vault(context, VAULT, CREATOR, vault);
  if (!error) log_line(&out);
  return error;
}

static void log_expired(const Round *round, Due reason) {
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, round->id);
  say(&out, " expired (");
  if (reason == NO_VALIDATOR) say(&out, "no validator");
  else if (reason == NO_TRAINERS) say(&out, "no trainers");
  else say(&out, "no submissions");
  say(&out, "). Refunded ");
  say_number(&out, round->reward_amount);
  say(&out, " to creator");
  log_line(&out);
  event_start(&out, EVENT_ROUND_EXPIRED);
  put_integer(&out, round->id, 8);
  put_integer(&out, reason, 1);
  put_integer(&out, round->reward_amount, 8);
  log_event(&out);
}

u64 check_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      {"creator", ANY, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds vault;
  i64 now;
  int is_rest;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (!keys_equal(&round.creator, context->accounts[CREATOR].key)) return fail_at(context, CREATOR, ConstraintHasOne);
  if ((error = check_rest(context, &round, &is_rest))) return error;

  Due due = is_rest ? RETURN_REST : due_by_time(&round, now);
  if (due == NOTHING) return 0;
  if (due == RETURN_REST) return return_rest(context, &round, &vault);
  if (due == END_TRAINING) {
    round.status = VALIDATING;
    Buffer event;
    event_start(&event, EVENT_TRAINING_ENDED);
    put_integer(&event, id, 8);
    put_integer(&event, round.submissions_count, 1);
    log_event(&event);
  } else {
    if ((error = empty_vault(context, VAULT, CREATOR, &vault))) return error;
    round.status = EXPIRED;
    log_expired(&round, due);
  }
  write_round(&context->accounts[ROUND], &round);
  return 0;
}
