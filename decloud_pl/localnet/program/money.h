// Lamports: rent, transfers by the system program, and payments from a vault.
#pragma once
#include "accounts.h"

enum { BPS = 10000, VALIDATOR_FEE_BPS = 1000, TREASURY_FEE_BPS = 200, REFERRER_BPS_OF_FEE = 5000 };

// The rent-exempt minimum of an account with this much data.
u64 rent_exempt_minimum(u64 space, u64 *lamports);

// Creates an account of this program at the address of the seeds (as find_address left them). The payer at this index pays
// the rent. Lamports sent to the address beforehand reduce the payment and block nothing.
typedef struct {
  u64 payer, account;  // indices
  u64 space;
} Creation;
u64 create_account(Context *, const Creation *, const Seeds *);

// Moves lamports between two accounts. To pay from a vault, `seeds` sign for it; a signer needs none.
u64 transfer(const Context *, u64 from, u64 to, u64 lamports, const Seeds *);

// Fills a new vault with the reward and the rent-exempt minimum, so that a partial payment cannot leave too little in it.
u64 fill_vault(const Context *, u64 payer, u64 vault, u64 reward);
// Empties the vault, including rent and gifts. The vault then no longer exists.
u64 empty_vault(const Context *, u64 vault, u64 to, const Seeds *);

// An instruction that pays lists these accounts after the vault and the payee.
#if HAS_TREASURY
#define FEE_ACCOUNTS {"treasury", TREASURY_ACCOUNT, WRITABLE}, {"referrer", OPTIONAL, WRITABLE},
#define FEE_PLACES TREASURY, REFERRER,
#else
#define FEE_ACCOUNTS
#define FEE_PLACES
#endif

// A payment: the payee's part and the two parts of the fee, which add up to the lamports paid.
typedef struct {
  u64 amount, treasury_fee, referrer_fee;
} Payment;

// Pays lamports from the vault at this index to the accounts that follow it.
u64 pay(const Context *, u64 vault, u64 lamports, const Seeds *, Payment *);
// Writes the event's last fields, since v1.1.
void put_fees(Buffer *, const Payment *);

u64 validator_fee(const Round *);
u64 trainers_pool(const Round *);
u64 share_of(u64 lamports, u64 bps);  // rounded down

// The lamports left for claims: the vault without its rent, and without the validator fee while it is unpaid.
u64 left_for_trainers(const Round *, const Account *vault, u64 *lamports);
