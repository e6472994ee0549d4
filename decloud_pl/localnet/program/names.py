"""Writes names.h: what the C source shares with the Python dialect, so that neither is typed twice."""

from __future__ import annotations

from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialects.v1_0 import events
from decloud_pl.chain.dialects.v1_0.datasets import DATASETS

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
)
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
            f"\nenum {{ DATASET_COUNT = {len(DATASETS)}, DATASET_NAME_CAPACITY = {capacity} }};\n",
            "#define DATASET_NAMES \\\n  { \\\n",
            *(f"    {row}, \\\n" for row in rows),
            "  }\n",
        )
    )
