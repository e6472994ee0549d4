"""Trainings that run at the same time share the machine without using each other's GPUs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from decloud_pl.executors.shares import Shares, gpus_of, visible_gpus


@pytest.mark.parametrize(
    ("workers", "gpus", "expected"),
    [
        (1, "", [()]),
        (1, "01", [("0", "1")]),
        (2, "01", [("0",), ("1",)]),
        (2, "012", [("0",), ("1", "2")]),
        (3, "01", [("0",), ("1",), ("0",)]),
        (2, "", [(), ()]),
    ],
)
def test_gpus_are_divided(workers: int, gpus: str, expected: list[tuple[str, ...]]) -> None:
    assert [gpus_of(worker, workers, tuple(gpus)) for worker in range(workers)] == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, "0 1 2"),
        ("", ""),
        ("-1", ""),
        ("0,-1", "0"),
        ("1,-1,0", "1"),
        (" 2, 0 ", "2 0"),
        ("0,,1", "0"),
        ("0,7,1", "0"),
        ("3", ""),
        ("1,1", ""),
        ("NoDevFiles", ""),
        ("GPU-7, GPU-8", "GPU-7 GPU-8"),
        ("GPU-7,1", "GPU-7"),
        ("GPU-7,GPU-7", ""),
        ("MIG-a,-1,MIG-b", "MIG-a"),
        ("1,GPU-7", "1"),
    ],
)
def test_devices_are_hidden_as_cuda_does(chosen: str | None, expected: str, tmp_path: Path) -> None:
    environ = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert visible_gpus(environ, tmp_path) == ()
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus(environ, tmp_path) == tuple(expected.split())


def test_windows_subsystem_for_linux_does_not_say_how_many_there_are(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,-1"}, tmp_path) == ("0",)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == ()


async def test_no_more_than_there_are_places_and_no_gpu_twice() -> None:
    shares = Shares(2, ("0", "1"))
    held: list[str] = []
    most = 0

    async def train() -> None:
        nonlocal most
        async with shares.take() as environment:
            device = environment["CUDA_VISIBLE_DEVICES"]
            assert device not in held
            held.append(device)
            most = max(most, len(held))
            await asyncio.sleep(0)
            held.remove(device)

    await asyncio.gather(*(train() for _ in range(10)))
    assert most == 2


async def test_a_place_is_given_back_when_its_training_fails() -> None:
    shares = Shares(1)

    async def fail() -> None:
        async with shares.take() as environment:
            assert environment == {}
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            await fail()
