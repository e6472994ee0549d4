"""No result of an audit reaches a training, or the choice of what to train and how."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from decloud_pl.audit import evidence_file
from decloud_pl.config import compose
from decloud_pl.journal.audits import Audit, Verdict, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.planner import SettingsPlanner
from tests.project.test_imports import NAME, own_modules

FORBIDDEN = (f"{NAME}.audit", f"{NAME}.journal.audits")
TRAINS = (f"{NAME}.train", f"{NAME}.executors", f"{NAME}.experiment", f"{NAME}.models", f"{NAME}.data")
PLANS = tuple(f"{NAME}.rounds.{name}" for name in ("planner", "conventions", "evidence", "gather", "steps"))


def reached(start: str) -> set[str]:
    """Return all modules that a module imports, directly or through others."""
    known, found, left = own_modules(), {start}, [start]
    while left:
        for name in known.get(left.pop(), []):
            if name.startswith(NAME) and name not in found:
                found.add(name)
                left.append(name)
    return found


@pytest.mark.parametrize("part", [*TRAINS, *PLANS])
def test_what_trains_and_plans_cannot_see_an_audit(part: str) -> None:
    modules = [name for name in own_modules() if f"{name}.".startswith(f"{part}.")]
    assert modules
    for module in modules:
        seen = [name for name in reached(module) if f"{name}.".startswith(tuple(f"{one}." for one in FORBIDDEN))]
        assert seen == [], module


def test_the_check_would_see_an_import() -> None:
    assert f"{NAME}.journal.audits" in reached(f"{NAME}.daemon.loop")


def test_a_plan_is_the_same_with_and_without_audits(tmp_path: Path) -> None:
    settings = compose([f"home={tmp_path}"])
    record = RoundRecord(7, State.TRAINING, "custom", "digits", "bafybase", 10**9, validator="v", convention="delta")

    def plan() -> tuple[str, dict[str, bytes]]:
        folder = tmp_path / "round"
        folder.mkdir(exist_ok=True)
        (folder / "base-model").write_bytes(b"a base model")
        made = SettingsPlanner(settings).plan(record, base_model=folder / "base-model", folder=folder)
        made.write(folder)
        return made.fingerprint(), {path.name: path.read_bytes() for path in folder.iterdir()}

    before = plan()
    with Journal(tmp_path / JOURNAL_FILE, Owner("net", "program", "wallet")) as journal:
        for number, verdict in enumerate(get_args(Verdict)):
            store_audit(journal, Audit(number, "v", "c", verdict, "gradient", "wallet", 9_000, 10, 5))
        path = evidence_file.path_of(tmp_path, journal.owner, 3)
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert plan() == before
