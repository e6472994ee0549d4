"""Compare the shares that a validator gave with the fair shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from decloud_pl.audit.shares import fair_shares, float_noise, sampling_noise
from decloud_pl.domain import BPS_DENOMINATOR, Convention, Round, is_equal_split
from decloud_pl.journal.audits import Verdict
from decloud_pl.rounds.scoring import Score, Scores

_MOST_NOISE = 5_000
"""With more noise than this, a share within the noise shows nothing, because almost any share would be."""
_CLEAR_NOISE = 1_000
"""The most noise with which another convention than the assumed convention may explain the shares, and the most noise
from float errors with which shares count as exact."""
_BASELINE_SIGMAS = 4.65
"""The limit for the difference between two measurements of the base model: 3.3 standard deviations, times √2."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a round's shares.

    Attributes:
        verdict: see `Verdict`.
        convention: the convention by which the fair shares were computed.
        fair: the fair share in basis points, by trainer. It lacks the trainers whose shares cannot be checked.
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

    All shares and differences are in basis points, by trainer. The trainers are those whose shares can be checked.

    Attributes:
        convention: the convention.
        fair: the fair shares.
        floats: how far a share may be from the fair share because of float errors and rounding alone.
        noise: how far a share may be from the fair share if the validator, in addition, scored other samples.
        off: the share that the validator gave, minus the fair share.
        rounding: how far a share may be from the fair share because of rounding alone.
        has_gains: whether the model of any submission gets more samples right than the base model.
        is_whole: whether ``fair`` holds all trainers that got a share.
    """

    convention: Convention
    fair: Mapping[str, int]
    floats: Mapping[str, int]
    noise: Mapping[str, int]
    off: Mapping[str, int]
    rounding: int
    has_gains: bool
    is_whole: bool

    @property
    def is_exact(self) -> bool:
        """Whether the shares are the fair ones, apart from rounding and a small effect of float errors."""
        if all(abs(off) <= self.rounding for off in self.off.values()):
            return True
        return self.is_within_floats and self.most_float_noise <= _CLEAR_NOISE

    @property
    def is_within_floats(self) -> bool:
        return all(abs(off) <= self.floats[name] for name, off in self.off.items())

    @property
    def is_within(self) -> bool:
        return all(abs(off) <= self.noise[name] for name, off in self.off.items())

    @property
    def is_clear(self) -> bool:
        """Whether there is so little noise that only few other shares would fit, too."""
        return self.most_noise <= _CLEAR_NOISE or (self.is_exact and self.most_float_noise <= _CLEAR_NOISE)

    @property
    def most_float_noise(self) -> int:
        return max(self.floats.values(), default=0)

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
    refused = (
        f"The update of {name} was not scored: {why}"
        if name in judged.fair
        else f"The share of {name} ({paid[name] / 100:g} %) cannot be checked: its update was not scored. {why}"
        for name, why in scores.refused.items()
    )
    return replace(judged, reasons=(*judged.reasons, *refused))


def _judge(
    scores: Scores, round_: Round, fit: _Fit, opened: Sequence[str], paid: Mapping[str, int], *, is_mapped: bool
) -> Judgement:
    # Gains, ties and the choice of samples only divide the pool. They explain no part that nobody got.
    is_divided = abs(BPS_DENOMINATOR - sum(paid.values())) <= len(paid)
    if is_divided and (found := _explanation(scores, fit, opened, paid)):
        return found
    doubt = _other_data(scores, round_)
    if doubt and is_mapped:
        return _judged("unknown", fit, f"{doubt} Its data set may not be {scores.dataset}.")
    return _judged("unfair", fit, *_accusations(fit, paid), *([doubt] if doubt else []))


def _explanation(scores: Scores, fit: _Fit, opened: Sequence[str], paid: Mapping[str, int]) -> Judgement | None:
    """Return the verdict on shares that gains, chance or an equal division explain; None if nothing explains them."""
    convention = fit.convention
    if fit.is_exact:
        return _explained(fit, f"The {'' if fit.is_whole else 'other '}shares are those that the updates earn.")
    if _is_equal(paid, opened) and not fit.is_within_floats:
        return _judged(
            "equal",
            fit,
            "All valid updates got the same share, regardless of their gains. v1.2's published validator does that.",
        )
    if fit.is_within:
        if fit.most_noise <= _MOST_NOISE:
            return _explained(fit, f"{_largest(fit)}; the size of the test split explains that.")
        return _judged("unknown", fit, f"{_largest(fit)}, but the gains are too small to tell that from chance.")
    for other in get_args(Convention):
        explained = _fit(scores, opened, paid, other)
        if other == convention or not explained.has_gains or not explained.is_within:
            continue
        if explained.is_clear:
            return _explained(explained, f"The validator read the updates as {other}, not as {convention}.")
        if explained.is_within_floats:
            reason = f"Read as {other}, the updates gain so little that float errors alone may explain the shares."
            return _judged("unknown", fit, reason)
    return None


def _fit(scores: Scores, opened: Sequence[str], paid: Mapping[str, int], convention: Convention) -> _Fit:
    models = [found[convention] for name in opened if (found := scores.opened[name]) is not None]
    gains = [model.correct - scores.base.correct for model in models]
    has_gains = any(gain > 0 for gain in gains)
    extra = [name for name, found in scores.opened.items() if found is None and paid[name]]
    products = scores.products[convention]
    noisy = gains
    if extra and not has_gains:  # the shares vary around those beside a trainer whose gain is unknown but above 0
        noisy, models = [*gains, 1], [*models, Score(scores.base.correct + 1, 0)]
        products = (*((*row, 0) for row in products), (0,) * len(noisy))
    floats = dict(zip(opened, float_noise(noisy, scores.base, models), strict=False))
    sampled = dict(zip(opened, sampling_noise(noisy, products, scores.samples), strict=False))
    allowed = {name: min(BPS_DENOMINATOR, floats.get(name, len(opened)) + len(extra)) for name in paid}
    noise = {name: min(BPS_DENOMINATOR, allowed[name] + sampled.get(name, 0)) for name in paid}

    def compared(checked: Sequence[str], fair: Mapping[str, int]) -> _Fit:
        return _Fit(
            convention,
            {name: fair.get(name, 0) for name in checked},
            {name: allowed[name] for name in checked},
            {name: noise[name] for name in checked},
            {name: paid[name] - fair.get(name, 0) for name in checked},
            len(opened) + len(extra),
            has_gains,
            len(checked) == len(paid),
        )

    everybody = list(paid)
    if not extra:
        return compared(everybody, dict(zip(opened, fair_shares(gains), strict=True)))
    # The validator may open a file that the quarantine refuses, and its gain is unknown. If it gained, the others
    # divide the rest of the pool in proportion to their gains. If nobody gained, all have equal shares.
    left = max(0, BPS_DENOMINATOR - sum(paid[name] for name in extra))
    rest = [share * left // BPS_DENOMINATOR if has_gains else 0 for share in fair_shares(gains)]
    fits = [compared([name for name in paid if name not in extra], dict(zip(opened, rest, strict=True)))]
    if not has_gains:
        equal = fair_shares(gains, also_valid=len(extra))
        fits.append(compared(everybody, dict(zip([*opened, *extra], equal, strict=True))))
    return min(fits, key=lambda fit: (not fit.is_exact, not fit.is_within, sum(map(abs, fit.off.values()))))


def _is_equal(paid: Mapping[str, int], opened: Sequence[str]) -> bool:
    """Return whether the validator gave equal shares above 0.

    A submission without a share does not count if it cannot be opened on this machine. Shares that differ by at most
    one basis point count as equal. A single share does not count.
    """
    shares = [share for name, share in paid.items() if share or name in opened]
    return is_equal_split(shares) and min(shares) > 0


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


def _explained(fit: _Fit, reason: str) -> Judgement:
    """Return the verdict on shares that fit: ``unknown`` if a trainer whose file was not scored got a share."""
    return _judged("fair" if fit.is_whole else "unknown", fit, reason)


def _judged(verdict: Verdict, fit: _Fit, *reasons: str) -> Judgement:
    return Judgement(verdict, fit.convention, fit.fair, fit.noise, reasons)
