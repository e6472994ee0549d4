"""The result of an audit: everything that somebody else needs to check it."""

from __future__ import annotations

from dataclasses import dataclass

from decloud_pl.audit.history import Step
from decloud_pl.domain import Convention
from decloud_pl.journal.audits import Audit, Verdict
from decloud_pl.journal.owner import Owner

LATE_SECONDS = 3_600.0
"""A validator scores within minutes. After this time, a validation is late."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission of the round.

    Attributes:
        trainer: its address, base58.
        cid: of its update.
        paid_bps: the share that the validator gave, in basis points.
        fair_bps: the fair share; None without scores.
        noise_bps: how far the share may differ; None without scores.
        correct: the samples of the test split that the model with the update gets right; None if it was not opened.
        ties: the samples among them, or beside them, that float errors may change.
        submitted: the transaction that submitted it, if the endpoint has it.
        scored: the transaction that gave its share, if the endpoint has it.
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
        cosine: of the two updates; 1 for equal files.
        same_cid: whether they are the same file.
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
        program_id: the program, base58.
        round_id: the round.
        creator: its creator, base58.
        validator: its validator, base58.
        model_cid: of the base model.
        dataset: the chain's name of the data set.
        scored_on: the data set of this machine that the updates were scored on.
        is_mapped: whether the user of this machine chose that data set for the round's name.
        samples: the size of its test split.
        labels: the SHA-256 of the test split's labels, hexadecimal.
        reward_amount: the round's reward in lamports.
        baseline_score: the validator's accuracy of the base model, in % × 100.
        base_correct: the samples that the base model gets right here.
        base_ties: the samples that float errors may change.
        convention: how the updates were applied.
        gradient_rate: η of the ``gradient`` convention.
        verdict: see `Verdict`.
        reasons: what was found, as sentences.
        entries: the submissions, sorted by the trainer's address.
        copies: equal and nearly equal updates.
        completed: the transaction that ended the validation, if the endpoint has it.
        score_seconds: the seconds that the validation took; None if unknown.
        is_late: whether it took longer than an hour.
        versions: of the program and of torch.
        at: Unix seconds of the audit.
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
        """Return a trainer's submission, or None."""
        return next((entry for entry in self.entries if entry.trainer == trainer), None)

    def row(self, trainer: str | None) -> Audit:
        """Return the journal's row; ``trainer`` is the wallet of this machine, if it has one."""
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
            self.said(trainer),
        )

    def said(self, trainer: str | None) -> str:
        """Return the result in words, for a trainer where it has a submission."""
        return " ".join([*self._own_share(trainer), *self.reasons, *self._lateness(), *self._copied(trainer)])

    def owner(self, wallet: str) -> Owner:
        """Return the journal's owner for a wallet."""
        return Owner(self.network, self.program_id, wallet)

    def _own_share(self, trainer: str | None) -> list[str]:
        own = self.entry(trainer)
        if own is None or own.fair_bps is None:
            return []
        return [f"Your share is {own.paid_bps / 100:g} %, and the fair share is {own.fair_bps / 100:g} %."]

    def _lateness(self) -> list[str]:
        if not self.is_late or self.score_seconds is None:
            return []
        return [f"The validator was late: it needed {self.score_seconds / 3600:.1f} hours."]

    def _copied(self, trainer: str | None) -> list[str]:
        said = []
        for copy in self.copies:
            kind = "equal" if copy.cosine >= 1 else "nearly equal"
            names = ["you" if name == trainer else name for name in (copy.first, copy.second)]
            order = f"; {copy.first if copy.first != trainer else 'you'} submitted first" if copy.is_ordered else ""
            said.append(f"The updates of {names[0]} and {names[1]} are {kind}{order}.")
        return said
