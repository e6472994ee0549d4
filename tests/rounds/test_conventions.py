"""A validator's convention comes from the setting, from its completed rounds or from its public software."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.journal.findings import Reading, store_reading
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.conventions import Conventions

AUTO = NetworkConfig()
MINE, OTHER = "validator", "another"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", Owner("net", "program", "wallet")) as journal:
        yield journal


def conventions(journal: Journal, network: NetworkConfig = AUTO) -> Conventions:
    return Conventions(network, get_dialect("v1.0"), journal)


def test_without_evidence_it_is_what_the_public_validator_is_meant_to_compute(journal: Journal) -> None:
    assumed = get_dialect("v1.0").reading
    for validator in (MINE, None):
        choice = conventions(journal).of(validator)
        assert choice.convention == assumed.convention
        assert "public software" in choice.why


def test_the_latest_round_that_tells_decides_and_only_for_its_own_validator(journal: Journal) -> None:
    store_reading(journal, Reading(3, MINE, "gradient", "its shares fit"))
    store_reading(journal, Reading(9, OTHER, "delta", "its shares fit"))
    assert conventions(journal).of(MINE).convention == "gradient"
    assert conventions(journal).of(OTHER).convention == "delta"
    store_reading(journal, Reading(5, MINE, "delta", "it changed its mind"))
    store_reading(journal, Reading(7, MINE, None, "all shares are equal"))
    choice = conventions(journal).of(MINE)
    assert choice.convention == "delta"
    assert "round 5" in choice.why


@pytest.mark.parametrize("convention", ["delta", "gradient"])
def test_the_users_setting_comes_first(convention: str, journal: Journal) -> None:
    store_reading(journal, Reading(3, MINE, "gradient" if convention == "delta" else "delta", ""))
    choice = conventions(journal, replace(AUTO, convention=convention)).of(MINE)
    assert choice.convention == convention
    assert "network.convention" in choice.why
