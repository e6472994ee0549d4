"""The limits of background work: its downloads, and what the endpoints refuse."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from decloud_pl.errors import RpcRejected, SizeLimitExceeded
from decloud_pl.rounds.background import Background, DailyLimitExceeded, Metered
from decloud_pl.rounds.events import Noted
from decloud_pl.store.fetch.fetcher import FROM_CACHE, NEVER, Fetched
from tests.world import Diary


@dataclass
class Source:
    """Returns files of ``size`` bytes, as if ``gateway`` had delivered them."""

    size: int
    gateway: str = "gateway.example.test"

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        if self.size > max_bytes:
            raise SizeLimitExceeded(f"{cid} is larger than the limit of {max_bytes:,} bytes.")
        return Fetched(self.gateway, self.size)


def test_a_file_that_is_too_large_for_the_rest_of_the_day_may_be_fetched_on_another(tmp_path: Path) -> None:
    metered = Metered(Source(30), bytes_left=100)
    with pytest.raises(DailyLimitExceeded, match=r"cid is larger than the 25 bytes .* for one file today\."):
        metered.fetch("cid", tmp_path, max_bytes=50)
    assert metered.bytes_left == 75


def test_a_file_that_is_too_large_on_every_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SizeLimitExceeded, match="larger than the limit of 20 bytes") as caught:
        Metered(Source(30), bytes_left=100).fetch("cid", tmp_path, max_bytes=20)
    assert not isinstance(caught.value, DailyLimitExceeded)


@pytest.mark.parametrize(("gateway", "left"), [(FROM_CACHE, 100), ("gateway.example.test", 90)])
def test_only_a_download_counts(tmp_path: Path, gateway: str, left: int) -> None:
    metered = Metered(Source(10, gateway), bytes_left=100)
    metered.fetch("cid", tmp_path, max_bytes=50)
    assert metered.bytes_left == left


class Refused(Background):
    """Notes each round that it looks at. The endpoints refuse a request of the daily search."""

    code = -32601
    looked_at: tuple[int, ...] = ()

    async def _look_back(self) -> None:
        raise RpcRejected("The RPC endpoint refused it.", fix="Add another endpoint.", code=self.code)

    async def _look_at(self, round_id: int) -> None:
        self.looked_at = *self.looked_at, round_id


@pytest.mark.parametrize(
    ("code", "looked_at"), [(-32601, ()), (-32602, (1, 2))], ids=["the method", "this one request"]
)
async def test_a_method_that_the_endpoints_refuse_is_reported_once_and_not_called_again_that_day(
    code: int, looked_at: tuple[int, ...]
) -> None:
    diary = Diary()
    work = Refused(Source(1), diary, what="The search")
    work.code = code
    work.ask(1)
    work.ask(2)
    gathering = asyncio.create_task(work.gather())
    await diary.until(lambda: bool(diary.events))
    for _ in range(50):
        await asyncio.sleep(0)
    gathering.cancel()
    await asyncio.wait({gathering})
    why = "The RPC endpoint refused it. Add another endpoint."
    assert diary.events == [Noted(None, f"The search stopped: {why} It resumes within a day.")]
    assert work.looked_at == looked_at
