"""`validators` reads the journal only, and `list` and `explain` name the rule that excludes a round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.journal.audits import Audit, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.track_record import SeenRound, store_rounds
from decloud_pl.journal.writer import Journal
from tests.harness.strangers import HOSTILE
from tests.world import World

PROGRAM = "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC"
VALIDATOR, CREATOR = "3JF3sEqM796hk5WFqA6EtmEwJQ9quALszsfJyvXNQKy3", "4Ss5JMkXAD9Z7cktFEdrqeMuT6jGMF1pVozTyPHZ6zT4"
NOW = 1_000_000.0


def journal_in(home: Path, program: str = PROGRAM) -> Journal:
    return Journal(home / "journal.sqlite", Owner("network", program, "wallet"), now=lambda: NOW)


def fill(home: Path) -> None:
    done = SeenRound(1, CREATOR, VALIDATOR, "completed", int(NOW) - 7_200, 95.0, "equal")
    rounds = [done, replace(done, round_id=2, ending="unscored", is_refused=True, scoring_seconds=None, split=None)]
    with journal_in(home) as journal:
        store_rounds(journal, rounds)
        store_audit(journal, Audit(9, VALIDATOR, CREATOR, "unfair"))


def test_an_empty_record_says_so(run: Any, home: Path) -> None:
    said = run("validators")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "No validators are known yet. The daemon keeps their record while it runs: decloud-trainer start\n"
    )
    assert run("validators", "--creators").out.startswith("No creators are known yet.")
    document = run("validators", "--json").document
    assert document == {"network": "", "program_id": "", "validators": []}
    assert not home.exists()


def test_a_table_for_people_and_a_document_for_programs(run: Any, home: Path) -> None:
    fill(home)
    with journal_in(home):  # a daemon that runs does not matter
        shown = run("validators").out.splitlines()
        assert shown[0].split("  ")[0] == "validator"
        words = shown[1].split()
        assert words[:3] == ["3JF3sE…XNQKy3", "1", "1"]
        assert "1 min 35 s" in shown[1]
        assert max(len(line) for line in shown) <= 80
        whole = " ".join(" ".join(shown).split())
        assert "1 equal," in whole
        assert "1 unfair" in whole
        assert VALIDATOR in run("validators", "--long").out
        creators = run("validators", "--creators").out
        assert creators.splitlines()[1].split()[:4] == ["4Ss5JM…HZ6zT4", "1", "1", "1"]
        (record,) = run("validators", "--json").document["validators"]
        assert record == {
            "address": VALIDATOR,
            "completed": 1,
            "abandoned": 1,
            "scoring_seconds": 95.0,
            "convention": None,
            "fair": 0,
            "equal": 1,
            "unfair": 1,
            "refused": 1,
            "last_at": int(NOW) - 7_200,
        }
        assert run("validators", "--creators", "--json").document["creators"][0]["address"] == CREATOR


def test_many_are_cut_off_and_another_program_is_left_out(run: Any, home: Path) -> None:
    with journal_in(home) as journal:
        store_rounds(journal, [SeenRound(number, CREATOR, f"v{number}", "completed", 1) for number in range(60)])
    said = run("validators").out
    assert said.endswith("10 more are known. Use --limit 0 to show all.\n")
    assert len(run("validators", "--limit", "0").out.splitlines()) == 61
    for limit, count in (([], 60), (["--limit", "0"], 60), (["--limit", "2"], 2)):
        assert len(run("validators", "--json", *limit).document["validators"]) == count
    with journal_in(home, "another") as journal:
        store_rounds(journal, [SeenRound(1, CREATOR, "strange", "completed", 1)])
    assert "strange" not in run("validators", "--limit", "0").out


def test_a_forged_journal_controls_no_terminal(run: Any, home: Path) -> None:
    with journal_in(home) as journal:
        texts = enumerate(HOSTILE[name] for name in ("escape", "osc-8", "c1", "bidi", "lines", "nul"))
        store_rounds(journal, [SeenRound(number, text, text, "completed", 1) for number, text in texts])
    for options in ((), ("--long",), ("--creators",), ("--json",)):
        said = run("validators", *options)
        assert not [char for char in said.out + said.err if char != "\n" and not char.isprintable()]


@pytest.fixture
def ask(world: World, run: Any) -> Callable[..., Awaitable[Any]]:
    def command(*arguments: str) -> Awaitable[Any]:
        settings = [*world.overrides(), "join.verify=cid"]
        return asyncio.to_thread(run, *arguments, *settings)

    return command


async def test_list_and_explain_name_the_rule(world: World, ask: Callable[..., Awaitable[Any]]) -> None:
    number, other = str(await world.post()), str(world.other.address)
    assert "rules" not in (await ask("list")).out
    block = f"rewards.validators.block=[{other}]"
    words = f"its validator {other} is in rewards.validators.block; to join its rounds, remove it there"
    listed = await ask("list", block)
    assert "Your rules exclude these open rounds:" in listed.out
    assert "rewards.validators.block" in " ".join(listed.out.split())
    assert [one["excluded"] for one in (await ask("list", "--json", block)).document["rounds"]] == [[words]]
    explained = await ask("explain", number, block)
    assert explained.out.endswith(f"The daemon does not join this round: {words}.\n")
    checks = {check["name"]: check for check in (await ask("explain", number, "--json", block)).document["checks"]}
    assert (checks["validator"]["passed"], checks["validator"]["settled"]) == (False, True)
    allow = f"rewards.creators.allow=[{VALIDATOR}]"
    assert "rewards.creators.allow; to join its rounds, add it there" in (await ask("explain", number, allow)).out
    # With a minimum, both read the record of the network.
    network = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), "")
    with Journal(world.home / "journal.sqlite", network) as journal:
        store_rounds(journal, [SeenRound(9_000 + n, other, other, "unscored", 1) for n in range(5)])
    for command in (("list",), ("explain", number)):
        said = " ".join((await ask(*command, "rewards.min_completion=0.5")).out.split())
        assert "completed 0 of 5 rounds; rewards.min_completion is 0.5, lower it to join" in said
