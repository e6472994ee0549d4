"""Inspect base models before a join, so that the wallet pays nothing for a round that cannot be trained."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from decloud_pl.config.schema import JoinConfig
from decloud_pl.data.entry import Entry
from decloud_pl.data.source import HELD_OUT_BYTES, HELD_OUT_SHARE
from decloud_pl.domain import Round
from decloud_pl.durable import make_private, sha256_of
from decloud_pl.errors import (
    DecloudError,
    InvalidCid,
    MachineShortage,
    ModelError,
    SizeLimitExceeded,
    StoreError,
)
from decloud_pl.models.base_model import BaseModel, why_unfit
from decloud_pl.models.quarantine.opened import hand_over
from decloud_pl.models.quarantine.opening import open_in_task
from decloud_pl.retry import Backoff
from decloud_pl.rounds.select import Check
from decloud_pl.shortage import shortage
from decloud_pl.store.fetch.fetcher import Fetcher, fetch_in_task
from decloud_pl.train.plan import BASE_WEIGHTS_FILE

_AT_ONCE = 4
_KEPT = 1000
_LOOK_SECONDS = 60.0
_PACKAGES = 4
"""The number of packages that are kept for the workers."""
_LARGEST_PACKAGE = 64 << 20
"""A larger package is deleted after the inspection, to save disk space. The worker then opens the base model itself."""
_SHORT_OF_TIME = 30
"""With fewer seconds than this to the join deadline, a round is joined without an inspection of its base model."""
_LAST_WAIT = 25
"""With fewer seconds than this to the join deadline, a first inspection no longer waits for a place. It is less than
`_SHORT_OF_TIME`, so that the round is then joined although the chain's clock is a little behind."""
_AGAIN = Backoff(15.0, 600.0)
_NAME = "base model"
_LOOK = "look-"
_EXPLAIN = "explain-"
"""The folder of an inspection by `decloud-trainer explain`, which may run beside a daemon."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of inspecting a base model.

    Attributes:
        model: the model if it passed the inspection; None if it cannot be used. The file at ``model.weights`` may have
            been deleted.
        problem: why the model cannot be used; completes "not joined, …".
        again_at: when to inspect the model again, in seconds of the monotonic clock; infinity for never.
        failures: consecutive failed inspections.
    """

    model: BaseModel | None = None
    problem: str = ""
    again_at: float = math.inf
    failures: int = 0


