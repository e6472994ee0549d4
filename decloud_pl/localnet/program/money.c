#include "money.h"

static const Pubkey SYSTEM = {{0}};

// Instructions of the system program (solana_system_interface::instruction::SystemInstruction).
enum { CREATE_ACCOUNT = 0, ASSIGN = 1, TRANSFER = 2, ALLOCATE = 8 };

// The bits of a double. The threshold used to be two years' rent; SIMD-0194 moves the factor into the price and leaves one.
#define THRESHOLD_ONE 0x3ff0000000000000UL
#define THRESHOLD_TWO 0x4000000000000000UL
enum { ACCOUNT_OVERHEAD = 128 };

u64 rent_exempt_minimum(u64 space, u64 *lamports) {
  Rent rent;
  u64 error = sol_get_rent_sysvar(&rent);
  if (error) return error;
  *lamports = (space + ACCOUNT_OVERHEAD) * rent.lamports_per_byte_year;
  if (rent.exemption_threshold == THRESHOLD_TWO) *lamports *= 2;
  else if (rent.exemption_threshold != THRESHOLD_ONE) return ERROR_UNSUPPORTED_SYSVAR;
  return 0;
}

// Calls the system program. If the call fails, this program ends as well, so callers cannot get an error.
static u64 call_system(const Context *context, const Meta *metas, u64 metas_count, const Buffer *data, const Seeds *seeds) {
  Instruction instruction = {&SYSTEM, metas, metas_count, data->bytes, data->length};
  SignerSeeds signer = {seeds ? seeds->parts : 0, seeds ? seeds->count : 0};
  return sol_invoke_signed_c(&instruction, context->accounts, context->count, &signer, seeds ? 1 : 0);
}

static void start_call(Buffer *data, u64 number) {
  buffer_clear(data);
  put_integer(data, number, 4);
}

u64 transfer(const Context *context, u64 from, u64 to, u64 lamports, const Seeds *seeds) {
  Meta metas[2] = {{context->accounts[from].key, 1, 1}, {context->accounts[to].key, 1, 0}};
  Buffer data;
  start_call(&data, TRANSFER);
  put_integer(&data, lamports, 8);
  return call_system(context, metas, 2, &data, seeds);
}

static u64 allocate_and_assign(const Context *context, u64 index, u64 space, const Seeds *seeds) {
  Meta meta = {context->accounts[index].key, 1, 1};
  Buffer data;
  start_call(&data, ALLOCATE);
  put_integer(&data, space, 8);
  u64 error = call_system(context, &meta, 1, &data, seeds);
  if (error) return error;
  start_call(&data, ASSIGN);
  put_key(&data, context->program_id);
  return call_system(context, &meta, 1, &data, seeds);
}

u64 create_account(Context *context, const Creation *creation, const Seeds *seeds) {
  Account *account = &context->accounts[creation->account];
  u64 rent, held = *account->lamports;
  u64 error = rent_exempt_minimum(creation->space, &rent);
  if (error) return error;
  if (held == 0) {
    Meta metas[2] = {{context->accounts[creation->payer].key, 1, 1}, {account->key, 1, 1}};
    Buffer data;
    start_call(&data, CREATE_ACCOUNT);
    put_integer(&data, rent, 8);
    put_integer(&data, creation->space, 8);
    put_key(&data, context->program_id);
    error = call_system(context, metas, 2, &data, seeds);
  } else {
    // The system program does not create an account at an address that holds lamports, so anyone could block an address
    // by sending some. If the account really exists, ALLOCATE fails with "already in use".
    if (held < rent) error = transfer(context, creation->payer, creation->account, rent - held, 0);
    if (!error) error = allocate_and_assign(context, creation->account, creation->space, seeds);
  }
  if (error) return error;
  // The call has written the new length before the data, where the runtime reads it, but not into this struct.
  account->length = *(const u64 *)(account->data - 8);
  return 0;
}

u64 fill_vault(const Context *context, u64 payer, u64 vault, u64 reward) {
  u64 rent, held = *context->accounts[vault].lamports;
  u64 error = rent_exempt_minimum(0, &rent);
  if (error) return error;
  u64 missing = held < rent ? rent - held : 0;
  // On overflow, use the largest amount: no payer has it, so the system program reports the missing lamports.
  u64 total = reward > ~0UL - missing ? ~0UL : reward + missing;
  return transfer(context, payer, vault, total, 0);
}

u64 empty_vault(const Context *context, u64 vault, u64 to, const Seeds *seeds) {
  return transfer(context, vault, to, *context->accounts[vault].lamports, seeds);
}

u64 pay(const Context *context, u64 vault, u64 lamports, const Seeds *seeds, Payment *payment) {
  enum { VAULT, FEE_PLACES PAYEE };
  payment->treasury_fee = payment->referrer_fee = 0;
#if HAS_TREASURY
  u64 fee = share_of(lamports, TREASURY_FEE_BPS);
  if (!is_absent(context, vault + REFERRER)) payment->referrer_fee = share_of(fee, REFERRER_BPS_OF_FEE);
  payment->treasury_fee = fee - payment->referrer_fee;
  u64 error = 0;
  if (payment->treasury_fee) error = transfer(context, vault, vault + TREASURY, payment->treasury_fee, seeds);
  if (!error && payment->referrer_fee) error = transfer(context, vault, vault + REFERRER, payment->referrer_fee, seeds);
  if (error) return error;
#endif
  payment->amount = lamports - payment->treasury_fee - payment->referrer_fee;
  return transfer(context, vault, vault + PAYEE, payment->amount, seeds);
}

void put_fees(Buffer *event, const Payment *payment) {
#if HAS_TREASURY
  put_integer(event, payment->treasury_fee, 8);
  put_integer(event, payment->referrer_fee, 8);
#else
  (void)event, (void)payment;
#endif
}

u64 share_of(u64 lamports, u64 bps) {
  // Equals lamports * bps / BPS, but no product can exceed 64 bits.
  return lamports / BPS * bps + lamports % BPS * bps / BPS;
}

u64 validator_fee(const Round *round) { return share_of(round->reward_amount, round->validator_fee_bps); }

u64 trainers_pool(const Round *round) { return round->reward_amount - validator_fee(round); }

u64 left_for_trainers(const Round *round, const Account *vault, u64 *lamports) {
  u64 kept;
  u64 error = rent_exempt_minimum(0, &kept);
  if (error) return error;
  if (!round->fee_paid) kept += validator_fee(round);
  *lamports = *vault->lamports > kept ? *vault->lamports - kept : 0;
  return 0;
}
