"""Checks that apply to every instruction of every revision."""

from __future__ import annotations

import pytest

from decloud_pl.localnet.program import REVISIONS
from tests.localnet.program.conftest import INSTRUCTION_NAMES, ReadyFactory, instruction_names
from tests.localnet.program.test_accounts import ACCOUNTS, places, refused

FEE_ACCOUNTS = ("treasury", "referrer")
"""The accounts that v1.0 does not have."""

every_instruction = pytest.mark.parametrize(
    ("revision", "name"),
    [(revision, name) for revision in REVISIONS for name in instruction_names(revision)],
    indirect=["revision"],
    scope="session",
)


def test_the_table_covers_every_instruction() -> None:
    assert tuple(ACCOUNTS) == INSTRUCTION_NAMES


@every_instruction
def test_it_names_itself_first(ready: ReadyFactory, name: str) -> None:
    outcome = ready(name).send()
    camel = "".join(word.capitalize() for word in name.split("_"))
    assert outcome.error is None
    assert outcome.logs[1] == f"Program log: Instruction: {camel}"


@every_instruction
def test_no_lamport_appears_or_disappears(ready: ReadyFactory, name: str) -> None:
    whole = ready(name)
    chain = whole.life.chain
    chain.known.update(meta.pubkey for meta in whole.instruction.accounts)
    chain.wallet("stranger")
    before = chain.total()
    assert whole.send().error is None
    assert chain.total() == before


@every_instruction
def test_a_missing_account_is_named(ready: ReadyFactory, revision: str, name: str) -> None:
    whole = ready(name)
    metas = list(whole.instruction.accounts)
    rows = [place.name for place in places() if place.instruction == name]
    if revision == "v1.0":
        rows = [row for row in rows if row not in FEE_ACCOUNTS]
    for index, row in enumerate(rows):
        refused(whole.send(accounts=metas[:index]), 3005, row)
