// Creates, cancels, opens and advances rounds.
#include "instructions.h"
#include "log.h"
#include "money.h"

u64 initialize(Context *context) {
  static const Expected EXPECTED[] = {
      {"round_counter", ANY, WRITABLE}, {"authority", SIGNER, WRITABLE}, {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { COUNTER, AUTHORITY };
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Seeds seeds;
  counter_seeds(&seeds);
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = find_address(context, COUNTER, &seeds);
  if (error) return error;

  Creation creation = {AUTHORITY, COUNTER, COUNTER_SPACE};
  if ((error = create_account(context, &creation, &seeds))) return error;
  Counter counter;
  counter.count = 0;
  copy_key(&counter.authority, context->accounts[AUTHORITY].key);
  counter.bump = seeds.bump;
  write_counter(&context->accounts[COUNTER], &counter);
  return 0;
}

static void log_created(const Round *round) {
  static const char names[DATASET_COUNT][DATASET_NAME_CAPACITY] = DATASET_NAMES;
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, round->id);
  say(&out, " created. Model: ");
  say_bytes(&out, round->model_cid.bytes, round->model_cid.length);
  say(&out, ", Dataset: ");
  say_name(&out, names[round->dataset], DATASET_NAME_CAPACITY);
  say(&out, ", Reward: ");
  say_number(&out, round->reward_amount);
  say(&out, " lamports");
  log_line(&out);

  event_start(&out, EVENT_ROUND_CREATED);
  put_integer(&out, round->id, 8);
  put_key(&out, &round->creator);
  put_text(&out, round->model_cid.bytes, round->model_cid.length);
  put_integer(&out, round->dataset, 1);
  put_integer(&out, round->reward_amount, 8);
  put_integer(&out, round->validator_deadline, 8);
  log_event(&out);
}

u64 create_round(Context *context) {
  static const Expected EXPECTED[] = {{"round_counter", COUNTER_ACCOUNT, WRITABLE},
                                      {"round", ANY, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      {"creator", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { COUNTER, ROUND, VAULT, CREATOR };
  Round round;
  round.id = read_integer(&context->arguments, 8);
  Slice cid;
  read_text(&context->arguments, &cid);
  round.dataset = read_integer(&context->arguments, 1);
  round.reward_amount = read_integer(&context->arguments, 8);
  if (!arguments_end(context) || round.dataset >= DATASET_COUNT) return fail(InstructionDidNotDeserialize);
  Counter counter;
  Seeds own, vault;
  round_seeds(&own, round.id);
  vault_seeds(&vault, round.id);
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_counter(context, COUNTER, &counter);
  if (!error) error = find_address(context, ROUND, &own);
  if (!error) error = find_address(context, VAULT, &vault);
  if (!error) error = read_clock(&round.created_at);
  if (error) return error;
  if (!cid_from_text(&round.model_cid, &cid)) return fail(InvalidCid);
  if (round.reward_amount == 0) return fail(ZeroReward);
  if (round.id != counter.count) return fail(InvalidRoundId);

  Creation creation = {CREATOR, ROUND, ROUND_SPACE};
  if ((error = create_account(context, &creation, &own))) return error;
  if ((error = fill_vault(context, CREATOR, VAULT, round.reward_amount))) return error;
  static const Pubkey NOBODY = {{0}};
  copy_key(&round.creator, context->accounts[CREATOR].key);
  copy_key(&round.validator, &NOBODY);
  round.status = WAITING_VALIDATOR;
  round.validator_fee_bps = VALIDATOR_FEE_BPS;
  round.baseline_score = 0;
  round.validator_deadline = later(round.created_at, VALIDATOR_SECONDS);
  round.join_deadline = round.submit_deadline = 0;
  round.trainers_count = round.submissions_count = round.fee_paid = 0;
  round.bump = own.bump;
  round.vault_bump = vault.bump;
  write_round(&context->accounts[ROUND], &round);
  counter.count++;
  write_counter(&context->accounts[COUNTER], &counter);
  log_created(&round);
  return 0;
}

u64 cancel_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"vault", ANY, WRITABLE},
                                      {"creator", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { ROUND, VAULT, CREATOR };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds vault;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_vault(context, VAULT, &round, &vault);
  if (error) return error;
  if (!keys_equal(&round.creator, context->accounts[CREATOR].key)) return fail_at(context, CREATOR, ConstraintHasOne);
  if (round.status != WAITING_VALIDATOR) return fail(CannotCancel);

  if ((error = empty_vault(context, VAULT, CREATOR, &vault))) return error;
  round.status = CANCELLED;
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, id);
  say(&out, " cancelled. Refunded ");
  say_number(&out, round.reward_amount);
  say(&out, " lamports to creator");
  log_line(&out);
  event_start(&out, EVENT_ROUND_CANCELLED);
  put_integer(&out, id, 8);
  log_event(&out);
  return 0;
}

u64 claim_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE}, {"validator", SIGNER, WRITABLE}};
  enum { ROUND, VALIDATOR };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  i64 now;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (round.status != WAITING_VALIDATOR) return fail(RoundNotWaitingValidator);
  if (now > round.validator_deadline) return fail(ValidatorDeadlinePassed);

  round.status = WAITING_TRAINERS;
  copy_key(&round.validator, context->accounts[VALIDATOR].key);
  round.join_deadline = later(now, JOIN_SECONDS);
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Round ");
  say_number(&out, id);
  say(&out, " claimed by validator ");
  say_key(&out, &round.validator);
  say(&out, ". Join deadline: ");
  say_time(&out, round.join_deadline);
  log_line(&out);
  event_start(&out, EVENT_VALIDATOR_CLAIMED);
  put_integer(&out, id, 8);
  put_key(&out, &round.validator);
  put_integer(&out, round.join_deadline, 8);
  log_event(&out);
  return 0;
}

u64 start_training(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE}, {"validator", SIGNER, WRITABLE}};
  enum { ROUND, VALIDATOR };
  u64 id = read_integer(&context->arguments, 8);
  u32 baseline_score = read_integer(&context->arguments, 4);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  i64 now;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (!keys_equal(&round.validator, context->accounts[VALIDATOR].key)) return fail(NotValidator);
  if (round.status != WAITING_TRAINERS) return fail(RoundNotWaitingTrainers);
  if (round.trainers_count == 0) return fail(NoTrainers);

  round.status = TRAINING;
  round.baseline_score = baseline_score;
  round.submit_deadline = later(now, SUBMIT_SECONDS);
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Training started for round ");
  say_number(&out, id);
  say(&out, ". Baseline: ");
  say_number(&out, baseline_score);
  say(&out, ", Submit deadline: ");
  say_time(&out, round.submit_deadline);
  log_line(&out);
  event_start(&out, EVENT_TRAINING_STARTED);
  put_integer(&out, id, 8);
  put_integer(&out, baseline_score, 4);
  put_integer(&out, round.submit_deadline, 8);
  put_integer(&out, round.trainers_count, 1);
  log_event(&out);
  return 0;
}
