"""Open untrusted model files in a child process without secrets.

The child (`child`) starts in isolated mode with a minimal environment, in its own session, with limits on memory,
processor time, file size and wall-clock time. It reads the file with ``weights_only=True`` and no fallback. It checks
names, shapes and dtypes, and that all values are finite. It writes the accepted tensors to a safetensors file. This
process opens only that safetensors file.

This does not protect against a vulnerability in torch's own reader through which a file takes over the child. The child
has no secrets, but it runs as this user and could read this user's files.
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

from decloud_pl.children import OOM_OF_STRANGERS, kill_group, output_of
from decloud_pl.errors import MachineShortage, ModelError, UntrustedFileRejected
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.package import read_spec
from decloud_pl.models.registry import plug_in_folders
from decloud_pl.models.spec import ModelSpec
from decloud_pl.shortage import can_give, killed

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
"""The child's whole environment."""
_WHO = "The process that opened the file"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The limits for one file.

    Attributes:
        file_bytes: the size of the largest file to open.
        memory_bytes: the memory that the child may use beyond its libraries. It is also the limit for a file that the
            child writes.
        wall_seconds: the seconds after which the child is killed.
    """

    file_bytes: int = 2 << 30
    memory_bytes: int = 6 << 30
    wall_seconds: float = 120.0


def asked(request: Mapping[str, Any], path: Path, limits: ProcessLimits) -> dict[str, Any]:
    """Add the path, the limits and the folders of plug-ins to a request for the child, and return the complete request.

    Raises:
        UntrustedFileRejected: the file is too large to be opened.
        ModelError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", fix="Check the path, or get the file again."
        ) from error
    if size > limits.file_bytes:
        raise UntrustedFileRejected(
            f"The file is too large: {size:,} bytes; at most {limits.file_bytes:,} are accepted.",
            fix="The file was not opened.",
        )
    bounds = {"file_bytes": limits.file_bytes, "memory_bytes": limits.memory_bytes}
    return {**request, **bounds, "path": str(path), "plug_ins": plug_in_folders()}


