// Lamports: rent, the system program's transfers, and what a vault owes to whom.
#pragma once
#include "accounts.h"

enum { BPS = 10000, VALIDATOR_FEE_BPS = 1000, TREASURY_FEE_BPS = 200, REFERRER_BPS_OF_FEE = 5000 };

// The least an account with this much data must hold to exist.
u64 rent_exempt_minimum(u64 space, u64 *lamports);

// Makes an account of this program at the address of the seeds (as find_address left them); the payer at this place bears
// the rent. Whoever sends lamports to the address beforehand saves the payer some and blocks nothing.
typedef struct {
  u64 payer, account;  // places
  u64 space;
} Creation;
u64 create_account(Context *, const Creation *, const Seeds *);

// Moves lamports between two places; `seeds` sign for a vault, none for a signer.
u64 transfer(const Context *, u64 from, u64 to, u64 lamports, const Seeds *);

// Fills a new vault: the reward and the rent-exempt minimum, so that no partial payment leaves too little behind.
u64 fill_vault(const Context *, u64 payer, u64 vault, u64 reward);
// Empties it, rent and gifts included: the vault ceases to exist.
u64 empty_vault(const Context *, u64 vault, u64 to, const Seeds *);

// An instruction that pays lists these behind the vault and then the payee.
#if HAS_TREASURY
#define FEE_ACCOUNTS {"treasury", TREASURY_ACCOUNT, WRITABLE}, {"referrer", OPTIONAL, WRITABLE},
#define FEE_PLACES TREASURY, REFERRER,
#else
#define FEE_ACCOUNTS
#define FEE_PLACES
#endif

// What became of lamports that were paid: the payee's part and the fee's two parts add up to them.
typedef struct {
  u64 amount, treasury_fee, referrer_fee;
} Payment;

// Pays lamports out of the vault at this place to the accounts behind it.
u64 pay(const Context *, u64 vault, u64 lamports, const Seeds *, Payment *);
// The event's last fields, from v1.1 on.
void put_fees(Buffer *, const Payment *);

u64 validator_fee(const Round *);
u64 trainers_pool(const Round *);
u64 share_of(u64 lamports, u64 bps);  // rounded down

// What claims may still take: the vault without its rent, and without the fee while it is unpaid.
u64 left_for_trainers(const Round *, const Account *vault, u64 *lamports);
