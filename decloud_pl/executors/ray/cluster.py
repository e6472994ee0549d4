"""Connecting to a Ray cluster, and what it has: every failure is a sentence within a bounded time."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from decloud_pl.errors import ConfigError, ExecutorUnavailable, TrainingError
from decloud_pl.executors.ray.options import RayOptions

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_FIX = (
    "Start it, or correct daemon.ray.address; one with a token wants RAY_AUTH_MODE=token in this environment. "
    "`decloud-trainer doctor` looks again."
)


@contextmanager
def connected(options: RayOptions, give_up: Callable[[ExecutorUnavailable], None]) -> Iterator[None]:
    """Makes this process a driver of the cluster. Its job, and all that runs for it, ends with the block.

    Args:
        options: where.
        give_up: ends this process; called from a thread when connecting takes too long. Ray has no such limit.

    Raises:
        ExecutorUnavailable: the cluster cannot be reached.
        TrainingError: it runs another version.
        ConfigError: the address is none, or Ray Client is not installed.
    """
    _knock(options)
    # Nothing goes to anybody else, unless the user has decided on that.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    timer = threading.Timer(options.connect_seconds, give_up, [_unreachable(options, "no answer")])
    timer.daemon = True
    timer.start()
    local: dict[str, Any] = {"include_dashboard": False} if options.ray.address == "local" else {}
    try:
        # Logs of all workers would come to the driver; ours are brought back with the training.
        ray.init(address=options.ray.address, log_to_driver=False, **local)
    except (ImportError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if "ray[client]" in str(error):
            raise ConfigError(
                f"{options.ray.address} needs Ray Client, which is not installed.", fix="Run: pip install 'ray[client]'"
            ) from error
        if "ersion mismatch" in str(error):
            raise TrainingError(
                "The Ray cluster runs another version of Ray or Python than this machine.",
                fix="Install the same versions on every machine.",
            ) from error
        raise _unreachable(options, _first_line(error)) from error
    finally:
        timer.cancel()
    try:
        yield
    finally:
        ray.shutdown()


def _knock(options: RayOptions) -> None:
    """Finds out in an instant what Ray would take half a minute for.

    Raises:
        ExecutorUnavailable: nobody listens at the address.
    """
    address = options.ray.address.removeprefix("ray://")
    host, _, port = address.rpartition(":")
    # Without Ray Client these mean this machine's address on the network.
    if not host or (host in _LOOPBACK and address == options.ray.address):
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=options.connect_seconds):
            pass
    except OSError as error:
        raise _unreachable(options, error.strerror or str(error)) from error


def describe(options: RayOptions) -> str:
    """What the cluster has, in a phrase.

    Raises:
        ExecutorUnavailable: none of its machines is large enough for a training.
    """
    import ray

    nodes = _alive()
    if not any(_fits(node, options) for node in nodes):
        raise no_room(options)
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    machines = f"{len(nodes)} machine{'' if len(nodes) == 1 else 's'}"
    where = options.ray.address
    return (
        f"{where}: {machines}, {cpus:g} CPUs, {gpus:g} GPUs, Ray {ray.__version__}; a training takes {options.wanted}"
    )


def no_room(options: RayOptions) -> ExecutorUnavailable:
    """Why a training has not been placed."""
    nodes = _alive()
    if any(_fits(node, options) for node in nodes):
        return ExecutorUnavailable(
            f"All machines of the Ray cluster are busy: a training takes {options.wanted}.",
            fix="Add machines, or lower max_concurrent_rounds.",
        )
    largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
    return ExecutorUnavailable(
        f"No machine of the Ray cluster has {options.wanted}; the largest has "
        f"{largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs.",
        fix="Lower daemon.ray.cpus and daemon.ray.gpus, or add a machine.",
    )


def _alive() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _fits(node: dict[str, float], options: RayOptions) -> bool:
    return node.get("CPU", 0) >= options.ray.cpus and node.get("GPU", 0) >= options.ray.gpus


def _unreachable(options: RayOptions, reason: str) -> ExecutorUnavailable:
    return ExecutorUnavailable(f"The Ray cluster at {options.ray.address} cannot be reached: {reason}.", fix=_FIX)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")  # what Ray says to do after it is about other programs
