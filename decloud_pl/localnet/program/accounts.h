// The accounts of an instruction, and the checks that all of them must pass.
#pragma once
#include "errors.h"
#include "state.h"

typedef enum {
  ANY,
  OPTIONAL,  // absent if the program's own id is in its place, as Anchor's clients encode it
  SIGNER,
  SYSTEM_PROGRAM,
  TREASURY_ACCOUNT,
  COUNTER_ACCOUNT,
  ROUND_ACCOUNT,
  SUBMISSION_ACCOUNT,
} Kind;
enum { READ_ONLY, WRITABLE };

// One row of an instruction's account list, in the protocol's order. Error lines show the name.
typedef struct {
  char name[16];
  u8 kind, writable;
} Expected;

// The largest number that an instruction can use: four of check_round, and a submission of each of ten trainers. The
// program accepts more and ignores them.
enum { MAX_TRAINERS = 10, MAX_ACCOUNTS = 4 + MAX_TRAINERS };

typedef struct {
  Account accounts[MAX_ACCOUNTS];
  u64 count;
  const Expected *expected;  // describes the first accounts
  u64 expected_count;
  const Pubkey *program_id;
  Reader arguments;
} Context;

// False unless the arguments end after the values read so far. The caller then fails with 102.
static inline int arguments_end(const Context *context) { return read_everything(&context->arguments); }

// Fails because of the account at this index. Logs its name if the instruction has one for it.
u64 fail_at(const Context *, u64 index, u64 code);

int is_absent(const Context *, u64 index);

// Checks number, kinds and flags. For an account of the program itself, also existence, owner and discriminator.
u64 check_accounts(Context *, const Expected *, u64 count);
u64 check_account(const Context *, u64 index, const Expected *);
#define CHECK_ACCOUNTS(context, list) check_accounts(context, list, sizeof(list) / sizeof *(list))

// The seeds of one address. The parts point to values in this struct: do not copy it.
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

// Fails with 2006 unless the account at this index has the address of the seeds. check_address uses the bump from the
// account's own data. find_address finds the highest possible bump for a new account, and leaves it in the seeds.
u64 check_address(const Context *, u64 index, Seeds *, u8 bump);
u64 find_address(const Context *, u64 index, Seeds *);

// Reads an account that passed check_accounts and checks its address.
u64 open_counter(const Context *, u64 index, Counter *);
u64 open_round(const Context *, u64 index, u64 round_id, Round *);
u64 open_submission(const Context *, u64 index, u64 round_id, Submission *);
// Afterwards, the seeds can sign for the vault.
u64 open_vault(const Context *, u64 index, const Round *, Seeds *);
