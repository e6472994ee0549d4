// The instructions of a trainer before the payment: join and submit.
#include "instructions.h"
#include "log.h"
#include "money.h"

u64 join_round(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"submission", ANY, WRITABLE},
                                      {"trainer", SIGNER, WRITABLE},
                                      {"system_program", SYSTEM_PROGRAM, READ_ONLY}};
  enum { ROUND, SUBMISSION, TRAINER };
  u64 id = read_integer(&context->arguments, 8);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Seeds seeds;
  i64 now;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (error) return error;
  const Pubkey *trainer = context->accounts[TRAINER].key;
  submission_seeds(&seeds, id, trainer);
  error = open_round(context, ROUND, id, &round);
  if (!error) error = find_address(context, SUBMISSION, &seeds);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (round.status != WAITING_TRAINERS) return fail(RoundNotWaitingTrainers);
  if (now > round.join_deadline) return fail(JoinDeadlinePassed);
  if (round.trainers_count >= MAX_TRAINERS) return fail(MaxTrainersReached);

  Creation creation = {TRAINER, SUBMISSION, SUBMISSION_SPACE};
  if ((error = create_account(context, &creation, &seeds))) return error;
  Submission submission;
  submission.round_id = id;
  copy_key(&submission.trainer, trainer);
  submission.gradient_cid.length = 0;
  submission.submitted = submission.reward_claimed = 0;
  submission.contribution_bps = 0;
  submission.bump = seeds.bump;
  write_submission(&context->accounts[SUBMISSION], &submission);
  round.trainers_count++;
  write_round(&context->accounts[ROUND], &round);
  Buffer out;
  buffer_clear(&out);
  say(&out, "Trainer ");
  say_key(&out, trainer);
  say(&out, " joined round ");
  say_number(&out, id);
  say(&out, ". Total trainers: ");
  say_number(&out, round.trainers_count);
  log_line(&out);
  event_start(&out, EVENT_TRAINER_JOINED);
  put_integer(&out, id, 8);
  put_key(&out, trainer);
  put_integer(&out, round.trainers_count, 1);
  log_event(&out);
  return 0;
}

static void log_submitted(const Submission *submission, u8 submissions_count) {
  Buffer out;
  buffer_clear(&out);
  say(&out, "Trainer ");
  say_key(&out, &submission->trainer);
  say(&out, " submitted gradients for round ");
  say_number(&out, submission->round_id);
  say(&out, ". CID: ");
  say_bytes(&out, submission->gradient_cid.bytes, submission->gradient_cid.length);
  log_line(&out);
  event_start(&out, EVENT_GRADIENTS_SUBMITTED);
  put_integer(&out, submission->round_id, 8);
  put_key(&out, &submission->trainer);
  put_text(&out, submission->gradient_cid.bytes, submission->gradient_cid.length);
  put_integer(&out, submissions_count, 1);
  log_event(&out);
}

static void log_all_submitted(const Round *round) {
  Buffer out;
  buffer_clear(&out);
  say(&out, "All ");
  say_number(&out, round->submissions_count);
  say(&out, " trainers submitted. Moving to validation.");
  log_line(&out);
  event_start(&out, EVENT_TRAINING_ENDED);
  put_integer(&out, round->id, 8);
  put_integer(&out, round->submissions_count, 1);
  log_event(&out);
}

u64 submit_gradients(Context *context) {
  static const Expected EXPECTED[] = {{"round", ROUND_ACCOUNT, WRITABLE},
                                      {"submission", SUBMISSION_ACCOUNT, WRITABLE},
                                      {"trainer", SIGNER, WRITABLE}};
  enum { ROUND, SUBMISSION, TRAINER };
  u64 id = read_integer(&context->arguments, 8);
  Slice cid;
  read_text(&context->arguments, &cid);
  if (!arguments_end(context)) return fail(InstructionDidNotDeserialize);
  Round round;
  Submission submission;
  i64 now;
  u64 error = CHECK_ACCOUNTS(context, EXPECTED);
  if (!error) error = open_round(context, ROUND, id, &round);
  if (!error) error = open_submission(context, SUBMISSION, id, &submission);
  if (!error) error = read_clock(&now);
  if (error) return error;
  if (!keys_equal(&submission.trainer, context->accounts[TRAINER].key))
    return fail_at(context, SUBMISSION, ConstraintHasOne);
  if (round.status != TRAINING) return fail(RoundNotTraining);
  if (now > round.submit_deadline) return fail(SubmitDeadlinePassed);
  if (submission.submitted) return fail(AlreadySubmitted);
  if (!cid_from_text(&submission.gradient_cid, &cid)) return fail(InvalidCid);

  submission.submitted = 1;
  write_submission(&context->accounts[SUBMISSION], &submission);
  round.submissions_count++;
  log_submitted(&submission, round.submissions_count);
  if (round.submissions_count == round.trainers_count) {
    round.status = VALIDATING;
    log_all_submitted(&round);
  }
  write_round(&context->accounts[ROUND], &round);
  return 0;
}
