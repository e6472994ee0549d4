"""Whether an update is worth submitting, in one sentence. Pure: what it says follows from measured gains alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decloud_pl.domain import Convention
from decloud_pl.train.score.scorer import Gain


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides.

    Attributes:
        read_as: how this network's validators read an update.
        gradient_rate: η of the ``gradient`` convention.
        written_as: how this trainer writes it.
        min_gain: the accuracy, 0 to 1, that the lower end of the gain's interval must exceed.
    """

    read_as: Convention
    gradient_rate: float
    written_as: Convention
    min_gain: float = 0.0

    def passes(self, gain: Gain) -> bool:
        """Whether a gain is surely enough."""
        return gain.low > self.min_gain


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's word on an update file.

    Attributes:
        gain: as this network's validators read it; None where it was not measured.
        withheld: why it is not submitted, to complete "nothing was submitted: …"; empty for one that passes.
        misread: that it is read in another way than it was written: no other weights would help.
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
            return f"The gain is not measured: {self.unmeasured}. The update is submitted."
        return f"On held-out data the update {described(self.gain)}."


def judge(rules: Rules, gain: Gain, *, other: Gain | None = None) -> Verdict:
    """The verdict on an update file, with the cause where the other readings show one.

    ``gain`` is what the file gains as this network's validators read it, ``other`` as the other convention reads it;
    None where that was not scored.
    """
    if rules.passes(gain):
        return Verdict(gain)
    how = f"gradient, rate {rules.gradient_rate:g}" if rules.read_as == "gradient" else "delta"
    reading = f"read as this network's validators do ({how}), the update {described(gain)}"
    another: Convention = "gradient" if rules.read_as == "delta" else "delta"
    if other is not None and rules.passes(other):
        reading += f"; read as {another} it would gain {points(other.gain)}"
        if rules.written_as == another:
            return Verdict(gain, f"{reading}: set update.convention={rules.read_as}", misread=True)
        return Verdict(gain, f"{reading}: set network.convention={another} if its validators read it so", misread=True)
    least = f"update.min_gain={rules.min_gain:g}" if rules.min_gain else "nothing"
    return Verdict(gain, f"{reading}, which is not surely more than {least}")


def after_remedies(verdict: Verdict, tried: Sequence[str]) -> Verdict:
    """The same verdict; one that withholds says what was tried."""
    if verdict.passed or not tried:
        return verdict
    words = f"{', '.join(tried[:-1])} and {tried[-1]}" if len(tried) > 1 else tried[0]
    return Verdict(verdict.gain, f"{verdict.withheld}; {words} did not help", verdict.misread)


def described(gain: Gain) -> str:
    """``gains 61.2 points (95 % interval of what a validator measures: 55.0 to 66.1)``."""
    verb = "loses" if gain.gain < 0 else "gains"
    interval = f"{gain.low * 100:.1f} to {gain.high * 100:.1f}"
    return f"{verb} {points(abs(gain.gain))} (95 % interval of what a validator measures: {interval})"


def points(share: float) -> str:
    """An accuracy, 0 to 1, as percentage points."""
    return f"{share * 100:.1f} points"
