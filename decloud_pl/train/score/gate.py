"""Decide whether an update is worth submitting, from measured gains alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decloud_pl.domain import Convention
from decloud_pl.train.score.scorer import Gain


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide a verdict.

    Attributes:
        read_as: how this network's validators read an update.
        gradient_rate: η of the ``gradient`` convention.
        written_as: how this trainer writes an update.
        min_gain: accuracy (0 to 1) that the lower end of the gain's interval must exceed.
    """

    read_as: Convention
    gradient_rate: float
    written_as: Convention
    min_gain: float = 0.0

    def passes(self, gain: Gain) -> bool:
        """Return whether a gain is certainly large enough."""
        return gain.low > self.min_gain


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's verdict on an update file.

    Attributes:
        gain: as this network's validators read the file; None if it was not measured.
        withheld: why the update is not submitted. It completes "nothing was submitted: …". Empty for an update that
            passes.
        misread: whether validators read the file in another convention than its own. Other weights would not help.
        unmeasured: why the gain was not measured.
    """

    gain: Gain | None

    withheld: str = ""
    misread: bool = False
    unmeasured: str = ""

    @property
    def passed(self) -> bool:
        return not self.withheld

    def __str__(self) -> str:
        if self.withheld:
            return f"Nothing will be submitted: {self.withheld}."
        if self.gain is None:
            return f"The gain was not measured: {self.unmeasured}. The update is submitted."
        return f"On held-out data the update {described(self.gain)}."


def judge(rules: Rules, gain: Gain, *, other: Gain | None = None) -> Verdict:
    """Return the verdict on an update file, and the cause if the other convention shows one.

    Args:
        rules: the settings that decide.
        gain: of the file as this network's validators read it.
        other: of the file as the other convention reads it; None if that was not scored.
    """
    if rules.passes(gain):
        return Verdict(gain)
    how = f"gradient, rate {rules.gradient_rate:g}" if rules.read_as == "gradient" else "delta"
    reading = f"as this network's validators read it ({how}), the update {described(gain)}"
    another: Convention = "gradient" if rules.read_as == "delta" else "delta"
    if other is not None and rules.passes(other):
        reading += f"; read as {another}, it would gain {points(other.gain)}"
        if rules.written_as == another:
            return Verdict(gain, f"{reading}: set update.convention={rules.read_as}", misread=True)
        return Verdict(
            gain, f"{reading}: set network.convention={another} if its validators read it that way", misread=True
        )
    least = f"update.min_gain={rules.min_gain:g}" if rules.min_gain else "0"
    return Verdict(gain, f"{reading}, so a gain of more than {least} is not certain")


def after_remedies(verdict: Verdict, tried: Sequence[str]) -> Verdict:
    """Return the same verdict. A verdict that withholds also names the remedies that were tried."""
    if verdict.passed or not tried:
        return verdict
    words = f"{', '.join(tried[:-1])} and {tried[-1]}" if len(tried) > 1 else tried[0]
    return Verdict(verdict.gain, f"{verdict.withheld}; {words} did not help", verdict.misread)


def described(gain: Gain) -> str:
    """``gains 61.2 points (95 % interval for a validator's result: 55.0 to 66.1)``."""
    verb = "loses" if gain.gain < 0 else "gains"
    interval = f"{gain.low * 100:.1f} to {gain.high * 100:.1f}"
    return f"{verb} {points(abs(gain.gain))} (95 % interval for a validator's result: {interval})"


def points(share: float) -> str:
    """Format an accuracy (0 to 1) as percentage points."""
    return f"{share * 100:.1f} points"
