"""Decide whether an update is worth submitting, from measured gains alone."""

from __future__ import annotations

from dataclasses import dataclass

from decloud_pl.domain import Convention, Payout, format_sol
from decloud_pl.train.score.scorer import Gain

_OTHERS_GAIN = 0.5
"""Assumed probability that another trainer gains in a round in which we do not."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide a verdict.

    Attributes:
        read_as: the convention in which this network's validators read an update.
        gradient_rate: η of the ``gradient`` convention.
        written_as: the convention in which this trainer writes an update.
        min_gain: a gain (0 to 1). An update passes only if the lower end of its gain's interval is above this value. If
            it is None, an update passes only if the expected reward is at least the fee.
        payout: what a submission may earn and what it costs; None if the training belongs to no round.
    """

    read_as: Convention
    gradient_rate: float
    written_as: Convention
    min_gain: float | None = None
    payout: Payout | None = None

    def is_certain(self, gain: Gain) -> bool:
        """Return whether a gain is certainly larger than ``min_gain``, or than 0 if ``min_gain`` is None."""
        return gain.low > (self.min_gain or 0.0)


def expected_reward(payout: Payout, chance: float) -> int:
    """Return the lamports that a submission is expected to earn.

    Validators share out the pool in proportion to the gains. If no update gains, all submissions get equal shares. We
    do not see the other trainers' updates. If our update gains, we assume that every other update gains as much. If our
    update does not gain, we assume that every other update gains with a probability of one half, independently.

    Args:
        payout: what a submission to the round may earn and what it costs.
        chance: probability (0 to 1) that the validator measures a gain.
    """
    trainers = max(1, payout.trainers)
    nobody_gains = (1 - chance) * (1 - _OTHERS_GAIN) ** (trainers - 1)
    return int(payout.pool * (chance + nobody_gains) / trainers)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's verdict on an update file.

    Attributes:
        gain: the gain of the file as this network's validators read it; None if it was not measured.
        withheld: why the update is not submitted, as the end of the sentence "nothing was submitted: …". Empty if the
            update passes.
        unmeasured: why the gain was not measured.
        expected: the lamports that submitting is expected to earn; None if it is unknown.
    """

    gain: Gain | None

    withheld: str = ""
    unmeasured: str = ""
    expected: int | None = None

    def __str__(self) -> str:
        if self.withheld:
            return f"Nothing will be submitted: {self.withheld}."
        if self.gain is None:
            return f"The gain was not measured: {self.unmeasured}. The update is submitted."
        earns = "" if self.expected is None else f" It is expected to earn {format_sol(self.expected)}."
        return f"On held-out data the update {described(self.gain)}.{earns}"


def judge(rules: Rules, gain: Gain, *, other: Gain | None = None) -> Verdict:
    """Return the verdict on an update file. If the file gains only in the other convention, the verdict says so.

    Args:
        rules: the settings that decide.
        gain: the gain of the file as this network's validators read it.
        other: the gain of the file as read in the other convention; None if that was not scored.
    """
    expected = None if rules.payout is None else expected_reward(rules.payout, gain.chance)
    if rules.is_certain(gain):
        return _by_reward(rules, gain, expected)
    how = f"gradient, rate {rules.gradient_rate:g}" if rules.read_as == "gradient" else "delta"
    reading = f"as this network's validators read it ({how}), the update {described(gain)}"
    another: Convention = "gradient" if rules.read_as == "delta" else "delta"
    if other is not None and rules.is_certain(other) and other.low > gain.high:
        reading += f"; read as {another}, it would gain {points(other.gain)}"
        fix = f"set network.convention={another} if its validators read it that way"
        if rules.written_as == another:
            fix = f"set update.convention={rules.read_as}"
        return Verdict(gain, f"{reading}: {fix}", expected=expected)
    if rules.min_gain is None:
        return _by_reward(rules, gain, expected)
    least = f"update.min_gain={rules.min_gain:g}" if rules.min_gain else "0"
    return Verdict(gain, f"{reading}, so a gain of more than {least} is not certain", expected=expected)


def _by_reward(rules: Rules, gain: Gain, expected: int | None) -> Verdict:
    """Return a verdict that withholds the update if its expected reward is less than the fee.

    If the user has set ``min_gain``, the update passes: `judge` has already compared the gain with ``min_gain``.
    """
    payout = rules.payout
    if payout is None or expected is None or rules.min_gain is not None or expected >= payout.fee:
        return Verdict(gain, expected=expected)
    earns, fee = format_sol(expected), format_sol(payout.fee)
    return Verdict(gain, f"the update is expected to earn {earns}, less than the fee of {fee}", expected=expected)


def described(gain: Gain) -> str:
    """Describe a gain, as in ``gains 61.2 points (95 % interval for a validator's result: 55.0 to 66.1)``."""
    verb = "loses" if gain.gain < 0 else "gains"
    interval = f"{gain.low * 100:.1f} to {gain.high * 100:.1f}"
    return f"{verb} {points(abs(gain.gain))} (95 % interval for a validator's result: {interval})"


def points(share: float) -> str:
    """Format an accuracy (0 to 1) as percentage points."""
    return f"{share * 100:.1f} points"
