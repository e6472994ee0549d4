"""Compare the shares that a validator gave with the fair shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from decloud_pl.audit.shares import fair_shares, float_noise, sampling_noise
from decloud_pl.domain import BPS_DENOMINATOR, Convention, Round, is_equal_split
from decloud_pl.journal.audits import Verdict
from decloud_pl.rounds.scoring import Scores

_MOST_NOISE = 5_000
"""With more noise than this, a share within the noise shows nothing, because almost any share would be."""
_CLEAR_NOISE = 1_000
"""The most noise with which another convention than the assumed convention may explain the shares."""
_BASELINE_SIGMAS = 4.65
"""The limit for the difference between two measurements of the base model: 3.3 standard deviations, times √2."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a round's shares.

    Attributes:
        verdict: see `Verdict`.
        convention: the convention by which the fair shares were computed.
        fair: the fair share in basis points, by trainer.
        noise: how far the share that a fair validator gives may be from ``fair``, in basis points, by trainer.
        reasons: the reasons for the verdict, as sentences.
    """

    verdict: Verdict
    convention: Convention
    fair: Mapping[str, int] = field(default_factory=dict)
    noise: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fit:
    """The shares that a validator gave, compared with the fair shares under one convention.

    All shares and differences are in basis points, by trainer.

    Attributes:
        convention: the convention.
        fair: the fair shares.
        exact: how far a share may be from the fair share because of float errors and rounding alone.
        noise: how far a share may be from the fair share if the validator, in addition, scored other samples.
        off: the share that the validator gave, minus the fair share.
        has_gains: whether the model of any submission gets more samples right than the base model.
    """

    convention: Convention
    fair: Mapping[str, int]
    exact: Mapping[str, int]
    noise: Mapping[str, int]
    off: Mapping[str, int]
    has_gains: bool

    @property
    def is_exact(self) -> bool:
        return all(abs(off) <= self.exact[name] for name, off in self.off.items())

    @property
    def is_within(self) -> bool:
        return all(abs(off) <= self.noise[name] for name, off in self.off.items())

    @property
    def most_noise(self) -> int:
        return max(self.noise.values(), default=0)


def judge(scores: Scores, round_: Round, convention: Convention, *, is_mapped: bool) -> Judgement:
    """Return the verdict on the shares of a completed round.

    Args:
        scores: the scores of the submissions on the test split.
        round_: the round.
        convention: the convention that the validator is assumed to use.
        is_mapped: true if this machine's user chose a local data set in place of the round's data set. In that case the
            validator may have scored on another data set.
    """
    opened = [name for name, found in scores.opened.items() if found is not None]
    paid = {str(entry.trainer): entry.contribution_bps for entry in scores.submissions}
    if not opened:
        return Judgement("unknown", convention, reasons=("None of the updates can be opened on this machine.",))
    judged = _judge(scores, round_, _fit(scores, opened, paid, convention), opened, paid, is_mapped=is_mapped)
    refused = (f"The update of {name} was not scored: {why}" for name, why in scores.refused.items())
    return replace(judged, reasons=(*judged.reasons, *refused))


def _judge(
    scores: Scores, round_: Round, fit: _Fit, opened: Sequence[str], paid: Mapping[str, int], *, is_mapped: bool
) -> Judgement:
    convention = fit.convention
    if fit.is_exact:
        return _judged("fair", fit, "The shares are those that the updates earn.")
    if _is_equal(paid, opened):
        return _judged(
            "equal",
            fit,
            "All valid updates got the same share, regardless of their gains. v1.2's published validator does that.",
        )
    if fit.is_within:
        if fit.most_noise <= _MOST_NOISE:
            return _judged("fair", fit, f"{_largest(fit)}; the size of the test split explains that.")
        return _judged("unknown", fit, f"{_largest(fit)}, but the gains are too small to tell that from chance.")
    for other in get_args(Convention):
        explained = _fit(scores, opened, paid, other)
        if other != convention and explained.has_gains and explained.is_within and _is_clear(explained):
            return _judged("fair", explained, f"The validator read the updates as {other}, not as {convention}.")
    doubt = _other_data(scores, round_)
    if doubt and is_mapped:
        return _judged("unknown", fit, f"{doubt} Its data set may not be {scores.dataset}.")
    return _judged("unfair", fit, *_accusations(fit, paid), *([doubt] if doubt else []))


def _fit(scores: Scores, opened: Sequence[str], paid: Mapping[str, int], convention: Convention) -> _Fit:
    models = [found[convention] for name in opened if (found := scores.opened[name]) is not None]
    gains = [model.correct - scores.base.correct for model in models]
    # The validator may open a file that the quarantine refuses. It counts if nobody gained.
    extra = [name for name, found in scores.opened.items() if found is None and paid[name]]
    alternatives = [dict(zip(opened, fair_shares(gains), strict=True))]
    if extra:
        alternatives.append(dict(zip([*opened, *extra], fair_shares(gains, also_valid=len(extra)), strict=True)))
    fair = min(alternatives, key=lambda shares: sum(abs(paid[name] - shares.get(name, 0)) for name in paid))
    exact = dict(zip(opened, float_noise(gains, scores.base, models), strict=True))
    sampled = dict(zip(opened, sampling_noise(gains, scores.products[convention], scores.samples), strict=True))
    rounding = len(paid)
    return _Fit(
        convention,
        {name: fair.get(name, 0) for name in paid},
        {name: exact.get(name, rounding) for name in paid},
        {name: min(BPS_DENOMINATOR, exact.get(name, rounding) + sampled.get(name, 0)) for name in paid},
        {name: share - fair.get(name, 0) for name, share in paid.items()},
        any(gain > 0 for gain in gains),
    )


def _is_equal(paid: Mapping[str, int], opened: Sequence[str]) -> bool:
    """Return whether the validator gave equal shares above 0.

    It is enough if all submissions that can be opened on this machine have equal shares. Shares that differ by at most
    one basis point count as equal. A single share does not count.
    """
    for names in (list(paid), opened):
        shares = [paid[name] for name in names]
        if is_equal_split(shares) and min(shares) > 0:
            return True
    return False


def _is_clear(fit: _Fit) -> bool:
    return fit.is_exact or fit.most_noise <= _CLEAR_NOISE


def _other_data(scores: Scores, round_: Round) -> str:
    """Return a sentence if our accuracy of the base model differs from the validator's by more than chance explains.

    Otherwise return an empty string.
    """
    ours = scores.base.correct / max(1, scores.samples)
    theirs = round_.baseline_score / BPS_DENOMINATOR
    chance = _BASELINE_SIGMAS * (max(0.01, ours * (1 - ours)) / max(1, scores.samples)) ** 0.5
    if abs(ours - theirs) <= chance + (scores.base.ties + 1) / max(1, scores.samples):
        return ""
    return f"The validator's accuracy of the base model is {theirs:.2%}, and ours is {ours:.2%}."


def _largest(fit: _Fit) -> str:
    name = max(fit.off, key=lambda trainer: abs(fit.off[trainer]))
    return f"Shares differ from the fair ones by up to {abs(fit.off[name]) / 100:g} % of the pool"


def _accusations(fit: _Fit, paid: Mapping[str, int]) -> list[str]:
    said = [
        f"{name} got {paid[name] / 100:g} % instead of {fit.fair[name] / 100:g} % (noise {fit.noise[name] / 100:g} %)."
        for name in sorted(fit.off, key=lambda trainer: -abs(fit.off[trainer]))
        if abs(fit.off[name]) > fit.noise[name]
    ]
    total = sum(paid.values())
    if total != BPS_DENOMINATOR:
        said.append(f"The shares add up to {total / 100:g} %.")
    return said


def _judged(verdict: Verdict, fit: _Fit, *reasons: str) -> Judgement:
    return Judgement(verdict, fit.convention, fit.fair, fit.noise, reasons)
