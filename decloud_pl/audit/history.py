"""The transactions of a round: when each trainer submitted, and when the validator set the shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.client import ChainClient
from decloud_pl.domain import Round, Submission
from decloud_pl.errors import ChainError

_LISTED = 200
_READ = 80
"""A round of ten trainers has about 44 transactions. Anybody may add others that name its account."""
_SUBMIT = discriminator("global", "submit_gradients")
_SCORE = discriminator("global", "set_contribution")
_COMPLETE = discriminator("global", "complete_validation")
_FINALIZE = discriminator("global", "finalize_round")


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction of the round.

    Attributes:
        signature: the signature, base58.
        slot: the slot of its block.
        at: the time of its block in Unix seconds, or None if the endpoint does not have it.
    """

    signature: str
    slot: int
    at: int | None


@dataclass(frozen=True, slots=True)
class History:
    """The transactions of a round, as far as the endpoint has them.

    Attributes:
        submitted: for each trainer, the transaction that submitted the update. The trainers are in the order in which
            they submitted.
        scored: for each trainer, the transaction that set the share.
        completed: the transaction that ended the validation; None if unknown.
    """

    submitted: Mapping[str, Step] = field(default_factory=dict)
    scored: Mapping[str, Step] = field(default_factory=dict)
    completed: Step | None = None

    def score_seconds(self, round_: Round) -> float | None:
        """Return how long the validation took, in seconds; None if the time of its end is unknown.

        The validation begins with the last submission if all trainers have submitted and the times are known. Otherwise
        it begins at the submission deadline.
        """
        if self.completed is None or self.completed.at is None:
            return None
        ready = round_.submit_deadline
        times = [step.at for step in self.submitted.values() if step.at is not None]
        if round_.submissions_count == round_.trainers_count and len(times) == round_.submissions_count:
            ready = max(times)
        return float(max(0, self.completed.at - ready))


async def history_of(chain: ChainClient, round_: Round, submissions: Iterable[Submission]) -> History:
    """Return the round's transactions that the endpoint has.

    The result is empty if the endpoint keeps no transaction history or cannot be queried.
    """
    address = chain.dialect.round_address(round_.id)
    try:
        sent = await chain.rpc.transactions(address, signatures=_LISTED, most=_READ)
    except ChainError:
        return History()
    places = {str(entry.trainer): chain.dialect.submission_address(round_.id, entry.trainer) for entry in submissions}
    submitted: dict[str, Step] = {}
    scored: dict[str, Step] = {}
    completed: Step | None = None
    for one in reversed(sent):  # the latest share counts
        for instruction in one.instructions:
            if instruction.program_id != chain.dialect.program_id:
                continue
            step = Step(one.signature, one.slot, one.at)
            named = {meta.pubkey for meta in instruction.accounts}
            trainers = [trainer for trainer, place in places.items() if place in named]
            begin = bytes(instruction.data[:8])
            if begin == _SUBMIT:
                submitted.update(dict.fromkeys(trainers, step))
            elif begin in (_SCORE, _FINALIZE):
                scored.update(dict.fromkeys(trainers, step))
            if begin in (_COMPLETE, _FINALIZE):
                completed = step
    return History(submitted, scored, completed)
