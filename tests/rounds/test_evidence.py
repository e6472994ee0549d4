"""The shares of a round identify its validator's convention."""

from __future__ import annotations

import pytest

from decloud_pl.cli.commands.convention import show
from decloud_pl.domain import Convention
from decloud_pl.rounds.evidence import Evidence, Outcome, Record, weigh


def outcome(share_bps: int, delta: float, gradient: float) -> Outcome:
    return Outcome("trainer", share_bps, {"delta": delta, "gradient": gradient})


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([outcome(10_000, 0.3, -0.1), outcome(0, -0.1, 0.3)], "delta"),
        ([outcome(10_000, -0.1, 0.3), outcome(0, 0.3, -0.1)], "gradient"),
        # Equal shares show nothing: a public validator pays all submitters equally, regardless of their gains.
        ([outcome(5_000, 0.4, -0.1), outcome(5_000, 0.1, -0.2)], None),
        ([outcome(3_334, 0.4, -0.1), outcome(3_333, 0.1, -0.2), outcome(3_333, -0.1, -0.2)], None),
        ([outcome(5_000, 0.4, -0.1), outcome(5_000, 0.1, -0.2), Outcome("trainer", 0, None)], None),
        ([outcome(10_000, 0.3, -0.1)], None),  # the only submission gets the whole pool under both conventions
        ([outcome(7_500, 0.3, 0.1), outcome(2_500, 0.1, 0.3)], "delta"),
        ([outcome(5_000, 0.2, 0.1), outcome(5_000, 0.2, 0.1)], None),
        ([outcome(10_000, 0.001, -0.1)], None),  # below the limit for chance
        ([Outcome("trainer", 0, None)], None),
        ([Outcome("trainer", 0, None), outcome(10_000, 0.1, -0.2), outcome(0, -0.1, 0.1)], "delta"),
        # A file that only the validator opened takes its part under each convention.
        ([Outcome("trainer", 5_000, None), outcome(5_000, 0.3, -0.1), outcome(0, -0.1, 0.3)], "delta"),
        ([Outcome("trainer", 9_000, None), outcome(1_000, 0.3, -0.1), outcome(0, -0.1, 0.3)], None),
        ([Outcome("trainer", 10_000, None), outcome(0, -0.3, 0.1), outcome(0, -0.1, 0.3)], None),
        ([], None),
    ],
)
def test_one_round(outcomes: list[Outcome], expected: Convention | None) -> None:
    assert weigh(outcomes)[1] == expected


def evidence(round_id: int, convention: Convention | None) -> Evidence:
    return Evidence(
        round_id, "validator", "digits", (outcome(10_000, 0.1, 0.0),), {"delta": 0.5, "gradient": 0.0}, convention
    )


@pytest.mark.parametrize(
    ("told", "configured", "words"),
    [
        (["gradient", None], "delta", "config --set network.convention=gradient"),
        (["gradient"], "gradient", "This network reads updates as gradient, which matches"),
        (["gradient", "delta"], "delta", "The rounds contradict each other"),
        ([None], "delta", "The daemon continues to use network.convention=delta."),
        ([], "delta", "No completed round is conclusive"),
        ([None, "gradient", "delta"], "auto", "Validator validator reads updates as gradient, as round 1 shows."),
        ([None], "auto", "The daemon assumes the public validator's convention."),
    ],
)
def test_what_follows(
    told: list[Convention | None], configured: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = tuple(evidence(number, convention) for number, convention in enumerate(told))
    show(Record(rounds, {9: "The data set emnist is not on this machine."}), configured)
    text = capsys.readouterr().out
    assert words in text
    assert "Skipped round 9: The data set emnist is not on this machine." in text
    assert max(map(len, text.splitlines()[: len(told) + 1]), default=0) <= 80
