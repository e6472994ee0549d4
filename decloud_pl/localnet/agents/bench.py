"""Run the agents' models in one child process that keeps torch loaded.

So the process of the local network need not import torch. Requests and answers are JSON lines on the child's standard
input and output. If the child dies, the next request starts a new one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from decloud_pl.children import Child
from decloud_pl.durable import private_log
from decloud_pl.errors import LocalnetError

Scoring: TypeAlias = Literal["delta", "gradient", "equal"]
"""How the validator shares out a reward: by the gain under a convention, or equally among the valid submissions."""
_CHILD = (sys.executable, "-m", "decloud_pl.localnet.agents")


class Bench:
    """Creates base models and scores submissions, both in one child process.

    Args:
        scoring: how the local network's validator shares out a reward.
        gradient_rate: the validator's η for the ``gradient`` convention.
        log: the file for the child's stderr.
        data: the folder of the data sets. None for the default, ``data`` in the trainer's home folder.
        command: the command that starts the child. The child must use the protocol of `bench_child`.
    """

    def __init__(
        self,
        *,
        scoring: Scoring,
        gradient_rate: float,
        log: Path,
        data: Path | None = None,
        command: Sequence[str] = _CHILD,
    ) -> None:
        self._scoring = scoring
        self._options = {"scoring": scoring, "gradient_rate": gradient_rate}
        self._data = None if data is None else str(data)
        self._log = log
        self._command = command
        self._process: Child | None = None
        self._one_at_a_time = asyncio.Lock()

    async def make_base_model(self, path: Path, *, architecture: str, model_format: str, classes: int) -> None:
        """Write a freshly initialised model. ``model_format`` is ``state_dict`` or ``package``."""
        await self._ask(
            "make_base_model", path=str(path), architecture=architecture, format=model_format, classes=classes
        )

    async def baseline(self, base: Path, *, dataset: str) -> float:
        """Return the top-1 accuracy of a base model on the data set's test split, 0 to 1.

        With ``equal`` scoring, the model is opened, but the result is always 0, as in the validator that was published
        for v1.2.
        """
        measured = float(await self._ask("baseline", base=str(base), dataset=dataset, data=self._data))
        return 0.0 if self._scoring == "equal" else measured

    async def contributions(self, base: Path, submissions: Mapping[str, Path], *, dataset: str) -> dict[str, int]:
        """Return each submission's share of the reward in basis points; see `oracle.shares`.

        The share of a refused submission is 0.

        Args:
            base: the base model.
            submissions: the file of each submission, in the order of the round's submissions. The keys are any names;
                the result has the same keys.
            dataset: the data set to score on.

        Raises:
            LocalnetError: no submission is valid, or scoring failed.
        """
        files = {name: str(path) for name, path in submissions.items()}
        answer = await self._ask(
            "contributions", base=str(base), dataset=dataset, data=self._data, submissions=files, **self._options
        )
        return {str(name): int(share) for name, share in answer.items()}

    async def aclose(self) -> None:
        """End the child."""
        child, self._process = self._process, None
        if child is not None:
            await child.end()  # the child owns no files that a kill could damage

    async def _ask(self, request: str, **arguments: object) -> Any:  # any JSON value
        async with self._one_at_a_time:
            child = await self._child()
            try:
                child.stdin.write(json.dumps({"request": request, **arguments}).encode() + b"\n")
                await child.stdin.drain()
                line = await child.stdout.readline()
            except ConnectionError:
                line = b""
            except asyncio.CancelledError:
                await self.aclose()  # otherwise the next request would read this request's answer
                raise
        if not line:
            await self.aclose()
            raise LocalnetError("The scoring process ended unexpectedly.", fix=f"See {self._log}.")
        answer = json.loads(line)
        if "error" in answer:
            raise LocalnetError(str(answer["error"]))
        return answer["result"]

    async def _child(self) -> Child:
        if self._process is None or self._process.process.returncode is not None:
            with private_log(self._log) as log:
                self._process = await Child.start(self._command, log=log)
        return self._process
