"""The quarantine child: opens one file and writes the result as one JSON document."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import stat
import sys
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from decloud_pl.children import exit_with_parent
from decloud_pl.errors import ModelError
from decloud_pl.legible import legible
from decloud_pl.models import package
from decloud_pl.models.checks import TORCH_ERRORS, check_finite, count_classes
from decloud_pl.models.limits import LONGEST_NAME
from decloud_pl.models.networks.simple_cnn import PARAMETERS
from decloud_pl.models.quarantine import pickles
from decloud_pl.models.spec import ModelSpec
from decloud_pl.own_memory import limit_memory, lower_limit
from decloud_pl.shortage import is_memory, shortage

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.int16, torch.int8)
_LONGEST_NAME = 256
_MOST_ARCHIVE_EXTRAS = 100  # members of a .pt archive that are not tensors
_NO_TENSORS = "The file holds objects other than supported tensors. Code in it was not executed."
_CPU_SECONDS = 100
_CPU_SECONDS_AT_MOST = 200  # the hard limit for a child that ignores SIGXCPU; the wall-clock limit is two minutes
_NOT_SURVIVED = "The process that opened the file crashed."
_RANDOM = (torch.Tensor.normal_, torch.Tensor.uniform_)

State = Mapping[str, torch.Tensor]


class Refused(Exception):
    """The file was refused. The message is one sentence with the reason."""


class _WithoutInitialisation(TorchFunctionMode):
    """Skips the random initialization of a neural network of meta tensors.

    Meta tensors hold no values, and torch would import its compiler to initialize them.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _RANDOM or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def main(request: str) -> None:
    """Open the file that a request names and write the result. The request is JSON, for example ``{"kind": …}``."""
    # Send the output of libraries to stderr, so that it cannot be mistaken for the answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    open_one(json.loads(request), answers)


def open_one(request: Mapping[str, Any], answers: int) -> None:
    """Restrict this process, open the file and write the result.

    Args:
        request: the request as built by `opening.asked`.
        answers: the file descriptor for the result.
    """
    exit_with_parent()
    sys.path.extend(request["plug_ins"])
    torch.set_num_threads(1)
    _limit(request["memory_bytes"])
    try:
        found = _found(request)
    except Exception as error:  # noqa: BLE001 - a file can make the readers raise almost any exception
        found = _refusal(error)
    with os.fdopen(answers, "w", encoding="utf-8") as answer:
        json.dump(found, answer)


def _found(request: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    # Check and read the same open file, even if the path is replaced in the meantime.
    file = _opened(path, request["file_bytes"])
    try:
        own = Path(f"/proc/self/fd/{file}")
        return _answer(request, own if own.exists() else path, Path(request["out"]))
    finally:
        os.close(file)


def _opened(path: Path, most: int) -> int:
    """Open a regular file of at most ``most`` bytes and return its descriptor. Opening a pipe does not block."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):  # a link, a socket, a device without a driver
            raise Refused("The path is not a regular file.") from error
        raise
    described = os.fstat(file)
    if not stat.S_ISREG(described.st_mode):
        raise Refused("The path is not a regular file.")
    if described.st_size > most:
        raise Refused(f"The file is too large: {described.st_size:,} bytes; at most {most:,} are accepted.")
    return file


def _refusal(error: Exception) -> dict[str, Any]:
    """Return the answer that says why a file could not be opened."""
    if isinstance(error, Refused):
        return {"refused": str(error)}
    if is_memory(error):  # this process's limit or the machine's: the parent finds out which
        return {"refused": "The file needs more memory than the limit allows.", "memory": True}
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return {"refused": "The converted file would exceed the size limit."}
    missing = shortage(error)
    if missing is not None:
        return {"short": missing.message, "fix": missing.fix}
    if isinstance(error, ModelError):
        return {"refused": error.message}
    if isinstance(error, RuntimeError):
        return {"refused": "The file cannot be used as a model."}
    return {"refused": _NOT_SURVIVED}


def _answer(request: Mapping[str, Any], path: Path, out: Path) -> dict[str, Any]:
    if request["kind"] == "submission":
        return check_submission(path, Path(request["base"]), out)
    if request["kind"] == "inspect":
        return _inspect(path, out)
    metadata = request.get("metadata")
    return check_base(path, out, None if metadata is None else ModelSpec.from_metadata(metadata))


def _limit(memory_bytes: int) -> None:
    """Set this process's limits. Call it after the libraries are loaded, so that their memory does not count."""
    limit_memory(memory_bytes)
    # The soft limit is lower: it sends SIGXCPU, which differs from a SIGKILL from outside.
    lower_limit(resource.RLIMIT_CPU, _CPU_SECONDS, _CPU_SECONDS_AT_MOST)
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_FSIZE, memory_bytes)
    lower_limit(resource.RLIMIT_NOFILE, 64)


def check_base(path: Path, out: Path, described: ModelSpec | None = None) -> dict[str, Any]:
    if _is_zip(path):
        state = _load_pt(path)
        spec = described or _recognise(state)
    else:
        spec = package.read_spec(path)
        state = _load_safetensors(path)
    # A view of a few bytes can have a shape of any size.
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > 2 * path.stat().st_size:
        raise Refused("The file's tensors declare more data than the file holds.")
    with torch.device("meta"), _WithoutInitialisation():
        expected = spec.network().state_dict()
    _check_shapes(state, expected, complete=True)
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point != expected[name].dtype.is_floating_point:
            raise Refused(f"The tensor {name} has the type {tensor.dtype}, not {expected[name].dtype}.")
    # Move the tensors one by one, so that the model is not in memory twice.
    weights = {name: _dense(name, state.pop(name)).to(start.dtype) for name, start in expected.items()}
    check_finite(weights)
    classes = count_classes(spec, weights)
    package.save(out, spec, weights)
    return {"classes": classes}


