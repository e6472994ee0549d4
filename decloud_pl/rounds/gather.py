"""Score completed rounds in the background, to find out by which conventions validators read updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from decloud_pl.chain.client import ChainClient
from decloud_pl.data.catalog import Catalog
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.durable import scratch_folder
from decloud_pl.errors import (
    DatasetError,
    DatasetNotFound,
    DatasetNotReady,
    DatasetNotSupported,
    MachineShortage,
    StoreError,
    TrainingError,
)
from decloud_pl.journal.findings import Reading, readings, store_reading
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.background import Background
from decloud_pl.rounds.events import Noted, Reporter, Trouble
from decloud_pl.rounds.evidence import Evidence, look
from decloud_pl.rounds.scoring import MOST_SEARCHED
from decloud_pl.shortage import shortage
from decloud_pl.store.fetch.fetcher import Fetcher

_LOOKED_AT_ONCE = 16
"""The most completed rounds to score in one daily search."""
_PER_VALIDATOR = 4
"""After this many inconclusive rounds of a validator, its older rounds are not scored."""
_EXPECTED = (DatasetNotFound, DatasetNotSupported, DatasetNotReady)
"""Not every round's data set is on this machine."""
_WHAT = "The search of completed rounds for validators' conventions"


class Evidences(Background):
    """Scores completed rounds in the background to find their validators' conventions.

    This class scores each round once. If it cannot score a round today, it retries on another day.

    Args:
        chain: the network.
        reader: downloads files by CID.
        catalog: returns the catalog of data sets. A round is scored only if its data set is on this machine.
        journal: stores the results.
        reporter: receives an event when a convention is found for a validator or has changed, and when scoring fails.
        gradient_rate: η of the ``gradient`` convention.
        max_bytes: the limit of one download.
        turn: see `Background`.
    """

    def __init__(
        self,
        chain: ChainClient,
        reader: Fetcher,
        catalog: Callable[[], Catalog],
        journal: Journal,
        reporter: Reporter,
        *,
        gradient_rate: float,
        max_bytes: int,
        turn: asyncio.Lock | None = None,
    ) -> None:
        super().__init__(reader, reporter, what=_WHAT, turn=turn)
        self._chain = chain
        self._catalog = catalog
        self._journal = journal
        self._rate = gradient_rate
        self._max_bytes = max_bytes
        self._no_data: set[str] = set()  # the data sets that cannot be read today

    async def _look_back(self) -> None:
        self._no_data.clear()
        known = {reading.round_id: reading for reading in readings(self._journal)}
        inconclusive: dict[str, int] = {}
        decided: set[str] = set()
        wanted = 0
        async for round_ in self._chain.latest_rounds(MOST_SEARCHED):
            if round_.status is not RoundStatus.COMPLETED:
                continue
            validator = str(round_.validator)
            if validator in decided or inconclusive.get(validator, 0) >= _PER_VALIDATOR:
                continue
            reading = known.get(round_.id)
            if reading is None:
                if round_.dataset in self._no_data:
                    continue
                if wanted >= _LOOKED_AT_ONCE:
                    break
                wanted += 1
                reading = await self._look(round_)
            if reading is not None and reading.convention is not None:
                decided.add(validator)
            else:
                inconclusive[validator] = inconclusive.get(validator, 0) + 1

    async def _look_at(self, round_id: int) -> None:
        round_ = await self._chain.round(round_id)
        known = {reading.round_id for reading in readings(self._journal)}
        if round_ is not None and round_.status is RoundStatus.COMPLETED and round_id not in known:
            await self._look(round_)

    async def _look(self, round_: Round) -> Reading | None:
        """Score a round and store the result in the journal.

        Return the result, or None if the round cannot be scored today.
        """
        if not self._may_look(round_.id):
            return None
        try:
            with scratch_folder("decloud-evidence-") as folder:
                evidence = await look(
                    self._chain,
                    self._reader,
                    self._catalog(),
                    folder,
                    round_,
                    gradient_rate=self._rate,
                    max_bytes=self._max_bytes,
                    background=True,
                )
        except TimeoutError:
            return None  # another day may bring more time
        except (StoreError, DatasetError, MachineShortage, OSError) as error:
            missing, then = shortage(error), "Its updates were not scored. Retrying on another day."
            if missing is not None:
                self._reporter.report(Trouble(round_.id, f"{missing} {then}", str(missing)))
            elif isinstance(error, OSError):
                self._reporter.report(Noted(round_.id, f"{error} {then}"))
            elif isinstance(error, DatasetError):
                if not isinstance(error, _EXPECTED) and round_.dataset not in self._no_data:
                    self._reporter.report(Noted(round_.id, f"{error} {then}"))
                self._no_data.add(round_.dataset)
            return None  # another day may bring the files
        except TrainingError as error:
            reading = Reading(round_.id, str(round_.validator), None, error.message)
        else:
            reading = Reading(round_.id, evidence.validator, evidence.convention, _note(evidence))
        before = [one.convention for one in readings(self._journal, reading.validator) if one.convention is not None]
        store_reading(self._journal, reading)
        if reading.convention is not None and before[:1] != [reading.convention]:
            now = f"Validator {reading.validator} reads updates as {reading.convention}"
            self._reporter.report(Noted(reading.round_id, f"{now}: {reading.note}."))
        return reading


def _note(evidence: Evidence) -> str:
    delta, gradient = evidence.missed["delta"], evidence.missed["gradient"]
    return f"its shares differ from delta's prediction by {delta:.0%} of the pool, from gradient's by {gradient:.0%}"