@dataclass
class BaseModels:
    """Fetches base models, opens them in quarantine and remembers the results.

    A base model is inspected again only after a temporary problem, such as an unreachable gateway.

    Args:
        reader: downloads files by CID.
        folder: holds a file during its inspection, and the last packages.
        wishes: the user's settings for joins.
        max_bytes: the size of the largest accepted file.
        own_data: whether the user's own data module decides which models fit.
        keeps_packages: whether to keep the last packages for `hand_over`. Only one process may do so in a folder.
        data_memory_mb: a base model fits if the held-out part as its input takes less than this or `HELD_OUT_BYTES`.
        monotonic: returns the seconds of a monotonic clock.
    """

    reader: Fetcher
    folder: Path
    wishes: JoinConfig
    max_bytes: int
    own_data: bool = False
    keeps_packages: bool = True
    data_memory_mb: int = 0
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, Seen] = field(default_factory=dict)
    # By CID: the model, and the SHA-256 of the file that was opened.
    _packages: dict[str, tuple[BaseModel, str]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    # Held by an inspection after two failed ones, so that files that nobody delivers leave the other places free.
    _repeating: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cleaning: threading.Lock = field(default_factory=threading.Lock)
    _is_clean: bool = False

    def check(self, round_: Round, entry: Entry | None, *, now: int) -> Check:
        """Return the verdict on a round's base model from the inspections so far, without a download.

        Args:
            round_: the round.
            entry: the declaration of the data set to train on; None if only the user's files describe the data set.
            now: Unix seconds of the chain's clock.
        """
        if self.wishes.verify == "cid":
            return Check(_NAME, passed=True, detail="only its CID is checked, because join.verify is cid")
        seen = self._seen.get(round_.model_cid)
        if seen is None:
            return Check(_NAME, passed=True, detail=self._hurry(round_, now) or "it is inspected before the join")
        if seen.model is None:
            is_final = math.isinf(seen.again_at)
            return Check(_NAME, passed=self._is_due(seen), detail=seen.problem, settled=is_final)
        model = seen.model
        unfit = ""
        if entry is not None and not self.own_data:
            unfit = why_unfit(model, kind=entry.kind, classes=entry.num_classes, name=entry.name)
            unfit = unfit or self._why_too_large(model, entry)
        if unfit:
            return Check(_NAME, passed=False, detail=unfit, settled=True)
        return Check(_NAME, passed=True, detail=f"a {model.spec.architecture} with {model.classes} classes")

    def _why_too_large(self, model: BaseModel, entry: Entry) -> str:
        samples = round((entry.train_samples or 0) * HELD_OUT_SHARE)
        size, most = samples * model.spec.input.packed_bytes, max(self.data_memory_mb << 20, HELD_OUT_BYTES)
        if size <= most:
            return ""
        return (
            f"the held-out part of {entry.name} takes {size >> 20:,} MB as input of its base model, more than "
            f"{most >> 20:,} MB; to join, raise fit.data_memory_mb"
        )

    def wants_look(self, round_: Round, *, now: int) -> bool:
        """Return whether `look` must run before the join. ``now`` is in Unix seconds of the chain's clock."""
        if self.wishes.verify == "cid":
            return False
        seen = self._seen.get(round_.model_cid)
        return not self._hurry(round_, now) if seen is None else seen.model is None and self._is_due(seen)

    def has_refused(self, cid: str) -> bool:
        """Return whether the last inspection refused a base model for good, for example because it could run code."""
        seen = self._seen.get(cid)
        return seen is not None and seen.model is None and math.isinf(seen.again_at)

    async def look(self, cid: str, *, seconds_left: float | None = None) -> None:
        """Fetch and open a base model, so that `check` can report the result.

        Args:
            cid: the base model.
            seconds_left: the seconds to the join deadline. If other inspections take all places until shortly before
                the deadline, a first inspection is left out. None to wait without limit.

        Raises:
            MachineShortage: this machine cannot inspect the model now. The model itself may be fine.
        """
        async with contextlib.AsyncExitStack() as stack:
            if cid in self._seen:
                seconds_left = None
                if self._seen[cid].failures > 1:  # one failure may be that of the gateways
                    await stack.enter_async_context(self._repeating)
            try:
                async with asyncio.timeout(None if seconds_left is None else seconds_left - _LAST_WAIT):
                    await stack.enter_async_context(self._places)
            except TimeoutError:
                return
            seen = self._seen.get(cid, Seen(again_at=0.0))
            missing: MachineShortage | None = None
            if seen.model is None and self._is_due(seen):
                seen, missing = await self._look(cid, seen.failures)
            self._seen.pop(cid, None)  # now the last one inspected
            while len(self._seen) >= _KEPT:
                del self._seen[next(iter(self._seen))]
            self._seen[cid] = seen
        if missing is not None:
            raise missing

    async def _look(self, cid: str, failures: int) -> tuple[Seen, MachineShortage | None]:
        missing = None
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return Seen(await self._opened(cid)), None
        except TimeoutError:
            problem = f"its base model did not arrive within {_LOOK_SECONDS:.0f} s"
        except (DecloudError, OSError, MemoryError, RuntimeError) as error:
            missing = shortage(error, places=(self.folder.parent,))
            if missing is not None:
                problem = f"this machine cannot inspect its base model: {_said(missing)}"
            elif isinstance(error, (InvalidCid, SizeLimitExceeded, ModelError)):
                return Seen(problem=f"its base model cannot be used: {_said(error)}"), None
            elif isinstance(error, StoreError):
                problem = f"its base model cannot be fetched: {_said(error)}"
            elif isinstance(error, OSError):
                problem = f"this machine cannot inspect its base model: {error.strerror or error}"
            else:
                raise
        failures += 1
        again_at = self.monotonic() + _AGAIN.after(failures)
        return Seen(problem=problem, again_at=again_at, failures=failures), missing

    async def hand_over(self, cid: str, folder: Path) -> None:
        """Put the package of an inspected base model into a round's folder, if the package still exists.

        With it, the round's worker need not open the base model again.
        """
        found = self._packages.pop(cid, None)
        if found is not None:
            self._packages[cid] = found  # now the last one used
            with contextlib.suppress(OSError):  # without the package, the worker opens the base model itself
                await asyncio.to_thread(_hand_over, *found, folder)

    async def _opened(self, cid: str) -> BaseModel:
        with await asyncio.to_thread(self._scratch) as folder:
            path = Path(folder) / "base"
            await fetch_in_task(self.reader, cid, path, max_bytes=self.max_bytes)
            model = await open_in_task(path, path.with_suffix(".safetensors"))
            if self.keeps_packages:
                with contextlib.suppress(OSError):  # as in `hand_over`
                    await self._keep(cid, path, model)
            return model

    async def _keep(self, cid: str, file: Path, model: BaseModel) -> None:
        """Keep the package of an opened base model, unless it is large. Delete all but the packages used last."""
        if model.weights.stat().st_size > _LARGEST_PACKAGE:
            return
        sha256 = await asyncio.to_thread(sha256_of, file)
        package = model.weights.replace(self.folder / f"{sha256}.safetensors")
        self._packages[cid] = replace(model, weights=package), sha256
        while len(self._packages) > _PACKAGES:
            del self._packages[next(iter(self._packages))]
        known = {model.weights for model, _ in self._packages.values()}
        for path in self.folder.glob("*.safetensors"):  # also those of an earlier daemon
            if path not in known:
                path.unlink()

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Create a folder for one inspection. Before the first one, delete those that a killed process left."""
        make_private(self.folder)
        with self._cleaning:  # so that no other inspection of this process has begun
            if self.keeps_packages and not self._is_clean:
                hour_ago = time.time() - 3600
                briefly = [one for one in self.folder.glob(f"{_EXPLAIN}*") if one.stat().st_mtime < hour_ago]
                for left in (*self.folder.glob(f"{_LOOK}*"), *briefly):
                    shutil.rmtree(left, ignore_errors=True)  # what cannot be deleted must not prevent inspections
                self._is_clean = True
        return tempfile.TemporaryDirectory(prefix=_LOOK if self.keeps_packages else _EXPLAIN, dir=self.folder)

    def _is_due(self, seen: Seen) -> bool:
        return self.monotonic() >= seen.again_at

    @staticmethod
    def _hurry(round_: Round, now: int) -> str:
        """Return why the round must be joined without an inspection, or "" if there is time to inspect the model."""
        if round_.trainers_count and round_.trainers_count == round_.max_trainers - 1:
            return "only its CID is checked, because only one place is left"
        left = round_.join_deadline - now
        return f"only its CID is checked, because the join deadline is in {left} s" if left < _SHORT_OF_TIME else ""


def _said(error: DecloudError) -> str:
    return error.message.rstrip(".")


def _hand_over(model: BaseModel, sha256: str, folder: Path) -> None:
    make_private(folder)
    hand_over(model, sha256, folder / BASE_WEIGHTS_FILE)
