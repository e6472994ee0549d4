"""Writes names.h: what the C source shares with the Python dialects, so that neither is typed twice.

The newest dialect has every event, and what an older one lacks the sources leave out.
"""

from __future__ import annotations

from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialects.v1_0.datasets import DATASETS
from decloud_pl.chain.dialects.v1_2 import V1_2, events
from decloud_pl.localnet.program import deadlines

TREASURY = V1_2().treasury
"""Whom the program pays its fee to."""

INSTRUCTIONS = (
    "initialize",
    "create_round",
    "cancel_round",
    "claim_round",
    "join_round",
    "start_training",
    "submit_gradients",
    "set_contribution",
    "complete_validation",
    "finalize_round",
    "claim_reward",
    "claim_validator_fee",
    "check_round",
    "abort_round",
)
_SECONDS = {
    "VALIDATOR_SECONDS": deadlines.VALIDATOR_SECONDS,
    "JOIN_SECONDS": deadlines.JOIN_SECONDS,
    "START_SECONDS": deadlines.START_SECONDS,
    "SUBMIT_SECONDS": deadlines.SUBMIT_SECONDS,
    "VALIDATION_SECONDS": deadlines.VALIDATION_SECONDS,
}
ACCOUNTS = ("Round", "Submission", "RoundCounter")

_HEAD = """\
// Written by names.py (python -m decloud_pl.localnet.program.build): do not edit.
#pragma once

// Anchor discriminators: the first eight bytes of sha256("<namespace>:<name>"), as a little-endian number.
"""


def _snake_case(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


def _define(prefix: str, namespace: str, name: str) -> str:
    value = int.from_bytes(discriminator(namespace, name), "little")
    return f"#define {prefix}_{_snake_case(name).upper()} 0x{value:016x}UL\n"


def header() -> str:
    """The text of names.h."""
    capacity = max(len(name) for name in DATASETS) + 1
    quoted = [f'"{name}"' for name in DATASETS]
    rows = [", ".join(quoted[i : i + 5]) for i in range(0, len(quoted), 5)]
    return "".join(
        (
            _HEAD,
            *(_define("INSTRUCTION", "global", name) for name in INSTRUCTIONS),
            *(_define("ACCOUNT", "account", name) for name in ACCOUNTS),
            *(_define("EVENT", "event", name) for name in events.NAMES),
            "\n",
            *(f"enum {{ {name} = {seconds} }};\n" for name, seconds in _SECONDS.items()),
            f"#define TREASURY_KEY {{ {', '.join(str(byte) for byte in bytes(TREASURY))} }}\n",
            f"\nenum {{ DATASET_COUNT = {len(DATASETS)}, DATASET_NAME_CAPACITY = {capacity} }};\n",
            "#define DATASET_NAMES \\\n  { \\\n",
            *(f"    {row}, \\\n" for row in rows),
            "  }\n",
        )
    )
