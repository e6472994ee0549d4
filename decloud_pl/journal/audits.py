"""Store and read the audits of completed rounds. An audit checks whether a validator gave fair shares.

Audits belong to the network and the program, not to a wallet. They influence neither the choice of rounds nor the
training.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from decloud_pl.domain import BPS_DENOMINATOR, Convention
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal

Verdict = Literal["fair", "equal", "unfair", "unknown"]
"""``equal``: all valid submissions got the same share, although their gains differ. ``unknown``: not scored, or the
scores do not show whether the shares are right."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one completed round.

    Attributes:
        round_id: the round.
        validator: the address of the validator that scored the round, base58.
        creator: the address of the round's creator, base58.
        verdict: see `Verdict`.
        convention: the convention with which the fair shares were computed; None if the round was not scored.
        trainer: the address of this machine's wallet, base58; None if it did not submit an update to the round, or if
            the round was not scored.
        fair_bps: the share that ``trainer`` should get by the validator's documented rule, in basis points; None if
            ``trainer`` is None, if no update of the round was scored, or if only the validator could open this update.
        paid_bps: the share that the validator gave ``trainer``, in basis points; None if ``trainer`` is None.
        noise_bps: how far the share of a fair validator may be from ``fair_bps``, in basis points; None if ``fair_bps``
            is None. The causes are float errors, rounding and the small number of test samples.
        score_seconds: seconds from the last submission (or the deadline) to the end of the validation; None if unknown.
        is_late: whether the validation took much longer than validators usually need.
        note: what the audit found, or why the verdict is ``unknown``, in words for people. It addresses nobody.
        tries_left: how many more times the daemon tries to score the round; 0 if the audit will not change any more.
        at: Unix seconds when the journal wrote the row. Comparisons ignore it.
    """

    round_id: int
    validator: str
    creator: str
    verdict: Verdict
    convention: Convention | None = None
    trainer: str | None = None
    fair_bps: int | None = None
    paid_bps: int | None = None
    noise_bps: int | None = None
    score_seconds: float | None = None
    is_late: bool = False
    note: str = ""
    tries_left: int = 0
    at: float = field(default=0.0, compare=False)

    @property
    def lost_bps(self) -> int:
        """The basis points by which ``trainer`` was underpaid: ``fair_bps`` − ``paid_bps``. Negative if overpaid.

        0 if a share is unknown, or if the difference is within ``noise_bps``.
        """
        if self.fair_bps is None or self.paid_bps is None:
            return 0
        lost = self.fair_bps - self.paid_bps
        return lost if abs(lost) > (self.noise_bps or 0) else 0

    @property
    def said(self) -> str:
        """The ``note`` in words for ``trainer``: if the shares are known, they come first."""
        if self.fair_bps is None or self.paid_bps is None:
            return self.note
        return f"{said_shares(self.paid_bps, self.fair_bps)} {self.note}".rstrip()

    def for_wallet(self, wallet: str) -> Audit:
        """Return this audit without the shares if they are those of another wallet."""
        if self.trainer == wallet:
            return self
        return replace(self, trainer=None, fair_bps=None, paid_bps=None, noise_bps=None)


def said_shares(paid_bps: int, fair_bps: int) -> str:
    """Return a sentence about a trainer's own shares."""
    return f"Your share is {paid_bps / 100:g} %, and the fair share is {fair_bps / 100:g} %."


_COLUMNS = ", ".join(entry.name for entry in fields(Audit))


def audits(journal: JournalReader) -> list[Audit]:
    """Return all audits, the latest round first."""
    return _read(journal, "ORDER BY round_id DESC")


def audit_of(journal: JournalReader, round_id: int) -> Audit | None:
    """Return the audit of a round, or None."""
    return next(iter(_read(journal, "AND round_id = ?", (round_id,))), None)


def store_audit(journal: Journal, audit: Audit) -> None:
    """Store an audit. It replaces an earlier audit of the same round."""
    with journal.transaction() as db:
        db.execute(
            f"INSERT OR REPLACE INTO audits (network, program_id, {_COLUMNS})"  # noqa: S608 (own column names)
            f" VALUES ({', '.join('?' * 16)})",
            (*journal.owner[:2], *astuple(replace(audit, at=journal.now()))),
        )


def _read(journal: JournalReader, rest: str, values: tuple[object, ...] = ()) -> list[Audit]:
    return [_audit(journal, row) for row in journal.findings(_COLUMNS, "audits", rest, values)]


def _audit(journal: JournalReader, row: tuple[Any, ...]) -> Audit:
    audit = Audit(*row)
    audit = replace(audit, is_late=bool(audit.is_late))
    shares = (audit.fair_bps, audit.paid_bps, audit.noise_bps)
    if (
        audit.verdict not in get_args(Verdict)
        or audit.convention not in (*get_args(Convention), None)
        or not all(share is None or (isinstance(share, int) and 0 <= share <= BPS_DENOMINATOR) for share in shares)
        or not all(isinstance(text, str) for text in (audit.validator, audit.creator, audit.note))
        or not isinstance(audit.score_seconds, float | None)
        or not all(isinstance(number, int) for number in (audit.round_id, audit.tries_left))
    ):
        raise journal.damaged("a row of audits is damaged")
    return audit
