// check_round: what happens to a round when a deadline has passed. Anyone may send it.
#include "instructions.h"
#include "log.h"
#include "money.h"

// What is due for a round. The expiries have the values of the protocol's ExpireReason.
typedef enum { NO_VALIDATOR, NO_TRAINERS, NO_SUBMISSIONS, END_TRAINING, NOTHING } Due;

static Due due_for(const Round *round, i64 now) {
  switch (round->status) {
    case WAITING_VALIDATOR:
      return now > round->validator_deadline ? NO_VALIDATOR : NOTHING;
    case WAITING_TRAINERS:
      return now > round->join_deadline && round->trainers_count == 0 ? NO_TRAINERS : NOTHING;
    case TRAINING:
      if (now <= round->submit_deadline) return NOTHING;
      return round->submissions_count == 0 ? NO_SUBMISSIONS : END_TRAINING;
  }
  return NOTHING;
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
  enum { ROUND, VAULT, CREATOR };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds vault;
  i64 now;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (!keys_equal(&round.creator, context->accounts[CREATOR].key)) return fail_at(context, CREATOR, ConstraintHasOne);

  Due due = due_for(&round, now);
  if (due == NOTHING) return 0;
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
