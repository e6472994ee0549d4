"""The time to leave for publishing and for submitting an update before a deadline."""

from __future__ import annotations

from collections.abc import Sequence

from decloud_pl.journal.record import RoundRecord

SUBMITS_REMEMBERED = 10
_PUBLISH_MARGIN = 3.0
_PUBLISHES_REMEMBERED = 10
_MOST_TO_PUBLISH = 0.5
"""A share of the time until the deadline. A training keeps the rest, even if one earlier upload was very slow."""
_SUBMIT_MARGIN = 3.0
_EXPIRY_SECONDS = 120.0
"""A transaction that did not land expires within this time: its blockhash is valid for 150 slots of 0.4 to 0.6 s."""


def publish_reserve(records: Sequence[RoundRecord], least: float, seconds_left: float) -> float:
    """Return the seconds to leave for publishing an update before the deadline.

    The result is a multiple of the longest time that publishing recently took, but at most half of the time that is
    left or ``least``, whichever is larger.

    Args:
        records: the rows of this wallet's rounds, the latest last.
        least: the smallest result, for example if no publishing was timed yet.
        seconds_left: the seconds until the deadline.
    """
    measured = [record.publish_seconds for record in records if record.publish_seconds is not None]
    slowest = max(measured[-_PUBLISHES_REMEMBERED:], default=0.0)
    return max(least, min(_PUBLISH_MARGIN * slowest, _MOST_TO_PUBLISH * seconds_left))


def submit_margin(records: Sequence[RoundRecord], reserve: float) -> float | None:
    """Return the seconds to leave for submitting an update, or None if no transaction was timed yet.

    The result is enough for two attempts. The first transaction may get lost and expire. The second transaction may
    then take several times as long as the slowest recent join or claim. Joins and claims are sent in the same way as
    submissions.

    Args:
        records: the rows of this wallet's latest rounds.
        reserve: the smallest number of seconds to allow for the first transaction.
    """
    times = [(record.join_seconds, record.claim_seconds) for record in records]
    slowest = max((seconds for both in times for seconds in both if seconds is not None), default=None)
    return None if slowest is None else max(reserve, _EXPIRY_SECONDS) + _SUBMIT_MARGIN * slowest
