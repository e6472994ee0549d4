"""Opening files from strangers: in a child process that has nothing to lose.

The child (`child`) starts in isolated mode with an empty environment, in a session of its own, with
limits on memory, processor time, file size and wall time. It reads the file with ``weights_only=True`` and
without any fallback, checks names, shapes, dtypes and finiteness, and writes what passed as safetensors. This
process opens only that, and believes nothing else about the file than what it can read there.

What this does not cover: a defect in torch's own reader that gives the child's process away; the child still
runs as this user. It holds no secret, but it could read this user's files.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.children import kill_group, output_of
from decloud_pl.errors import MachineShortage, ModelError, UntrustedFileRejected
from decloud_pl.models.package import read_spec
from decloud_pl.models.registry import plug_in_folders
from decloud_pl.models.spec import BaseModel, ModelSpec
from decloud_pl.shortage import can_give, killed

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
"""All that a child gets of it."""
_WHO = "The process that opened the file"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What a file may cost: the bytes of the largest file to look at, and the seconds until the child is killed.

    ``memory_bytes`` is what the child may take beyond its libraries, and the largest file it may write.
    """

    file_bytes: int = 2 << 30
    memory_bytes: int = 6 << 30
    wall_seconds: float = 120.0


def asked(request: Mapping[str, Any], path: Path, limits: ProcessLimits) -> dict[str, Any]:
    """What a child is asked, complete.

    Raises:
        UntrustedFileRejected: the file is too large to be looked at.
        ModelError: it is not there.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", fix="Get the file again.") from error
    if size > limits.file_bytes:
        raise UntrustedFileRejected(
            f"The file is too large: {size:,} bytes; at most {limits.file_bytes:,} are accepted.",
            fix="It was not opened.",
        )
    bounds = {"file_bytes": limits.file_bytes, "memory_bytes": limits.memory_bytes}
    return {**request, **bounds, "path": str(path), "plug_ins": plug_in_folders()}


def believed(output: bytes, code: int, limits: ProcessLimits) -> dict[str, Any]:
    """A child's answer.

    Without one its end tells whose fault that is. The child meets its own limit of processor time with SIGXCPU; SIGKILL
    comes from outside, for example because the machine's memory ran out. An exit code other than 0 means that it never
    came to the file. Where the child met its limit of memory, this process asks the machine for as much: if that cannot
    be had, the machine is short of memory, and otherwise the file wants too much.

    Args:
        output: what it wrote.
        code: its exit code, or the negative number of the signal that ended it.
        limits: what it was allowed.

    Raises:
        UntrustedFileRejected: the file was refused, or the child did not survive it.
        MachineShortage: this machine could not open the file, whatever is in it.
    """
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {"ended": code}
    if isinstance(ended := answer.get("ended"), int):
        outside = killed(_WHO, ended)
        if outside is not None:
            raise outside
        if ended > 0:
            raise MachineShortage(f"{_WHO} could not begin: it ended with exit code {ended}.")
        busy = ended == -signal.SIGXCPU
        answer = {"refused": f"{_WHO} {'needed too much processor time' if busy else 'did not survive it'}."}
    if "short" in answer:
        raise MachineShortage(str(answer["short"]), fix=str(answer.get("fix", "")))
    if "refused" in answer:
        if answer.get("memory") and not can_give(limits.memory_bytes):
            raise MachineShortage(
                f"This machine has less than the {limits.memory_bytes >> 20:,} MB of memory that a file may need.",
                fix="Close other programs.",
            )
        raise UntrustedFileRejected(str(answer["refused"]), fix="The file was not used.")
    return answer


class Opening:
    """A file that is being opened; lets the caller do something else until `result`."""

    def __init__(self, request: dict[str, Any], path: Path, limits: ProcessLimits) -> None:
        self._limits = limits
        command = _child(request, path, limits)
        stdin, self._lifeline = os.pipe()  # closes with this process, however that ends, and ends the child
        try:
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(stdin)
        self._ended = False

    def result(self) -> dict[str, Any]:
        """What the child found.

        Raises:
            UntrustedFileRejected, MachineShortage: see `believed`.
        """
        try:
            output, _ = self._process.communicate(timeout=self._limits.wall_seconds)
        except subprocess.TimeoutExpired:
            raise UntrustedFileRejected("The file took too long to open.", fix="It was not used.") from None
        finally:
            self.cancel()
        return believed(output, self._process.returncode, self._limits)

    def cancel(self) -> None:
        """Ends the child and whatever it may have started; at the second call there is nothing left to end."""
        if self._ended:
            return
        self._ended = True  # the child's number may be another process's from here on
        kill_group(self._process.pid)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._lifeline)


class BaseModelOpening(Opening):
    """A base model on its way through quarantine; ``spec`` says what a ``.pt`` file is instead of its names."""

    def __init__(
        self, path: Path, out: Path, limits: ProcessLimits | None = None, *, spec: ModelSpec | None = None
    ) -> None:
        self._out = out
        metadata = None if spec is None else spec.to_metadata()
        super().__init__({"kind": "base", "out": str(out), "metadata": metadata}, path, limits or ProcessLimits())

    def model(self) -> BaseModel:
        """The model.

        Raises:
            UntrustedFileRejected, MachineShortage: see `believed`.
        """
        classes = int(self.result()["classes"])
        return BaseModel(read_spec(self._out), self._out, classes)


def open_base_model(path: str | Path, out: str | Path | None = None, limits: ProcessLimits | None = None) -> BaseModel:
    """Opens a base model: a ``.pt`` state dict of a known network, or a model package.

    Args:
        path: a file of any origin, or a link of the user's to one.
        out: the model package to write; None for a temporary one, which is gone when this process ends.
        limits: what it may cost.

    Raises:
        UntrustedFileRejected: the file was refused, or it is a pipe or a device, for example.
        ModelError: it is not there.
        MachineShortage: this machine could not open it, whatever is in it.
    """
    path = followed(Path(path))
    if out is None:
        folder = tempfile.TemporaryDirectory(prefix="decloud-model-")
        atexit.register(folder.cleanup)
        out = Path(folder.name) / "base.safetensors"
    return BaseModelOpening(path, Path(out), limits).model()


async def open_in_task(path: Path, out: Path, limits: ProcessLimits | None = None) -> BaseModel:
    """As `open_base_model`; a cancellation of the task ends the child."""
    limits = limits or ProcessLimits()
    command = _child({"kind": "base", "out": str(out), "metadata": None}, path, limits)
    try:
        output = await output_of(command, seconds=limits.wall_seconds, env=ENVIRONMENT)
    except TimeoutError:
        raise UntrustedFileRejected("The file took too long to open.", fix="It was not used.") from None
    classes = int(believed(output.out, output.code, limits)["classes"])
    return BaseModel(read_spec(out), out, classes)


def _child(request: Mapping[str, Any], path: Path, limits: ProcessLimits) -> list[str]:
    arguments = asked(request, path, limits)
    return [sys.executable, "-I", "-m", "decloud_pl.models.quarantine", json.dumps(arguments)]


def followed(path: Path) -> Path:
    """Where a path that the user gave leads to: the child follows no link.

    Raises:
        UntrustedFileRejected: to no regular file.
    """
    with contextlib.suppress(OSError):  # `asked` says what is wrong
        if not stat.S_ISREG(path.stat().st_mode):
            raise UntrustedFileRejected(f"{path} is not a regular file.", fix="It was not opened.")
        return path.resolve()
    return path


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file holds: its format, ``state_dict`` or ``safetensors``, and name, type and shape of each tensor.

    ``model`` is the base model that it is; None where it is none, and ``problem`` says why.
    """

    format: str
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    model: BaseModel | None
    problem: str


def inspect_file(path: Path, out: Path) -> Inspection:
    """Looks into a file of unknown origin: a ``.pt`` dictionary of tensors or a safetensors file.

    ``out`` is the model package to write where it is a base model.

    Raises:
        UntrustedFileRejected: it is no such file, or it was refused.
    """
    answer = Opening({"kind": "inspect", "out": str(out)}, followed(path), ProcessLimits()).result()
    tensors = tuple((str(name), str(dtype), tuple(shape)) for name, dtype, shape in answer["tensors"])
    model = BaseModel(read_spec(out), out, int(answer["classes"])) if "classes" in answer else None
    return Inspection(str(answer["format"]), tensors, model, str(answer.get("problem", "")))


def open_submission(path: Path, base: BaseModel, out: Path) -> Path:
    """Opens a submission from the network: a ``.pt`` dictionary from parameter name to tensor.

    It must have the names and shapes of ``base``. ``out`` is the safetensors file to write, with dense float32 tensors
    (integers stay integers).

    Raises:
        UntrustedFileRejected: the file was refused.
    """
    request = {"kind": "submission", "out": str(out), "base": str(base.weights)}
    Opening(request, path, ProcessLimits()).result()
    return out
