// The accounts an instruction was given, and the checks every one of them has to pass.
#pragma once
#include "errors.h"
#include "state.h"

typedef enum {
  ANY,
  OPTIONAL,  // absent where the program's own id stands in its place, as Anchor's clients write it
  SIGNER,
  SYSTEM_PROGRAM,
  TREASURY_ACCOUNT,
  COUNTER_ACCOUNT,
  ROUND_ACCOUNT,
  SUBMISSION_ACCOUNT,
} Kind;
enum { READ_ONLY, WRITABLE };

// One row of an instruction's account list, in the order of the protocol. The name goes into error lines.
typedef struct {
  char name[16];
  u8 kind, writable;
} Expected;

// The most an instruction can use: check_round's four and a submission of each of ten trainers. More are accepted and
// ignored.
enum { MAX_TRAINERS = 10, MAX_ACCOUNTS = 4 + MAX_TRAINERS };

typedef struct {
  Account accounts[MAX_ACCOUNTS];
  u64 count;
  const Expected *expected;  // of the accounts at the front
  u64 expected_count;
  const Pubkey *program_id;
  Reader arguments;
} Context;

// False when the arguments were not exactly what has been read so far; the caller fails with 102.
static inline int arguments_end(const Context *context) { return read_everything(&context->arguments); }

// Fails because of the account at this place, by its name if the instruction has one for it.
u64 fail_at(const Context *, u64 index, u64 code);

int is_absent(const Context *, u64 index);

// Number, kinds and flags. An account of the program's own is checked for existence, owner and discriminator.
u64 check_accounts(Context *, const Expected *, u64 count);
u64 check_account(const Context *, u64 index, const Expected *);
#define CHECK_ACCOUNTS(context, list) check_accounts(context, list, sizeof(list) / sizeof *(list))

// The seeds of one address. Holds the values its parts point to: do not copy it.
typedef struct {
  Slice parts[4];
  u64 count;
  u64 round_id;
  Pubkey trainer;
  u8 bump;
} Seeds;

void counter_seeds(Seeds *);
void round_seeds(Seeds *, u64 round_id);
void vault_seeds(Seeds *, u64 round_id);
void submission_seeds(Seeds *, u64 round_id, const Pubkey *trainer);

// 2006 unless the account at this place stands at the address of the seeds: with the bump its own data records, or with the
// highest possible one for an account yet to be created, which is left in the seeds.
u64 check_address(const Context *, u64 index, Seeds *, u8 bump);
u64 find_address(const Context *, u64 index, Seeds *);

// Reads an account that passed check_accounts and checks its address.
u64 open_counter(const Context *, u64 index, Counter *);
u64 open_round(const Context *, u64 index, u64 round_id, Round *);
u64 open_submission(const Context *, u64 index, u64 round_id, Submission *);
// Leaves the seeds ready to sign for the vault.
u64 open_vault(const Context *, u64 index, const Round *, Seeds *);
