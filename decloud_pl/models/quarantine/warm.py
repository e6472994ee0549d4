"""Quarantine for many files: one child imports torch once and forks for each file.

Each file has the same limits as in `opening`. The only difference is the speed: `opening` imports torch for each file,
which takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decloud_pl.children import kill_group
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.package import read_spec
from decloud_pl.models.quarantine.opening import ENVIRONMENT, ProcessLimits, asked, believed

_END_SECONDS = 2.0


class WarmQuarantine:
    """Opens files in a child process.

    The child starts when the first file is opened. It ends when the ``with`` block or this process ends.
    """

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self._limits = limits or ProcessLimits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WarmQuarantine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_base_model(self, path: Path, out: Path) -> BaseModel:
        """See `opening.open_base_model`."""
        answer = self._ask({"kind": "base", "out": str(out), "metadata": None}, path)
        return BaseModel(read_spec(out), out, int(answer["classes"]))

    def open_submission(self, path: Path, base: BaseModel, out: Path) -> Path:
        """Open another trainer's submission: a ``.pt`` dictionary from parameter names to tensors.

        Each tensor with the name of a tensor of ``base`` must have its shape. Entries with other names are dropped, and
        tensors may be missing. ``out`` is the safetensors file to write. Its tensors are dense. Floating-point tensors
        become float32; integers keep their type.

        Raises:
            UntrustedFileRejected: the file was refused.
        """
        self._ask({"kind": "submission", "out": str(out), "base": str(base.weights)}, path)
        return out

    def close(self) -> None:
        """End the child. The next file starts a new child."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # the end of the block closes the pipes and waits for the child
            kill_group(process.pid)

    def _ask(self, request: Mapping[str, Any], path: Path) -> dict[str, Any]:
        arguments = {**asked(request, path, self._limits), "wall_seconds": self._limits.wall_seconds}
        process = self._child()
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        output, code = b"", 0
        try:
            process.stdin.write(json.dumps(arguments).encode() + b"\n")
            output = process.stdout.readline()
        except BrokenPipeError:
            pass  # handled like a missing answer
        except BaseException:
            self.close()
            raise
        if not output:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the pipe closes a moment before the child ends
                code = process.wait(_END_SECONDS)
            self.close()
        return believed(output, code, self._limits)

    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-m", "decloud_pl.models.quarantine"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,  # otherwise closing the pipe would retry a failed write
                env=ENVIRONMENT,
                start_new_session=True,
            )
        return self._process
