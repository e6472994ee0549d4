#include "state.h"

int cid_from_text(Cid *cid, const Slice *text) {
  if (text->length < CID_MIN || text->length > CID_MAX) return 0;
  cid->length = text->length;
  sol_memcpy_(cid->bytes, text->at, text->length);
  return 1;
}

static void open_fields(Reader *reader, const Account *account) {
  reader->at = account->data + 8;
  reader->end = account->data + account->length;
  reader->failed = 0;
}

static void read_cid(Reader *reader, Cid *cid) {
  Slice text;
  read_text(reader, &text);
  if (text.length > CID_MAX) reader->failed = 1;
  cid->length = reader->failed ? 0 : text.length;
  if (cid->length) sol_memcpy_(cid->bytes, text.at, cid->length);
}

static void write_data(const Account *account, const Buffer *data) {
  sol_memcpy_(account->data, data->bytes, data->length);
}

int read_counter(const Account *account, Counter *counter) {
  if (account->length != COUNTER_SPACE) return 0;
  Reader reader;
  open_fields(&reader, account);
  counter->count = read_integer(&reader, 8);
  read_key(&reader, &counter->authority);
  counter->bump = read_integer(&reader, 1);
  return !reader.failed;
}

void write_counter(const Account *account, const Counter *counter) {
  Buffer data;
  buffer_clear(&data);
  put_integer(&data, ACCOUNT_ROUND_COUNTER, 8);
  put_integer(&data, counter->count, 8);
  put_key(&data, &counter->authority);
  put_integer(&data, counter->bump, 1);
  write_data(account, &data);
}

int read_round(const Account *account, Round *round) {
  if (account->length != ROUND_SPACE) return 0;
  Reader reader;
  open_fields(&reader, account);
  round->id = read_integer(&reader, 8);
  read_key(&reader, &round->creator);
  read_cid(&reader, &round->model_cid);
  round->dataset = read_integer(&reader, 1);
  round->reward_amount = read_integer(&reader, 8);
  round->status = read_integer(&reader, 1);
  read_key(&reader, &round->validator);
  round->validator_fee_bps = read_integer(&reader, 2);
  round->baseline_score = read_integer(&reader, 4);
  round->created_at = read_integer(&reader, 8);
  round->validator_deadline = read_integer(&reader, 8);
  round->join_deadline = read_integer(&reader, 8);
  round->submit_deadline = read_integer(&reader, 8);
  round->trainers_count = read_integer(&reader, 1);
  round->submissions_count = read_integer(&reader, 1);
  round->bump = read_integer(&reader, 1);
  round->vault_bump = read_integer(&reader, 1);
  round->fee_paid = account->data[ROUND_FIELDS];
  return !reader.failed && round->dataset < DATASET_COUNT && round->status <= CANCELLED;
}

void write_round(const Account *account, const Round *round) {
  Buffer data;
  buffer_clear(&data);
  put_integer(&data, ACCOUNT_ROUND, 8);
  put_integer(&data, round->id, 8);
  put_key(&data, &round->creator);
  put_text(&data, round->model_cid.bytes, round->model_cid.length);
  put_integer(&data, round->dataset, 1);
  put_integer(&data, round->reward_amount, 8);
  put_integer(&data, round->status, 1);
  put_key(&data, &round->validator);
  put_integer(&data, round->validator_fee_bps, 2);
  put_integer(&data, round->baseline_score, 4);
  put_integer(&data, round->created_at, 8);
  put_integer(&data, round->validator_deadline, 8);
  put_integer(&data, round->join_deadline, 8);
  put_integer(&data, round->submit_deadline, 8);
  put_integer(&data, round->trainers_count, 1);
  put_integer(&data, round->submissions_count, 1);
  put_integer(&data, round->bump, 1);
  put_integer(&data, round->vault_bump, 1);
  write_data(account, &data);
  account->data[ROUND_FIELDS] = round->fee_paid;
}

int read_submission(const Account *account, Submission *submission) {
  if (account->length != SUBMISSION_SPACE) return 0;
  Reader reader;
  open_fields(&reader, account);
  submission->round_id = read_integer(&reader, 8);
  read_key(&reader, &submission->trainer);
  read_cid(&reader, &submission->gradient_cid);
  submission->submitted = read_bool(&reader);
  submission->contribution_bps = read_integer(&reader, 2);
  submission->reward_claimed = read_bool(&reader);
  submission->bump = read_integer(&reader, 1);
  return !reader.failed;
}

void write_submission(const Account *account, const Submission *submission) {
  Buffer data;
  buffer_clear(&data);
  put_integer(&data, ACCOUNT_SUBMISSION, 8);
  put_integer(&data, submission->round_id, 8);
  put_key(&data, &submission->trainer);
  put_text(&data, submission->gradient_cid.bytes, submission->gradient_cid.length);
  put_integer(&data, submission->submitted, 1);
  put_integer(&data, submission->contribution_bps, 2);
  put_integer(&data, submission->reward_claimed, 1);
  put_integer(&data, submission->bump, 1);
  write_data(account, &data);
}
