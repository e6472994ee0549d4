"""The quarantine opens hostile base models, model packages and updates."""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from decloud_pl.errors import ModelError
from decloud_pl.models import ImageInput, ModelSpec, save
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.opening import ProcessLimits
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.models.registry import build
from tests.daemon.test_strangers import pickle_that_runs_a_command
from tests.hostile.conftest import MOST_MEGABYTES, MOST_SECONDS
from tests.models.quarantine.test_checks import with_header, with_pickle
from tests.models.quarantine.test_opening import child_of, many_tensors

State = dict[str, torch.Tensor]


def _weights() -> State:
    return dict(build("simple_cnn", {"num_classes": 10}).state_dict())


def _saved(change: Callable[[State], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        state = _weights()
        change(state)
        torch.save(state, path)

    return make


def _not_finite(state: State) -> None:
    state["conv1.weight"][0] = torch.nan


def _forged_sparse(state: State) -> None:
    state["conv1.weight"] = torch.sparse_coo_tensor(
        torch.tensor([[2**60]]), torch.ones(1), (2**61,), check_invariants=False
    )


def _truncated(path: Path) -> None:
    torch.save(_weights(), path)
    path.write_bytes(path.read_bytes()[:-10_000])


def _many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"archive/{number}", b"")


def _pickle(stream: bytes) -> Callable[[Path], object]:
    return lambda path: with_pickle(path, stream)


def _header(length: int, content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(struct.pack("<Q", length) + content)


def _tensor(dtype: str, shape: list[float], offsets: list[int]) -> Callable[[Path], object]:
    one = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    return lambda path: with_header(path, {"fc2.bias": one}, bytes(16))


def _described(**description: str) -> Callable[[Path], object]:
    """Return a function that writes a package with this description."""
    given = {"format_version": "1", "architecture": "mlp", "hyper_parameters": "{}", "input": "{}", **description}
    content = json.dumps({"__metadata__": given}).encode()
    return _header(len(content), content)


def _of_mlp(hyper_parameters: str) -> Callable[[Path], object]:
    return _described(hyper_parameters=hyper_parameters)


def _wrong_input(path: Path) -> None:
    state = build("simple_cnn", {"num_classes": 4}).state_dict()
    save(path, ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput(size=64)), dict(state))


def _zip_without_end(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    path.write_bytes(path.read_bytes()[:-22] + b"\xff" * 22)


def _sparse(places: list[int], shape: tuple[int, ...]) -> Callable[[Path], object]:
    indices = torch.tensor([places], dtype=torch.int64)
    forged = torch.sparse_coo_tensor(indices, torch.ones(len(places)), shape, check_invariants=False)
    return lambda path: torch.save({"fc2.bias": forged}, path)


def _four_gigabytes(path: Path) -> None:
    path.touch()
    os.truncate(path, 4 << 30)


PICKLES: dict[str, Callable[[Path], object]] = {
    "a command": pickle_that_runs_a_command,
    "a bare pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "20 MB of marks": _pickle(b"(" * 20_000_000),
    "a bytearray of 2 GiB": _pickle(b"cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R"),
    "a bytearray of 2 GiB in protocol 5": _pickle(b"\x96" + struct.pack("<Q", 2 << 30)),
    "a number of 10 MB": _pickle(b"L" + b"9" * 10_000_000 + b"L\n"),
    "a function by its name": _pickle(b"cos\nsystem\nX\x02\x00\x00\x00id\x85R"),
    "a function by the stack": _pickle(b"\x8c\x02os\x8c\x06system\x93"),
    "endless tuples": _pickle(b")q\x00" + b"(h\x00h\x00tq\x00" * 60),
    "endless nesting": _pickle(b")" + b"\x85" * 100_000),
    "a storage of 2 GiB": _pickle(b"ctorch\nUntypedStorage\nJ\x00\x00\x00\x7f\x85R"),
    "an object that builds itself": _pickle(b"ccollections\nOrderedDict\n)R}b"),
    "a persistent object": _pickle(b"Px\n"),
    "not a pickle": _pickle(b"\xff\xfe\xfd"),
}
FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "a page": lambda path: path.write_bytes(b"<html>Please log in</html>"),
    "noise": lambda path: path.write_bytes(os.urandom(1 << 20)),
    "zeros": lambda path: path.write_bytes(bytes(1 << 20)),
    "four gigabytes": _four_gigabytes,
    "truncated": _truncated,
    "a zip without an end": _zip_without_end,
    "20,000 members": _many_members,
    "100,000 tensors": many_tensors,
    "another tensor": _saved(lambda state: state.update(extra=torch.zeros(3))),
    "values that are not finite": _saved(_not_finite),
    "a forged sparse tensor": _saved(_forged_sparse),
    "a header of 2^60 bytes": _header(1 << 60, b"{}"),
    "a header of 100 MB": _header(100 << 20, b"{" + b" " * (100 << 20)),
    "a header of brackets": _header(200_000, b"[" * 200_000),
    "a header that is not JSON": _header(3, b"\xff{}"),
    "a too large shape": _tensor("F32", [2**62, 2**62], [0, 16]),
    "a negative shape": _tensor("F32", [-4], [0, 16]),
    "data that end before their start": _tensor("F32", [4], [8, 0]),
    "an unknown type": _tensor("\x1b[31mF32", [4], [0, 16]),
}
PACKAGES: dict[str, Callable[[Path], object]] = {
    "no architecture": _described(architecture="none"),
    "an architecture in escape sequences": _described(architecture="\x1b[2J\u202emlp"),
    "an architecture that is a path": _described(architecture="../../os.system"),
    "an architecture of torchvision without an end": _described(architecture="torchvision." + "x" * 100_000),
    "a format of the future": _described(format_version="99"),
    "an invalid format": _described(format_version="x"),
    "an input of brackets": _described(input="[" * 100_000),
    "an invalid input": _described(input='{"kind":"smell"}'),
    "an input of 10^9 pixels": _described(architecture="simple_cnn", input='{"kind":"image","size":1000000000}'),
    "hyper-parameters of brackets": _of_mlp("[" * 100_000),
    "hyper-parameters that are a list": _of_mlp("[1]"),
    "a width of 10^9": _of_mlp('{"num_classes":10,"width":1000000000}'),
    "a negative width": _of_mlp('{"num_classes":10,"width":-1}'),
    "endless classes": _of_mlp('{"num_classes":1e308}'),
    "an argument that no network has": _of_mlp('{"num_classes":10,"__class__":"x"}'),
    "an input that its network cannot take": _wrong_input,
}
UPDATES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: torch.save({}, path),
    "a list": lambda path: torch.save([1], path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a number in place of a tensor": lambda path: torch.save({"fc2.bias": 1.0}, path),
    "a nested dictionary": lambda path: torch.save({"fc2.bias": {"bias": torch.zeros(4)}}, path),
    "another shape": lambda path: torch.save({"fc2.bias": torch.zeros(5)}, path),
    "a shape of a terabyte": lambda path: torch.save({"fc2.bias": torch.zeros(1).expand(2**40)}, path),
    "values above float32": lambda path: torch.save({"fc2.bias": torch.full((4,), 1e300, dtype=torch.float64)}, path),
    "complex values": lambda path: torch.save({"fc2.bias": torch.zeros(4, dtype=torch.complex64)}, path),
    "values without a device": lambda path: torch.save({"fc2.bias": torch.zeros(4, device="meta")}, path),
    "a sparse tensor that points outside": _sparse([900], (4,)),
    "a sparse tensor of a terabyte": _sparse([], (2**40,)),
    "a command": pickle_that_runs_a_command,
    "20 MB of marks": _pickle(b"(" * 20_000_000),
}
BASES = {**PICKLES, **FILES, **PACKAGES}
INPUTS = [*BASES, *UPDATES]


MEMORY = 190 << 20
"""The memory limit for a file, in addition to torch's memory."""


@pytest.fixture(scope="module")
def quarantine() -> Iterator[WarmQuarantine]:
    with WarmQuarantine(ProcessLimits(memory_bytes=MEMORY, wall_seconds=60)) as made:
        yield made


@pytest.fixture(scope="module")
def base(quarantine: WarmQuarantine, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The base model that the updates are for."""
    folder = tmp_path_factory.mktemp("base")
    state = build("simple_cnn", {"num_classes": 4}).state_dict()
    save(folder / "model", ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput()), dict(state))
    opened = quarantine.open_base_model(folder / "model", folder / "opened")
    libraries = child_of(psutil.Process()).memory_full_info().uss  # without memory that libraries share as files
    assert libraries + MEMORY < MOST_MEGABYTES * 2**20
    return opened


def in_one_sentence(open_it: Callable[[Path, Path], object], make: Callable[[Path], object], folder: Path) -> None:
    path, out = folder / "file", folder / "opened"
    make(path)
    begun = time.monotonic()
    with pytest.raises(ModelError) as caught:
        open_it(path, out)
    assert time.monotonic() - begun < MOST_SECONDS
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert not out.exists()
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("name", BASES)
def test_a_base_model(name: str, quarantine: WarmQuarantine, tmp_path: Path) -> None:
    in_one_sentence(quarantine.open_base_model, BASES[name], tmp_path)


@pytest.mark.parametrize("name", UPDATES)
def test_an_update(name: str, quarantine: WarmQuarantine, base: BaseModel, tmp_path: Path) -> None:
    in_one_sentence(lambda path, out: quarantine.open_submission(path, base, out), UPDATES[name], tmp_path)
