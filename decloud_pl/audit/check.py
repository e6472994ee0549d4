"""Check an evidence file: repeat the audit from the chain and the store, and compare the results with the file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from decloud_pl.audit.look import Auditor
from decloud_pl.audit.report import Entry, Report
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import RoundError

_OF_ROUND = ("creator", "validator", "model_cid", "dataset", "reward_amount", "baseline_score")
_OF_ENTRY = ("cid", "paid_bps")


async def completed_round(auditor: Auditor, round_id: int) -> Round:
    """Return a round from the chain, after checking that it is completed. Other rounds cannot be audited.

    Raises:
        RoundError: the round does not exist or is not completed.
        ChainError: the network cannot be queried.
    """
    round_ = await auditor.chain.round(round_id)
    if round_ is None:
        raise RoundError(
            f"Round {round_id} does not exist on this network.", fix="List all rounds with `decloud-trainer list`."
        )
    if round_.status is not RoundStatus.COMPLETED:
        status = round_.status.name.lower().replace("_", " ")
        fix = "Audit it when its validator has scored it."
        if round_.status in (RoundStatus.EXPIRED, RoundStatus.CANCELLED):
            fix = "Choose a completed round: `decloud-trainer list --status completed` shows them."
        raise RoundError(f"Round {round_id} cannot be audited: it is {status}.", fix=fix)
    return round_


async def check(auditor: Auditor, claimed: Report, tell: Callable[[str], None]) -> tuple[Report, list[str]]:
    """Repeat the audit that an evidence file describes. Return the new report, and each difference as a sentence.

    Args:
        auditor: repeats the audit with this machine's settings.
        claimed: the content of the file. The new audit takes only the round's number and the convention from the file.
        tell: called with a sentence before each slow operation.

    Raises:
        RoundError: the file belongs to another network or program, or the round cannot be audited.
        ChainError, StoreError, DatasetError, TrainingError, TimeoutError, MachineShortage, OSError: see `score_round`.
    """
    program = str(auditor.chain.dialect.program_id)
    if (claimed.network, claimed.program_id) != (auditor.network, program):
        raise RoundError(
            f"The file belongs to program {claimed.program_id} on the network with genesis {claimed.network}, not to"
            f" {program} on {auditor.network}.",
            fix="Choose the file's network with network=… or network.rpc_url=…, and its program with "
            "network.program_id=….",
        )
    round_ = await completed_round(auditor, claimed.round_id)
    with tempfile.TemporaryDirectory(prefix="decloud-audit-") as folder:
        found = await auditor.audit(round_, Path(folder), convention=claimed.convention, tell=tell)
    return found, list(_differences(claimed, found))


def _differences(claimed: Report, found: Report) -> Iterator[str]:
    for name in _OF_ROUND:
        yield from _differs(name, getattr(claimed, name), getattr(found, name))
    theirs = {entry.trainer: entry for entry in claimed.entries}
    ours = {entry.trainer: entry for entry in found.entries}
    yield from _differs("submissions", sorted(entry.trainer for entry in claimed.entries), sorted(ours))
    for trainer in theirs.keys() & ours.keys():
        for name in _OF_ENTRY:
            yield from _differs(f"{name} of {trainer}", getattr(theirs[trainer], name), getattr(ours[trainer], name))
    if (claimed.samples, claimed.labels) != (found.samples, found.labels):
        yield (
            f"Its test split has {claimed.samples} samples and other labels than {found.scored_on} on this machine"
            f" ({found.samples} samples)."
        )
        return
    pairs: list[tuple[int | None, int | None, int | None, int | None, str]] = [
        (claimed.base_correct, claimed.base_ties, found.base_correct, found.base_ties, "the base model")
    ]
    pairs += [
        (theirs[trainer].correct, theirs[trainer].ties, ours[trainer].correct, ours[trainer].ties, trainer)
        for trainer in theirs.keys() & ours.keys()
    ]
    for said, said_ties, measured, ties, who in pairs:
        if not _same_score(said, said_ties, measured, ties):
            yield f"It says that {who} gets {said} samples right, and this machine measures {measured}."
    for trainer in theirs.keys() & ours.keys():
        yield from _other_transactions(theirs[trainer], ours[trainer])
        yield from _other_fair_share(theirs[trainer], ours[trainer])
    yield from _differs("copies", _pairs(claimed), _pairs(found))
    yield from _differs("verdict", claimed.verdict, found.verdict)


def _same_score(said: int | None, said_ties: int | None, measured: int | None, ties: int | None) -> bool:
    if said is None or measured is None:
        return said is measured
    return abs(said - measured) <= min(max(0, said_ties or 0), ties or 0) + (ties or 0)


def _other_transactions(claimed: Entry, found: Entry) -> Iterator[str]:
    """Yield a sentence for each transaction whose signature in the file differs from the signature on chain.

    Skip a transaction that is missing in the file or that the endpoint does not return.
    """
    for name in ("submitted", "scored"):
        said, known = getattr(claimed, name), getattr(found, name)
        if said is not None and known is not None and said.signature != known.signature:
            yield (
                f"The file names {said.signature} as the transaction that {name} the update of {claimed.trainer}, but"
                f" the chain shows {known.signature}."
            )


def _other_fair_share(claimed: Entry, found: Entry) -> Iterator[str]:
    said, known = claimed.fair_bps, found.fair_bps
    if said is None or known is None or abs(said - known) > (found.noise_bps or 0):
        yield from _differs(f"fair_bps of {claimed.trainer}", said, known)


def _pairs(report: Report) -> list[list[str]]:
    return sorted(sorted((copy.first, copy.second)) for copy in report.copies)


def _differs(name: str, claimed: object, found: object) -> Iterator[str]:
    if claimed != found:
        yield f"{name}: the file says {claimed}, and this machine finds {found}."
