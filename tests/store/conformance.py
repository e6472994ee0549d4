"""The tests that every store must pass. Subclass `StoreConformance` and provide a store."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from decloud_pl.errors import StoreError
from decloud_pl.store import Store
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import profile_of


class StoreConformance(ABC):
    """The suite. The name of a subclass starts with ``Test``. A subclass may restrict `profiles`."""

    @pytest.fixture
    @abstractmethod
    def store(self, tmp_path: Path) -> Store:
        """An empty store."""

    @abstractmethod
    def kept(self, store: Store, cid: str) -> bytes | None:
        """Return the store's bytes for a CID, by any means; None if the store does not have the file."""

    @pytest.fixture(params=[0, 1, 262_144, 600_001])
    def file(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = tmp_path / "submission ü.pt"
        path.write_bytes(random.Random(5).randbytes(request.param))
        return path

    def test_it_has_a_name(self, store: Store) -> None:
        assert store.name
        assert store.name == store.name.strip()

    def test_a_file_is_kept_under_a_cid_of_its_bytes(self, store: Store, file: Path) -> None:
        stored = store.put(file)
        assert profile_of(file, Cid.parse(stored.cid)) is not None
        assert stored.size == file.stat().st_size
        assert self.kept(store, stored.cid) == file.read_bytes()

    def test_putting_twice_gives_the_same(self, store: Store, file: Path) -> None:
        first = store.put(file)
        assert store.put(file) == first
        assert self.kept(store, first.cid) == file.read_bytes()

    def test_different_files_have_different_cids(self, store: Store, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_bytes(file.read_bytes() + b"x")
        first, second = store.put(file), store.put(other)
        assert first.cid != second.cid
        assert self.kept(store, first.cid) == file.read_bytes()
        assert self.kept(store, second.cid) == other.read_bytes()

    def test_the_file_is_copied_and_not_moved_or_linked(self, store: Store, file: Path) -> None:
        before = file.read_bytes()
        stored = store.put(file)
        assert file.read_bytes() == before
        file.write_bytes(b"changed afterwards")
        assert self.kept(store, stored.cid) == before

    def test_a_file_that_does_not_exist_is_a_store_error(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StoreError) as refused:
            store.put(tmp_path / "absent")
        assert "absent" in str(refused.value)
