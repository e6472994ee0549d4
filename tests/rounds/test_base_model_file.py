"""The base model in a round's folder is always the verified download."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from decloud_pl.rounds.round_files import fetch_base_model
from decloud_pl.store.fetch.fetcher import NEVER, Fetched
from decloud_pl.train.plan import BASE_MODEL_FILE


class Source:
    """Returns the same bytes for every CID."""

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        scratch = destination.with_name("scratch")
        scratch.write_bytes(b"the model")
        scratch.replace(destination)
        return Fetched("here", 9)


def link_elsewhere(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    path.with_name("elsewhere").write_bytes(b"another one")


@pytest.mark.parametrize("put", [link_elsewhere, os.mkfifo], ids=["link", "pipe"])
def test_a_link_or_a_pipe_in_its_place_is_replaced(put: Callable[[Path], None], tmp_path: Path) -> None:
    put(tmp_path / BASE_MODEL_FILE)
    path = fetch_base_model(tmp_path, "cid", Source(), max_bytes=100)
    assert not path.is_symlink()
    assert path.read_bytes() == b"the model"