def check_submission(path: Path, base: Path, out: Path) -> dict[str, Any]:
    if not _is_zip(path):
        raise Refused("The submission was not written by torch.save.")
    expected = load_file(str(base))
    state = _load_pt(path, names=expected.keys())  # validators read only entries with the names of the model's tensors
    # Check the shapes first: a sparse tensor of a few bytes can expand to any size.
    _check_shapes(state, expected, complete=False)
    entries = {name: _dense(name, tensor) for name, tensor in state.items()}
    entries = {name: entry.float() if entry.dtype.is_floating_point else entry for name, entry in entries.items()}
    check_finite(entries)
    save_file(entries, str(out))
    return {"tensors": len(entries)}


def _inspect(path: Path, out: Path) -> dict[str, Any]:
    """Return a file's format and its tensors, and whether the file can be used as a base model.

    If it can, the key ``classes`` holds the number of classes. If it cannot, the key ``problem`` holds the reason.
    """
    state = _load_pt(path) if _is_zip(path) else _load_safetensors(path)
    tensors = [[name, str(value.dtype).removeprefix("torch."), list(value.shape)] for name, value in state.items()]
    found: dict[str, Any] = {"format": "state_dict" if _is_zip(path) else "safetensors", "tensors": tensors}
    del state
    try:
        return {**found, **check_base(path, out)}
    except Refused as refusal:
        return {**found, "problem": str(refusal)}
    except ModelError as error:
        return {**found, "problem": error.message}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _load_pt(path: Path, names: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """Load a dictionary of tensors that torch.save wrote; refuse any other content. Skip names not in ``names``."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise Refused("The file is truncated or damaged.") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Refused("The file is compressed, but torch.save writes uncompressed files.")
    if sum(member.file_size for member in members) > size or len(members) > package.MAX_TENSORS + _MOST_ARCHIVE_EXTRAS:
        raise Refused("The file's archive has too many members, or declares more data than the file holds.")
    if any(member.filename.endswith("/data.pkl") and member.file_size > pickles.MAX_BYTES for member in members):
        raise Refused(_NO_TENSORS)
    try:
        # Use torch's own reader: in a crafted archive another reader may find another pickle.
        pickle_data = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")  # noqa: SLF001
        if not pickles.holds_tensors_only(pickle_data):
            raise Refused(_NO_TENSORS)
        del pickle_data
        with torch.sparse.check_sparse_tensor_invariants(), warnings.catch_warnings():  # type: ignore[no-untyped-call]
            warnings.filterwarnings("ignore", message="Validating sparse tensor invariants")  # the cost is accepted
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Refused(_NO_TENSORS) from error
    except TORCH_ERRORS as error:
        if is_memory(error):
            raise MemoryError from error
        raise Refused("The file is damaged or holds invalid tensors.") from error
    if not isinstance(value, dict) or not value:
        raise Refused("The file does not hold a dictionary of tensors.")
    if names is not None:
        value = {name: entry for name, entry in value.items() if name in names}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise Refused("The file's dictionary must map names to tensors only.")
        if len(name) > _LONGEST_NAME:
            raise Refused(f"The file has a tensor whose name is longer than {_LONGEST_NAME} characters.")
    return value


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    package.read_header(path)
    try:
        return load_file(str(path))
    except SafetensorError as error:
        raise Refused("The model package is truncated or damaged.") from error


def _recognise(state: State) -> ModelSpec:
    """Return the description of the model that a bare state dict belongs to. The tensors' names identify the model."""
    if set(state) == set(PARAMETERS) and state["fc2.weight"].dim() == 2:
        classes = int(state["fc2.weight"].shape[0])
        return ModelSpec("simple_cnn", {"num_classes": classes})
    raise Refused(
        "The tensors match no supported network. In a file that is not a model package, only simple_cnn is recognized."
    )


def _check_shapes(state: State, expected: State, *, complete: bool) -> None:
    unknown, missing = set(state) - set(expected), set(expected) - set(state)
    if unknown:
        raise Refused(f"The file has a tensor '{legible(min(unknown), LONGEST_NAME)}' that the model does not have.")
    if complete and missing:
        raise Refused(f"The file lacks the tensor {min(missing)!r}.")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise Refused(f"The tensor {name} has the shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}.")


def _dense(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a dense, contiguous copy of a tensor."""
    if tensor.layout not in (torch.strided, torch.sparse_coo) or tensor.is_quantized or tensor.device.type != "cpu":
        raise Refused(
            f"The tensor {name} must be on the CPU, must not be quantized, and must be dense or sparse in COO layout."
        )
    if tensor.dtype not in (*_FLOATS, *_INTEGERS):
        raise Refused(
            f"The tensor {name} has the type {tensor.dtype}; only floats, integers and booleans are accepted."
        )
    if tensor.layout is torch.sparse_coo:
        return tensor.to_dense()
    return tensor.detach().clone(memory_format=torch.contiguous_format)
