#include "accounts.h"

static const Pubkey SYSTEM = {{0}};

u64 fail_at(const Context *context, u64 index, u64 code) {
  if (index >= context->expected_count) return fail(code);
  const char *name = context->expected[index].name;
  return fail_because_of(name, sizeof context->expected[index].name, code);
}

static u64 discriminator_of(u8 kind) {
  return kind == COUNTER_ACCOUNT ? ACCOUNT_ROUND_COUNTER : kind == ROUND_ACCOUNT ? ACCOUNT_ROUND : ACCOUNT_SUBMISSION;
}

static u64 check_own(const Context *context, u64 index, u8 kind) {
  const Account *account = &context->accounts[index];
  if (*account->lamports == 0 && keys_equal(account->owner, &SYSTEM)) return fail_at(context, index, AccountNotInitialized);
  if (!keys_equal(account->owner, context->program_id)) return fail_at(context, index, AccountOwnedByWrongProgram);
  Reader reader = {account->data, account->data + account->length, 0};
  u64 discriminator = read_integer(&reader, 8);
  if (reader.failed) return fail_at(context, index, AccountDiscriminatorNotFound);
  if (discriminator != discriminator_of(kind)) return fail_at(context, index, AccountDiscriminatorMismatch);
  return 0;
}

int is_absent(const Context *context, u64 index) {
  return keys_equal(context->accounts[index].key, context->program_id);
}

u64 check_account(const Context *context, u64 index, const Expected *expected) {
  const Account *account = &context->accounts[index];
  u64 error = 0;
  if (expected->kind == OPTIONAL && is_absent(context, index)) return 0;
  if (expected->kind == SIGNER) {
    if (!account->is_signer) error = fail_at(context, index, AccountNotSigner);
  } else if (expected->kind == SYSTEM_PROGRAM) {
    if (!keys_equal(account->key, &SYSTEM)) error = fail_at(context, index, InvalidProgramId);
#if HAS_TREASURY
  } else if (expected->kind == TREASURY_ACCOUNT) {
    static const Pubkey TREASURY = {TREASURY_KEY};
    if (!keys_equal(account->key, &TREASURY)) error = fail_at(context, index, InvalidTreasury);
#endif
  } else if (expected->kind != ANY && expected->kind != OPTIONAL) {
    error = check_own(context, index, expected->kind);
  }
  if (!error && expected->writable && !account->is_writable) error = fail_at(context, index, ConstraintMut);
  return error;
}

u64 check_accounts(Context *context, const Expected *expected, u64 count) {
  context->expected = expected;
  context->expected_count = count;
  if (context->count < count) return fail_at(context, context->count, AccountNotEnoughKeys);
  for (u64 i = 0; i < count; i++) {
    u64 error = check_account(context, i, &expected[i]);
    if (error) return error;
  }
  return 0;
}

static void add_seed(Seeds *seeds, const void *at, u64 length) {
  Slice *part = &seeds->parts[seeds->count++];
  part->at = at;
  part->length = length;
}

#define FIRST_SEED(seeds, literal) ((seeds)->count = 0, add_seed(seeds, literal, sizeof(literal) - 1))

static void add_round_id(Seeds *seeds, u64 round_id) {
  seeds->round_id = round_id;
  add_seed(seeds, &seeds->round_id, sizeof seeds->round_id);
}

void counter_seeds(Seeds *seeds) { FIRST_SEED(seeds, "round_counter"); }

void round_seeds(Seeds *seeds, u64 round_id) {
  FIRST_SEED(seeds, "round");
  add_round_id(seeds, round_id);
}

void vault_seeds(Seeds *seeds, u64 round_id) {
  FIRST_SEED(seeds, "vault");
  add_round_id(seeds, round_id);
}

void submission_seeds(Seeds *seeds, u64 round_id, const Pubkey *trainer) {
  FIRST_SEED(seeds, "submission");
  add_round_id(seeds, round_id);
  copy_key(&seeds->trainer, trainer);
  add_seed(seeds, &seeds->trainer, sizeof seeds->trainer);
}

static void add_bump(Seeds *seeds, u8 bump) {
  seeds->bump = bump;
  add_seed(seeds, &seeds->bump, sizeof seeds->bump);
}

u64 check_address(const Context *context, u64 index, Seeds *seeds, u8 bump) {
  Pubkey address;
  add_bump(seeds, bump);
  // With some bumps, some seeds have no address. The syscall then fails, which means the same as a different address.
  if (sol_create_program_address(seeds->parts, seeds->count, context->program_id, &address) ||
      !keys_equal(&address, context->accounts[index].key))
    return fail_at(context, index, ConstraintSeeds);
  return 0;
}

u64 find_address(const Context *context, u64 index, Seeds *seeds) {
  Pubkey address;
  u8 bump = 0;
  if (sol_try_find_program_address(seeds->parts, seeds->count, context->program_id, &address, &bump) ||
      !keys_equal(&address, context->accounts[index].key))
    return fail_at(context, index, ConstraintSeeds);
  add_bump(seeds, bump);
  return 0;
}

u64 open_counter(const Context *context, u64 index, Counter *counter) {
  if (!read_counter(&context->accounts[index], counter)) return fail_at(context, index, AccountDidNotDeserialize);
  Seeds seeds;
  counter_seeds(&seeds);
  return check_address(context, index, &seeds, counter->bump);
}

u64 open_round(const Context *context, u64 index, u64 round_id, Round *round) {
  if (!read_round(&context->accounts[index], round)) return fail_at(context, index, AccountDidNotDeserialize);
  Seeds seeds;
  round_seeds(&seeds, round_id);
  return check_address(context, index, &seeds, round->bump);
}

u64 open_submission(const Context *context, u64 index, u64 round_id, Submission *submission) {
  if (!read_submission(&context->accounts[index], submission)) return fail_at(context, index, AccountDidNotDeserialize);
  Seeds seeds;
  submission_seeds(&seeds, round_id, &submission->trainer);
  return check_address(context, index, &seeds, submission->bump);
}

u64 open_vault(const Context *context, u64 index, const Round *round, Seeds *seeds) {
  vault_seeds(seeds, round->id);
  return check_address(context, index, seeds, round->vault_bump);
}
