"""Journals as earlier versions of the program left them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_VERSION_2 = """
CREATE TABLE rounds (
    network TEXT NOT NULL, program_id TEXT NOT NULL, wallet TEXT NOT NULL, round_id INTEGER NOT NULL,
    state TEXT NOT NULL, dataset, resolved_dataset, model_cid, reward_amount, reason, attempts, next_try_at, update_cid,
    update_profile, update_size, pinned_cid, pinned_provider, accuracy_before, accuracy_after, contribution_bps,
    claimed_lamports, join_signature, submit_signature, claim_signature, join_seconds, train_seconds, publish_seconds,
    claim_seconds, submit_window, updated_at REAL NOT NULL,
    PRIMARY KEY (network, program_id, wallet, round_id)
);
CREATE INDEX rounds_by_state ON rounds (network, program_id, wallet, state);
CREATE INDEX rounds_by_dataset ON rounds (network, program_id, wallet, resolved_dataset, round_id);
CREATE INDEX rounds_by_window ON rounds (network, program_id, wallet, round_id) WHERE submit_window IS NOT NULL;
CREATE TABLE transitions (
    network TEXT NOT NULL, program_id TEXT NOT NULL, wallet TEXT NOT NULL, round_id INTEGER NOT NULL, at REAL NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX transitions_by_round ON transitions (network, program_id, wallet, round_id);
CREATE TABLE transactions (
    network TEXT NOT NULL, program_id TEXT NOT NULL, wallet TEXT NOT NULL, key TEXT NOT NULL,
    signature TEXT NOT NULL PRIMARY KEY, blockhash TEXT NOT NULL, last_valid_block_height INTEGER NOT NULL,
    wire BLOB NOT NULL, outcome TEXT NOT NULL, fee INTEGER NOT NULL, deposit INTEGER NOT NULL, recorded_at REAL NOT NULL
);
CREATE INDEX transactions_by_time ON transactions (network, program_id, wallet, recorded_at);
CREATE INDEX transactions_by_key ON transactions (network, program_id, wallet, key);
INSERT INTO rounds VALUES ('net', 'program', 'wallet', 7, 'claimed', 'custom', 'digits', 'bafybase', 1000000000, '', 0,
    0, 'bafyupdate', 'kubo-v1', 10, 'bafyupdate', 'embedded', 0.1, 0.9, 10000, 900000000, 'j', 's', 'c', 1.0, 2.0, 3.0,
    4.0, 3600, 50.0);
INSERT INTO transitions VALUES ('net', 'program', 'wallet', 7, 50.0, 'claimed', '');
INSERT INTO transactions
    VALUES ('net', 'program', 'wallet', 'join:7', 'j', 'hash', 1, x'00', 'landed', 5000, 100, 40.0);
PRAGMA user_version = 2;
"""
_VERSION_3 = """
ALTER TABLE rounds ADD COLUMN gain_low;
ALTER TABLE rounds ADD COLUMN gain_high;
PRAGMA user_version = 3;
"""
_UPLOADS_3 = """
CREATE TABLE uploads (
    owner TEXT NOT NULL, round_id INTEGER NOT NULL, store TEXT NOT NULL, update_cid TEXT NOT NULL, state TEXT NOT NULL,
    cid TEXT, PRIMARY KEY (owner, round_id, store)
);
INSERT INTO uploads VALUES ('net/program/wallet', 7, 'embedded', 'bafyupdate', 'readable', 'bafystored');
"""
_VERSION_4 = """
DROP TABLE uploads;
CREATE TABLE uploads (
    network TEXT NOT NULL, program_id TEXT NOT NULL, wallet TEXT NOT NULL, round_id INTEGER NOT NULL,
    store TEXT NOT NULL, update_cid TEXT NOT NULL, state TEXT NOT NULL, cid TEXT,
    PRIMARY KEY (network, program_id, wallet, round_id, store)
);
INSERT INTO uploads VALUES ('net', 'program', 'wallet', 7, 'embedded', 'bafyupdate', 'readable', 'bafystored');
PRAGMA user_version = 4;
"""
_VERSION_5 = """
ALTER TABLE rounds ADD COLUMN validator;
ALTER TABLE rounds ADD COLUMN convention;
ALTER TABLE rounds ADD COLUMN convention_why;
CREATE TABLE revisions (
    network TEXT NOT NULL, program_id TEXT NOT NULL, name TEXT NOT NULL, evidence TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (network, program_id)
);
CREATE TABLE readings (
    network TEXT NOT NULL, program_id TEXT NOT NULL, round_id INTEGER NOT NULL, validator TEXT NOT NULL,
    convention TEXT, note TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (network, program_id, round_id)
);
CREATE INDEX readings_by_validator ON readings (network, program_id, validator, round_id);
PRAGMA user_version = 5;
"""
OLD_JOURNALS = {
    "version 2": _VERSION_2,
    "version 3": _VERSION_2 + _VERSION_3,
    "version 3 with uploads": _VERSION_2 + _VERSION_3 + _UPLOADS_3,
    "version 4 with uploads": _VERSION_2 + _VERSION_3 + _UPLOADS_3 + _VERSION_4,
    "version 5 with uploads": _VERSION_2 + _VERSION_3 + _UPLOADS_3 + _VERSION_4 + _VERSION_5,
}
"""Each journal has round 7 of (net, program, wallet)."""


def make_old_journal(path: Path, name: str) -> None:
    """Create the file in WAL mode and close it, as a stopped daemon leaves it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(OLD_JOURNALS[name])
    db.close()
