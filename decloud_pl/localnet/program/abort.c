// abort_round, since v1.2: the validator aborts a round that it has claimed, and the creator gets the reward back.
#include "instructions.h"

#if HAS_ABORT
#include "log.h"
#include "money.h"

u64 abort_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      {"creator", ANY, WRITABLE},
                                      {"validator", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { ROUND, VAULT, CREATOR, VALIDATOR };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds vault;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (error) return error;
  if (!keys_equal(&round.creator, context->accounts[CREATOR].key)) return fail_at(context, CREATOR, InvalidCreator);
  // Check the status first: an unclaimed round has no validator to compare with.
  if (round.status != WAITING_TRAINERS && round.status != TRAINING && round.status != VALIDATING) return fail(CannotAbort);
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);

  if ((error = empty_vault(context, VAULT, CREATOR, &vault))) return error;
  round.status = CANCELLED;
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, id);
  say(&out, " aborted by validator ");
  say_key(&out, &round.validator);
  say(&out, ". Refunded ");
  say_number(&out, round.reward_amount);
  say(&out, " lamports to creator");
  log_line(&out);
  event_start(&out, EVENT_ROUND_ABORTED);
  put_integer(&out, id, 8);
  put_key(&out, &round.validator);
  put_integer(&out, round.reward_amount, 8);
  log_event(&out);
  return 0;
}
#endif
