"""The limit of the downloads of background work."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from decloud_pl.errors import SizeLimitExceeded
from decloud_pl.rounds.background import DailyLimitExceeded, Metered
from decloud_pl.store.fetch.fetcher import FROM_CACHE, NEVER, Fetched


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
