// The program's accounts: an Anchor discriminator, then Borsh fields.
#pragma once
#include "borsh.h"
#include "names.h"

enum { CID_MIN = 46, CID_MAX = 64 };

// Accounts are allocated for the longest CID, like Anchor's INIT_SPACE. Unused space follows the last field, where clients
// ignore it. The protocol has no field for "validator fee paid", so a Round stores it in one extra byte at its end.
enum {
  COUNTER_SPACE = 8 + 8 + 32 + 1,
  ROUND_FIELDS = 8 + 8 + 32 + (4 + CID_MAX) + 1 + 8 + 1 + 32 + 2 + 4 + 4 * 8 + 4 * 1,
  ROUND_SPACE = ROUND_FIELDS + 1,
  SUBMISSION_SPACE = 8 + 8 + 32 + (4 + CID_MAX) + 1 + 2 + 1 + 1,
};

typedef enum { WAITING_VALIDATOR, WAITING_TRAINERS, TRAINING, VALIDATING, COMPLETED, EXPIRED, CANCELLED } Status;

typedef struct {
  u64 length;
  u8 bytes[CID_MAX];
} Cid;

typedef struct {
  u64 count;
  Pubkey authority;
  u8 bump;
} Counter;

typedef struct {
  u64 id;
  Pubkey creator;
  Cid model_cid;
  u8 dataset;
  u64 reward_amount;
  u8 status;
  Pubkey validator;  // all zero until claimed
  u16 validator_fee_bps;
  u32 baseline_score;
  i64 created_at, validator_deadline, join_deadline, submit_deadline;
  u8 trainers_count, submissions_count, bump, vault_bump;
  u8 fee_paid;
} Round;

typedef struct {
  u64 round_id;
  Pubkey trainer;
  Cid gradient_cid;
  u8 submitted;
  u16 contribution_bps;
  u8 reward_claimed, bump;
} Submission;

// False if the text is not a CID by the protocol's rule: 46 to 64 characters, counted here as bytes.
int cid_from_text(Cid *, const Slice *text);

// The readers return false if the data is not a complete account of this type. check_accounts has checked the
// discriminator before.
int read_counter(const Account *, Counter *);
int read_round(const Account *, Round *);
int read_submission(const Account *, Submission *);
void write_counter(const Account *, const Counter *);
void write_round(const Account *, const Round *);
void write_submission(const Account *, const Submission *);