def believed(output: bytes, code: int, limits: ProcessLimits) -> dict[str, Any]:
    """Return a child's answer as a dictionary, or raise the error that prevented the child from opening the file.

    If there is no answer, the exit code shows the cause. SIGXCPU means that the child reached its limit of processor
    time. SIGKILL comes from outside, for example because the machine ran out of memory. A positive exit code means that
    the child failed before it opened the file.

    If the child answers that it ran out of memory, this process tries to allocate as much as the child's limit. If that
    fails, the machine lacks memory. Otherwise the file is refused, because it needs too much memory.

    Args:
        output: the child's output.
        code: the child's exit code, or the negative number of the signal that ended the child.
        limits: the child's limits.

    Raises:
        UntrustedFileRejected: the file was refused, or the child crashed.
        MachineShortage: this machine could not open the file, regardless of its content.
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
            raise MachineShortage(f"The process that opens files failed to start: it ended with exit code {ended}.")
        busy = ended == -signal.SIGXCPU
        answer = {"refused": f"{_WHO} {'needed too much processor time' if busy else 'crashed'}."}
    if "short" in answer:
        raise MachineShortage(str(answer["short"]), fix=str(answer.get("fix", "")))
    if "refused" in answer:
        if answer.get("memory") and not can_give(limits.memory_bytes):
            raise MachineShortage(
                f"Opening a file may need {limits.memory_bytes >> 20:,} MB of memory, "
                "but this machine has less free memory.",
                fix="Close other programs.",
            )
        raise UntrustedFileRejected(str(answer["refused"]), fix="The file was not used.")
    return answer


class Opening:
    """A file that a child is opening. The caller may do other work before it calls `result`."""

    def __init__(self, request: dict[str, Any], path: Path, limits: ProcessLimits) -> None:
        self._limits = limits
        command = _child(request, path, limits)
        stdin, self._lifeline = os.pipe()  # the kernel closes it when this process ends, and that ends the child
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
        """Wait for the child and return its answer.

        Raises:
            UntrustedFileRejected, MachineShortage: see `believed`.
        """
        try:
            output, _ = self._process.communicate(timeout=self._limits.wall_seconds)
        except subprocess.TimeoutExpired:
            raise UntrustedFileRejected(
                f"Opening the file took longer than {self._limits.wall_seconds:g} s.", fix="The file was not used."
            ) from None
        finally:
            self.cancel()
        return believed(output, self._process.returncode, self._limits)

    def cancel(self) -> None:
        """End the child and all processes that it started. A second call has no effect."""
        if self._ended:
            return
        self._ended = True  # after this, another process may get the child's number
        kill_group(self._process.pid)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._lifeline)


class BaseModelOpening(Opening):
    """A base model that a child is opening.

    ``spec`` describes the neural network of a ``.pt`` file. Without ``spec``, the child recognizes the neural network
    by the names of the tensors.
    """

    def __init__(
        self, path: Path, out: Path, limits: ProcessLimits | None = None, *, spec: ModelSpec | None = None
    ) -> None:
        self._out = out
        metadata = None if spec is None else spec.to_metadata()
        super().__init__({"kind": "base", "out": str(out), "metadata": metadata}, path, limits or ProcessLimits())

    def model(self) -> BaseModel:
        """Wait for the child and return the model.

        Raises:
            UntrustedFileRejected, MachineShortage: see `believed`.
        """
        classes = int(self.result()["classes"])
        return BaseModel(read_spec(self._out), self._out, classes)


def open_base_model(path: str | Path, out: str | Path | None = None, limits: ProcessLimits | None = None) -> BaseModel:
    """Open a base model: a ``.pt`` state dict of a supported neural network, or a model package.

    Args:
        path: an untrusted file, or a symbolic link to it that the user created.
        out: the model package to write. None for a temporary package, which is deleted when this process ends.
        limits: the limits for the file.

    Raises:
        UntrustedFileRejected: the file was refused, or it is not a regular file.
        ModelError: the file cannot be read.
        MachineShortage: this machine could not open the file, regardless of its content.
    """
    path = followed(Path(path))
    if out is None:
        folder = tempfile.TemporaryDirectory(prefix="decloud-model-")
        atexit.register(folder.cleanup)
        out = Path(folder.name) / "base.safetensors"
    return BaseModelOpening(path, Path(out), limits).model()


async def open_in_task(path: Path, out: Path) -> BaseModel:
    """Open a base model like `open_base_model`, without blocking the event loop. Cancelling the task ends the child.

    If memory runs out, the kernel kills this child first.
    """
    limits = ProcessLimits()
    command = _child({"kind": "base", "out": str(out), "metadata": None}, path, limits)
    try:
        output = await output_of(command, seconds=limits.wall_seconds, env=ENVIRONMENT, oom_score=OOM_OF_STRANGERS)
    except TimeoutError:
        raise UntrustedFileRejected(
            f"Opening the file took longer than {limits.wall_seconds:g} s.", fix="The file was not used."
        ) from None
    classes = int(believed(output.out, output.code, limits)["classes"])
    return BaseModel(read_spec(out), out, classes)


def _child(request: Mapping[str, Any], path: Path, limits: ProcessLimits) -> list[str]:
    arguments = asked(request, path, limits)
    return [sys.executable, "-I", "-m", "decloud_pl.models.quarantine", json.dumps(arguments)]


def followed(path: Path) -> Path:
    """Resolve the symbolic links in a path from the user, because the child refuses links.

    Raises:
        UntrustedFileRejected: the path does not lead to a regular file.
    """
    with contextlib.suppress(OSError):  # `asked` reports the error
        if not stat.S_ISREG(path.stat().st_mode):
            raise UntrustedFileRejected(f"{path} is not a regular file.", fix="Give the path of a regular file.")
        return path.resolve()
    return path


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of an inspected file.

    Attributes:
        format: ``state_dict`` or ``safetensors``.
        tensors: (name, dtype, shape) of each tensor.
        model: the base model; None if the file cannot be used as one.
        problem: why the file cannot be used as a base model; empty if it can.
    """

    format: str
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    model: BaseModel | None
    problem: str


def inspect_file(path: Path, out: Path) -> Inspection:
    """Inspect an untrusted file: a ``.pt`` dictionary of tensors or a safetensors file.

    ``out`` is the model package to write if the file is a base model.

    Raises:
        UntrustedFileRejected: the file has another format, or it was refused.
    """
    answer = Opening({"kind": "inspect", "out": str(out)}, followed(path), ProcessLimits()).result()
    tensors = tuple((str(name), str(dtype), tuple(shape)) for name, dtype, shape in answer["tensors"])
    model = BaseModel(read_spec(out), out, int(answer["classes"])) if "classes" in answer else None
    return Inspection(str(answer["format"]), tensors, model, str(answer.get("problem", "")))
