// The DECLOUD program of the local network: the entry point.
#include "instructions.h"
#include "log.h"

enum { MAX_DATA_INCREASE = 10240, DUPLICATE_NONE = 0xff };

// Parses the loader's input (solana-program-runtime, serialization.rs, "aligned"): the accounts, the instruction data and the
// program's id.
static void open_input(u8 *at, Context *context) {
  u64 count = *(u64 *)at;
  at += 8;
  context->count = count < MAX_ACCOUNTS ? count : MAX_ACCOUNTS;
  for (u64 i = 0; i < count; i++) {
    Account unused;
    Account *account = i < MAX_ACCOUNTS ? &context->accounts[i] : &unused;
    u8 first_place = *at;
    if (first_place != DUPLICATE_NONE) {
      // A duplicate account: the input has only the index of its first occurrence.
      if (i < MAX_ACCOUNTS) {
        const Account *first = &context->accounts[first_place];
        account->key = first->key;
        account->lamports = first->lamports;
        account->length = first->length;
        account->data = first->data;
        account->owner = first->owner;
        account->rent_epoch = first->rent_epoch;
        account->is_signer = first->is_signer;
        account->is_writable = first->is_writable;
        account->executable = first->executable;
      }
      at += 8;
      continue;
    }
    account->is_signer = at[1];
    account->is_writable = at[2];
    account->executable = at[3];
    at += 8;
    account->key = (Pubkey *)at;
    at += sizeof(Pubkey);
    account->owner = (Pubkey *)at;
    at += sizeof(Pubkey);
    account->lamports = (u64 *)at;
    at += 8;
    account->length = *(u64 *)at;
    at += 8;
    account->data = at;
    at += account->length + MAX_DATA_INCREASE;
    at = (u8 *)(((u64)at + 7) & ~7UL);
    account->rent_epoch = *(u64 *)at;
    at += 8;
  }
  u64 length = *(u64 *)at;
  at += 8;
  context->arguments.at = at;
  context->arguments.end = at + length;
  context->arguments.failed = 0;
  context->program_id = (const Pubkey *)(at + length);
  context->expected_count = 0;
}

#define LOG(literal) sol_log_((const u8 *)(literal), sizeof(literal) - 1)

u64 entrypoint(u8 *input) {
  Context context;
  open_input(input, &context);
  u64 discriminator = read_integer(&context.arguments, 8);
  if (context.arguments.failed) return fail(InstructionFallbackNotFound);
  switch (discriminator) {
#define X(name, suffix, log)       \
  case INSTRUCTION_##suffix:       \
    LOG("Instruction: " log); \
    return name(&context);
    INSTRUCTIONS(X)
#undef X
  }
  return fail(InstructionFallbackNotFound);
}
