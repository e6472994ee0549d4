"""The verdict on a round's shares, from scores and shares alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from decloud_pl.audit.verdict import Judgement, judge
from decloud_pl.domain import Convention, Round, RoundStatus, Submission
from decloud_pl.rounds.scoring import Score, Scores

SAMPLES, BASE = 10_000, 5_000
NAMES = tuple(sorted((Pubkey.new_unique() for _ in range(4)), key=str))
NOBODY = Pubkey.default()
ROUND = Round(
    *(7, NOBODY, "cid", "fashionmnist", 10**9, RoundStatus.COMPLETED, NOBODY, 1000, BASE, 0, 0, 0, 0, 3, 3, 0, 0, 10)
)


def scores(
    paid: Sequence[int],
    gains: Sequence[int | None],
    *,
    as_gradient: Sequence[int] = (-900,) * 4,
    ties: int = 0,
    lost: int = 100,
) -> Scores:
    """Scores of updates that each win and lose samples of their own; None for a file that cannot be opened."""
    gained: dict[Convention, list[int]] = {
        "delta": [gain for gain in gains if gain is not None],
        "gradient": [other for other, gain in zip(as_gradient, gains, strict=False) if gain is not None],
    }
    opened: dict[str, Mapping[Convention, Score] | None] = {
        str(name): None if gain is None else {"delta": Score(BASE + gain, ties), "gradient": Score(BASE + other, ties)}
        for name, gain, other in zip(NAMES, gains, as_gradient, strict=False)
    }
    return Scores(
        dataset="fashionmnist",
        samples=SAMPLES,
        labels="0" * 64,
        base=Score(BASE, ties),
        submissions=tuple(
            Submission(7, name, "cid", True, share, False, 0) for name, share in zip(NAMES, paid, strict=False)
        ),
        opened=opened,
        refused={name: "The file is no checkpoint." for name, one in opened.items() if one is None},
        products={
            convention: tuple(
                tuple(abs(gain) + 2 * lost if row == column else 0 for column in range(len(values)))
                for row, gain in enumerate(values)
            )
            for convention, values in gained.items()
        },
        alike=(),
        torch="2",
    )


def verdict(
    *given: Sequence[int | None], baseline: int = BASE, is_mapped: bool = False, **rest: object
) -> Callable[[], Judgement]:
    """Return a function that judges the round when it is first called: each process collects the tables below."""

    @functools.cache
    def judgement() -> Judgement:
        paid, gains = given
        round_ = replace(ROUND, baseline_score=baseline)
        return judge(scores(paid, gains, **rest), round_, "delta", is_mapped=is_mapped)  # type: ignore[arg-type]

    return judgement


FAIR: dict[str, Callable[[], Judgement]] = {
    "in proportion": verdict([7500, 2500], [3000, 1000]),
    "with the remainder": verdict([3334, 3333, 3333], [900, 900, 900]),
    "nothing for a loss": verdict([10_000, 0], [3000, -1000]),
    "equal, as nobody gained": verdict([5000, 5000], [-10, 0]),
    "equal, as nobody gained, with a file that only the validator opened": verdict([5000, 5000], [-10, None]),
    "nothing for a file that cannot be opened": verdict([10_000, 0], [10, None]),
    "the only one": verdict([10_000], [5]),
    "the only one, without a gain": verdict([10_000], [-5]),
    "a tie counted in another way": verdict([7420, 2580], [3000, 1000], ties=60),
    "exact, although ties may change all of it": verdict([5455, 4545], [6, 5], ties=20),
    "measured on other samples": verdict([7300, 2700], [3000, 1000]),
    "read in the other convention": verdict([2500, 7500], [3000, 1000], as_gradient=[1000, 3000]),
    "a baseline of zero": verdict([7500, 2500], [3000, 1000], baseline=0),
}
UNFAIR: dict[str, Callable[[], Judgement]] = {
    "a friend's share": verdict([2000, 8000], [3000, 1000]),
    "turned around": verdict([2500, 7500], [3000, 1000]),
    "nothing for the best": verdict([0, 10_000], [3000, 1000]),
    "nothing for anybody": verdict([0, 0], [3000, 1000]),
    "nothing for the only one": verdict([0], [3000]),
    "half of the pool kept": verdict([3750, 1250], [3000, 1000]),
    "a friend's share, beside a file that only the validator opened": verdict([1000, 6500, 2500], [3000, 1000, None]),
    "a part kept, beside a file that only the validator opened": verdict([3000, 1000, 2500], [3000, 1000, None]),
    "shares for losses, beside a file that only the validator opened": verdict([4000, 6000], [-3000, None]),
    "equal shares, beside a larger one of a file that only the validator opened": verdict(
        [1000, 1000, 8000], [3000, 1000, None]
    ),
    "equal shares for losses, beside a smaller one of a file that only the validator opened": verdict(
        [4000, 4000, 2000], [-3000, -2000, None]
    ),
    "half of the pool kept, as nobody gained": verdict([0, 5000], [-3000, None]),
    "most of the pool kept, as nobody gained": verdict([0, 0, 3000], [-3000, -2000, None]),
    "half of the pool kept, and losses as small as chance": verdict([0, 5000], [-10, None]),
    "most of the pool kept, and gains as small as chance": verdict([1000, 1000], [6, 5], lost=300),
    "half of the pool kept, in equal shares": verdict([2500, 2500], [3000, 1000]),
    "a share for a loss": verdict([6000, 4000], [3000, -1000]),
    "more than for a gain of nobody": verdict([9000, 1000], [-2000, -1000]),
    "other data, of a set that the chain names": verdict([2500, 7500], [3000, 1000], baseline=1000),
}
EQUAL: dict[str, Callable[[], Judgement]] = {
    "two": verdict([5000, 5000], [3000, 1000]),
    "three": verdict([3334, 3333, 3333], [3000, 1000, -500]),
    "with a file that cannot be opened": verdict([3334, 3333, 3333], [3000, 1000, None]),
    "without a file that cannot be opened": verdict([5000, 5000, 0], [3000, 1000, None]),
    "with only one of two files that cannot be opened": verdict([3334, 3333, 3333, 0], [3000, 1000, None, None]),
    "with a baseline of zero": verdict([5000, 5000], [3000, 1000], baseline=0, is_mapped=True),
}
UNKNOWN: dict[str, Callable[[], Judgement]] = {
    "no file can be opened": verdict([10_000], [None]),
    "losses as small as chance": verdict([9000, 1000], [-10, 0]),
    "gains as small as chance": verdict([2000, 8000], [6, 5], lost=300),
    "gains as small as ties": verdict([0, 10_000], [6, 5], ties=20, lost=0),
    "a gain and a loss as small as ties": verdict([0, 10_000], [3, -2], ties=10, lost=0),
    "equal, as ties may explain": verdict([5000, 5000], [6, 5], ties=20, lost=0),
    "ties explain the shares in the other convention": verdict(
        [0, 10_000], [3000, 1000], as_gradient=[6, 5], ties=20, lost=0
    ),
    "a file that only the validator opened": verdict([4000, 6000], [3000, None]),
    "a file that only the validator opened, among others": verdict([5626, 1875, 2499], [3000, 1000, None]),
    "all for a file that only the validator opened": verdict([0, 10_000], [3000, None]),
    "a file that only the validator opened, and losses as small as chance": verdict([4000, 6000], [-10, None]),
    "a file that only the validator opened, and gains as small as chance": verdict(
        [0, 4827, 3563, 1610], [3, 0, -1, None]
    ),
    "a file that only the validator opened, in the other convention": verdict(
        [1875, 5625, 2500], [3000, 1000, None], as_gradient=[1000, 3000, 0]
    ),
    "perhaps another data set": verdict([2500, 7500], [3000, 1000], baseline=1000, is_mapped=True),
}
ALL = [
    pytest.param(judgement, expected, id=f"{expected}: {name}")
    for expected, table in (("fair", FAIR), ("unfair", UNFAIR), ("equal", EQUAL), ("unknown", UNKNOWN))
    for name, judgement in table.items()
]


@pytest.mark.parametrize(("judgement", "expected"), ALL)
def test_a_round(judgement: Callable[[], Judgement], expected: str) -> None:
    assert judgement().verdict == expected, judgement()


def test_an_accusation_names_who_and_how_much() -> None:
    (first, second) = UNFAIR["a friend's share"]().reasons
    assert f"{NAMES[0]} got 20 % instead of 75 % (noise " in first + second
    assert f"{NAMES[1]} got 80 % instead of 25 % (noise " in first + second
    assert UNFAIR["half of the pool kept"]().reasons[-1] == "The shares add up to 50 %."
    assert UNFAIR["half of the pool kept, as nobody gained"]().reasons[0] == "The shares add up to 50 %."
    assert "is 10.00%, and ours is 50.00%" in UNFAIR["other data, of a set that the chain names"]().reasons[-1]


def test_another_convention_and_a_refused_file_are_named() -> None:
    assert "read the updates as gradient, not as delta" in FAIR["read in the other convention"]().reasons[0]
    assert FAIR["read in the other convention"]().convention == "gradient"
    assert FAIR["nothing for a file that cannot be opened"]().reasons[-1].endswith("The file is no checkpoint.")


def test_the_share_of_a_file_that_only_the_validator_opened_is_not_checked() -> None:
    judgement = UNKNOWN["a file that only the validator opened, among others"]()
    assert judgement.reasons == (
        "The other shares are those that the updates earn.",
        f"The share of {NAMES[2]} (24.99 %) cannot be checked: its update was not scored. The file is no checkpoint.",
    )
    assert judgement.fair == {str(NAMES[0]): 5625, str(NAMES[1]): 1875}
    accused = UNFAIR["a friend's share, beside a file that only the validator opened"]()
    assert f"{NAMES[0]} got 10 % instead of 56.25 % (noise " in " ".join(accused.reasons)
    assert f"{NAMES[2]} got" not in " ".join(accused.reasons)
