"""Quarantine for many files: one child imports torch, once, and forks for each of them.

What a file can do and cannot is the same as in `quarantine`; only the seconds of an import are saved with each.
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
from decloud_pl.models.package import read_spec
from decloud_pl.models.quarantine.opening import ENVIRONMENT, ProcessLimits, asked, believed
from decloud_pl.models.spec import BaseModel

_END_SECONDS = 2.0


class WarmQuarantine:
    """Opens one file after another; the child starts with the first and ends with the context or this process."""

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self._limits = limits or ProcessLimits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WarmQuarantine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_base_model(self, path: Path, out: Path) -> BaseModel:
        """See `quarantine.open_base_model`."""
        answer = self._ask({"kind": "base", "out": str(out), "metadata": None}, path)
        return BaseModel(read_spec(out), out, int(answer["classes"]))

    def open_submission(self, path: Path, base: BaseModel, out: Path) -> Path:
        """See `quarantine.open_submission`."""
        self._ask({"kind": "submission", "out": str(out), "base": str(base.weights)}, path)
        return out

    def close(self) -> None:
        """Ends the child; the next file starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # the block's end closes the pipes and waits for it
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
            pass  # the same as an answer that never comes
        except BaseException:
            self.close()
            raise
        if not output:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its end of the pipe goes a moment earlier
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
                bufsize=0,  # what could not be written must not be tried again when the pipe is closed
                env=ENVIRONMENT,
                start_new_session=True,
            )
        return self._process
