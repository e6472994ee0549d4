// The Solana program interface for stock clang (-target bpf), as far as this program needs it.
//
// The layouts are those of the Solana C SDK (solana-program/sdk: sol/types.h, sol/entrypoint.h, sol/cpi.h). The syscalls
// are plain externs: link.py leaves them to the loader by name and refuses names that no runtime knows.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;
_Static_assert(sizeof(u64) == 8 && sizeof(void *) == 8, "sBPF is a 64-bit machine");

typedef struct {
  u8 bytes[32];
} Pubkey;

typedef struct {
  const u8 *at;
  u64 length;
} Slice;  // SolBytes, SolSignerSeed

typedef struct {
  const Slice *seeds;
  u64 count;
} SignerSeeds;  // SolSignerSeeds

typedef struct {
  Pubkey *key;
  u64 *lamports;
  u64 length;  // of data
  u8 *data;
  Pubkey *owner;
  u64 rent_epoch;
  u8 is_signer, is_writable, executable;
} Account;  // SolAccountInfo

typedef struct {
  const Pubkey *key;
  u8 is_writable, is_signer;
} Meta;  // SolAccountMeta

typedef struct {
  const Pubkey *program_id;
  const Meta *metas;
  u64 metas_count;
  const u8 *data;
  u64 data_length;
} Instruction;  // SolInstruction

typedef struct {
  u64 slot;
  i64 epoch_start_timestamp;
  u64 epoch, leader_schedule_epoch;
  i64 unix_timestamp;
} Clock;

typedef struct {
  u64 lamports_per_byte_year;
  u64 exemption_threshold;  // the bits of a double: sBPF has no floating point
  u8 burn_percent, padding[7];
} Rent;

_Static_assert(sizeof(Account) == 56 && sizeof(Meta) == 16 && sizeof(Instruction) == 40, "the runtime's layout");
_Static_assert(sizeof(Clock) == 40 && sizeof(Rent) == 24, "the runtime's layout");

extern _Noreturn void abort(void);
extern u64 sol_log_(const u8 *text, u64 length);
extern u64 sol_log_data(const Slice *fields, u64 count);
extern u64 sol_memcpy_(void *to, const void *from, u64 length);
extern u64 sol_memcmp_(const void *a, const void *b, u64 length, int *result);
extern u64 sol_get_clock_sysvar(Clock *);
extern u64 sol_get_rent_sysvar(Rent *);
extern u64 sol_create_program_address(const Slice *seeds, u64 count, const Pubkey *program, Pubkey *address);
extern u64 sol_try_find_program_address(const Slice *seeds, u64 count, const Pubkey *program, Pubkey *address, u8 *bump);
extern u64 sol_invoke_signed_c(const Instruction *, const Account *, u64 accounts, const SignerSeeds *, u64 signers);

// An error of the runtime's own, as opposed to a custom code, which is returned as it is (ProgramError in the SDK).
#define BUILTIN_ERROR(number) ((u64)(number) << 32)
#define ERROR_UNSUPPORTED_SYSVAR BUILTIN_ERROR(17)

static inline int keys_equal(const Pubkey *a, const Pubkey *b) {
  int difference;
  sol_memcmp_(a, b, sizeof *a, &difference);
  return difference == 0;
}

static inline void copy_key(Pubkey *to, const Pubkey *from) { sol_memcpy_(to, from, sizeof *to); }
