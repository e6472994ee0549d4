// Lamports: rent, the system program's transfers, and what a vault owes to whom.
#pragma once
#include "accounts.h"

enum { BPS = 10000, VALIDATOR_FEE_BPS = 1000 };

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

u64 validator_fee(const Round *);
u64 trainers_pool(const Round *);
u64 share_of(u64 lamports, u64 bps);  // rounded down

// What claims may still take: the vault without its rent, and without the fee while it is unpaid.
u64 left_for_trainers(const Round *, const Account *vault, u64 *lamports);
