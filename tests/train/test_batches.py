"""Memory and streaming give the same batches. A stream can resume, and processes can share it."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decloud_pl.data.formats.digits import Digits
from decloud_pl.data.source import ImageSplit
from decloud_pl.data.user_files import UserFiles
from decloud_pl.errors import TrainingError
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.fit.batches import (
    BatchReader,
    BatchStream,
    JoinedReader,
    MemoryReader,
    StreamReader,
    packed_bytes,
)
from decloud_pl.train.fit.encoding import encoder_for

ENCODER = encoder_for(ImageInput())


def split(size: int = 23) -> ImageSplit:
    random = np.random.default_rng(0)
    return ImageSplit(random.integers(0, 256, (size, 28, 28), np.uint8), np.arange(size, dtype=np.int64))


def stream(*, workers: int | None = None, limit: int | None = None, rank: int = 0, world: int = 1) -> BatchStream:
    reader: BatchReader
    if workers is None:
        reader = MemoryReader(ENCODER.pack(split()), torch.from_numpy(split().labels))
    else:
        reader = StreamReader(split(), ENCODER, workers=workers)
    return BatchStream(reader, batch_size=5, seed=3, limit=limit, rank=rank, world=world)


def labels(batches: list[tuple[torch.Tensor, ...]]) -> list[list[int]]:
    return [batch[1].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_those_from_memory(workers: int) -> None:
    memory, streamed = stream(), stream(workers=workers)
    for _ in range(2):
        for ours, theirs in zip(list(memory), list(streamed), strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("streams", [False, True])
def test_two_readers_joined_read_like_one(streams: bool) -> None:
    whole, parts = split(), list[BatchReader]()
    for part in (whole.take(np.arange(7)), whole.take(np.arange(7, len(whole)))):
        packed = MemoryReader(ENCODER.pack(part), torch.from_numpy(part.labels))
        parts.append(StreamReader(part, ENCODER, workers=0) if streams else packed)
    joined = JoinedReader(*parts)
    assert len(joined) == len(whole)
    batches = [torch.arange(5), torch.arange(3, 9), torch.arange(8, len(whole))]
    one = MemoryReader(ENCODER.pack(whole), torch.from_numpy(whole.labels))
    for ours, expected in zip(joined.read(batches), one.read(batches), strict=True):
        assert torch.equal(ours[0], expected[0])
        assert torch.equal(ours[1], expected[1])


def test_workers_need_no_socket_in_the_folder_of_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A socket's path has at most 107 bytes. A worker could not pass a tensor, and the loader would wait forever.
    folder = tmp_path / ("t" * 115)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert labels(list(stream(workers=2))) == labels(list(stream()))
    assert list(folder.iterdir()) == []


def test_batches_are_read_here_where_no_worker_can_be_started(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    streamed = stream(workers=2)
    first_free = os.open(os.devnull, os.O_RDONLY)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        found = labels(list(streamed))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == labels(list(stream()))
    assert "Cannot start worker processes" in caplog.text


def test_streaming_draws_no_random_number_that_training_would_miss() -> None:
    before = torch.get_rng_state()
    list(stream(workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_sample_once_in_another_order_each_epoch() -> None:
    batches = stream()
    first, second = labels(list(batches)), labels(list(batches))
    for epoch in (first, second):
        assert sorted(label for batch in epoch for label in batch) == list(range(23))
    assert first != second
    assert [len(batch) for batch in first] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("limit", [None, 4])
@pytest.mark.parametrize("taken", [0, 2, 4, 5, 7])
def test_an_order_is_taken_up_again_where_it_was_left(taken: int, limit: int | None) -> None:
    whole = stream(limit=limit)
    expected = labels([*whole, *whole])
    seen: list[tuple[torch.Tensor, ...]] = []
    left = stream(limit=limit)
    while len(seen) < taken:
        for batch in left:
            seen.append(batch)
            if len(seen) == taken:
                break
    again = stream(limit=limit)
    again.load_state_dict(left.state_dict())
    rest = [*again] if 2 * taken >= len(expected) else [*again, *again]
    assert labels([*seen, *rest]) == expected


def test_processes_share_every_batch_and_weigh_their_parts() -> None:
    whole = list(stream())
    parts = [list(stream(rank=rank, world=4)) for rank in range(4)]
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        weights = [float(share[2]) if len(share) == 3 else 1.0 for share in shares]
        counted = [share[1] for share, weight in zip(shares, weights, strict=True) if weight]
        assert torch.equal(torch.cat(counted), batch[1])
        # The average of weight × mean over the processes is the mean over the batch.
        means = [float(share[1].float().mean()) * weight for share, weight in zip(shares, weights, strict=True)]
        assert sum(means) / 4 == pytest.approx(float(batch[1].float().mean()))


def test_what_a_split_takes_is_known_before_it_is_packed() -> None:
    packed = ENCODER.pack(split())
    assert packed_bytes(split(), ENCODER) == packed.numel() * packed.element_size()
    assert packed_bytes(split(0), ENCODER) == 0


def test_batches_for_a_gpu_are_page_locked_even_if_the_rows_were_read_before_the_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from decloud_pl.train.fit.datamodule import RoundDataModule  # imports Lightning, which takes seconds

    locked: list[torch.Tensor] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:  # without a GPU, PyTorch has no page-locked memory
        locked.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    for memory_bytes in (1 << 30, 0):
        data = RoundDataModule(Digits(), ImageInput(), batch_size=500, memory_bytes=memory_bytes, workers=0)
        assert data.training_samples > 0
        list(data.train_dataloader())
        for fit in (data.again(), data.with_held_out()):
            assert locked == []
            place = SimpleNamespace(root_device=torch.device("cuda"))
            fit.trainer = SimpleNamespace(  # type: ignore[assignment]  # what the data module reads of a Trainer
                strategy=place, limit_train_batches=1.0, current_epoch=0, global_rank=0, world_size=1
            )
            for stream in (fit.train_dataloader(), fit.val_dataloader(), fit.test_dataloader()):
                assert [id(tensor) for batch in stream for tensor in batch] == [id(tensor) for tensor in locked]
                locked.clear()


def test_a_held_out_part_that_is_too_large_is_refused_before_it_is_packed(tmp_path: Path) -> None:
    from decloud_pl.train.fit.datamodule import RoundDataModule  # imports Lightning, which takes seconds

    np.savez(tmp_path / "data.npz", images=np.zeros((9000, 8, 8, 3), np.uint8), labels=np.arange(9000) % 2)
    source = UserFiles("custom", str(tmp_path / "data.npz"))
    data = RoundDataModule(source, ImageInput(size=1024))
    with pytest.raises(
        TrainingError, match=r"The held-out part takes 2,160 MB .* more than 2,048 MB\. Raise fit\.data_"
    ):
        data.held_out.judge.load()
