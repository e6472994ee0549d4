"""The report of an audit. It contains all that another person needs to repeat and check the audit."""

from __future__ import annotations

from dataclasses import dataclass

from decloud_pl.audit.history import Step
from decloud_pl.domain import Convention
from decloud_pl.journal.audits import Audit, Verdict, said_shares

LATE_SECONDS = 3_600.0
"""A validator scores within minutes. After this time, a validation is late."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission of the round.

    Attributes:
        trainer: the trainer's address, base58.
        cid: the CID of the update.
        paid_bps: the share that the validator gave, in basis points.
        fair_bps: the fair share in basis points; None if no update of the round was scored, or if only the validator
            could open this update.
        noise_bps: how far a fair validator's share may be from ``fair_bps``, in basis points; None if ``fair_bps``
            is None.
        correct: the number of samples in the test split that the base model with this update classifies correctly;
            None if the update was not opened.
        ties: the number of samples in the test split for which the base model with this update may predict another
            class on another machine, because of float errors; None if ``correct`` is None.
        submitted: the transaction that submitted the update; None if the endpoint does not have it.
        scored: the transaction that set the share; None if the endpoint does not have it.
    """

    trainer: str
    cid: str
    paid_bps: int
    fair_bps: int | None
    noise_bps: int | None
    correct: int | None
    ties: int | None
    submitted: Step | None
    scored: Step | None


@dataclass(frozen=True, slots=True)
class Copy:
    """Two equal or nearly equal updates.

    Attributes:
        first: the trainer that submitted first, or either of them if ``is_ordered`` is False.
        second: the other trainer.
        is_ordered: whether the endpoint shows who submitted first.
        cosine: the cosine of the two updates; 1 for equal files.
        same_cid: whether both trainers submitted the same CID.
    """

    first: str
    second: str
    is_ordered: bool
    cosine: float
    same_cid: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The audit of one completed round.

    Attributes:
        network: the chain's genesis hash.
        program_id: the address of the program, base58.
        round_id: the number of the round.
        creator: the address of the round's creator, base58.
        validator: the address of the round's validator, base58.
        model_cid: the CID of the base model.
        dataset: the round's data set, by its name on chain.
        scored_on: the name, on this machine, of the data set that the audit used to score the updates.
        is_mapped: whether the user of this machine chose the data set ``scored_on`` for the name ``dataset``.
        samples: the number of samples in the test split of ``scored_on``.
        labels: the SHA-256 of the test split's labels, hexadecimal.
        reward_amount: the round's reward in lamports.
        baseline_score: the base model's accuracy as the validator measured it, in % × 100.
        base_correct: the number of samples in the test split that the base model classifies correctly on this machine.
        base_ties: the number of samples in the test split for which the base model may predict another class on
            another machine, because of float errors.
        convention: the convention with which ``fair_bps`` was computed.
        gradient_rate: η of the ``gradient`` convention.
        verdict: see `Verdict`.
        reasons: the reasons for the verdict, as sentences.
        entries: the submissions, sorted by the trainer's address.
        copies: the pairs of equal and nearly equal updates.
        completed: the transaction that ended the validation; None if the endpoint does not have it.
        score_seconds: the duration of the validation in seconds; None if unknown.
        is_late: whether the validation took longer than an hour.
        versions: the versions of decloud_pl and torch that made the audit.
        at: the time of the audit in Unix seconds.
    """

    network: str
    program_id: str
    round_id: int
    creator: str
    validator: str
    model_cid: str
    dataset: str
    scored_on: str
    is_mapped: bool
    samples: int
    labels: str
    reward_amount: int
    baseline_score: int
    base_correct: int
    base_ties: int
    convention: Convention
    gradient_rate: float
    verdict: Verdict
    reasons: tuple[str, ...]
    entries: tuple[Entry, ...]
    copies: tuple[Copy, ...]
    completed: Step | None
    score_seconds: float | None
    is_late: bool
    versions: dict[str, str]
    at: float

    def entry(self, trainer: str | None) -> Entry | None:
        """Return a trainer's submission, or None if ``trainer`` is None or did not submit."""
        return next((entry for entry in self.entries if entry.trainer == trainer), None)

    def row(self, trainer: str | None) -> Audit:
        """Return the audit as a row of the journal. ``trainer`` is this machine's wallet; None without a wallet."""
        own = self.entry(trainer)
        return Audit(
            self.round_id,
            self.validator,
            self.creator,
            self.verdict,
            self.convention,
            None if own is None else own.trainer,
            None if own is None else own.fair_bps,
            None if own is None else own.paid_bps,
            None if own is None else own.noise_bps,
            self.score_seconds,
            self.is_late,
            self.said(None),  # another wallet of this machine may read it
        )

    def said(self, trainer: str | None) -> str:
        """Return the result in sentences.

        Args:
            trainer: the address of the trainer whom the sentences address as "you" if this trainer submitted an update
                to the round; None to address nobody.
        """
        return " ".join([*self._own_share(trainer), *self.reasons, *self._lateness(), *self._copied(trainer)])

    def _own_share(self, trainer: str | None) -> list[str]:
        own = self.entry(trainer)
        if own is None or own.fair_bps is None:
            return []
        return [said_shares(own.paid_bps, own.fair_bps)]

    def _lateness(self) -> list[str]:
        if not self.is_late or self.score_seconds is None:
            return []
        return [f"The validator was late: it needed {self.score_seconds / 3600:.1f} hours."]

    def _copied(self, trainer: str | None) -> list[str]:
        said = []
        for copy in self.copies:
            kind = "equal" if copy.cosine >= 1 else "nearly equal"
            first, second = ("you" if name == trainer else name for name in (copy.first, copy.second))
            order = f"; {first} submitted first" if copy.is_ordered else ""
            said.append(f"The updates of {first} and {second} are {kind}{order}.")
        return said
