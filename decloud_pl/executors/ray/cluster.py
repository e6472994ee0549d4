"""Connect to a Ray cluster and describe it. Every failure is reported in one sentence and within a bounded time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from decloud_pl.config.schema import RayConfig
from decloud_pl.errors import ConfigError, DecloudError, ExecutorUnavailable, TrainingError, first_line

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@contextmanager
def connected(config: RayConfig, give_up: Callable[[ExecutorUnavailable], None]) -> Iterator[None]:
    """Connect this process to the cluster as a driver. When the block ends, the driver's job and its actors end.

    Ray sets no time limit on connecting. If there is no connection after ``connect_seconds``, a thread calls
    ``give_up``, which must end this process.
    """
    _knock(config)
    timer = threading.Timer(config.connect_seconds, give_up, [_unreachable(config, "no answer")])
    timer.daemon = True
    timer.start()
    try:
        # Ray would send the logs of all workers to the driver. Ours arrive with the training's news.
        dashboard = {"include_dashboard": False} if config.address == "local" else {}
        ray.init(address=config.address, log_to_driver=False, **dashboard)
    except (ImportError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refused(config, error) from error
    finally:
        timer.cancel()
    try:
        yield
    finally:
        ray.shutdown()


def _knock(config: RayConfig) -> None:
    """Raise an error if the cluster's address accepts no connection. Ray itself would need half a minute to notice."""
    host, _, port = config.address.removeprefix("ray://").rpartition(":")
    # Without Ray Client, Ray replaces a loopback address by this machine's network address.
    if host and (config.address.startswith("ray://") or host not in _LOOPBACK):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=config.connect_seconds).close()
        except OSError as error:
            raise _unreachable(config, error.strerror or str(error)) from error


def _refused(config: RayConfig, error: Exception) -> DecloudError:
    if "ray[client]" in str(error):
        missing = f"daemon.ray.address={config.address} needs Ray Client, which is not installed."
        return ConfigError(missing, fix="Run: pip install 'ray[client]'")
    if "ersion mismatch" in str(error):
        other = "The versions of Ray or Python differ between the Ray cluster and this machine."
        return TrainingError(other, fix="Install the same versions on every machine.")
    # Ray's advice after the first sentence does not apply to this program.
    return _unreachable(config, first_line(error).split(". ")[0])


def _unreachable(config: RayConfig, reason: str) -> ExecutorUnavailable:
    return ExecutorUnavailable(
        f"The Ray cluster at {config.address} cannot be reached: {reason}.",
        fix="Start the cluster or correct daemon.ray.address. If the cluster requires a token, set "
        "RAY_AUTH_MODE=token. Then check with: decloud-trainer doctor",
    )


def describe(config: RayConfig) -> str:
    """Describe the cluster in one line. Raise the error from `no_room` if no machine is large enough for a training."""
    nodes, fits = _nodes(config)
    if not fits:
        raise no_room(config)
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    machines = f"{len(nodes)} machine{'' if len(nodes) == 1 else 's'}, {cpus:g} CPUs, {gpus:g} GPUs"
    return f"{config.address}: {machines}, Ray {ray.__version__}; each training needs {_wanted(config)}"


def no_room(config: RayConfig) -> ExecutorUnavailable:
    """Return the error that explains why Ray has not placed a training."""
    nodes, fits = _nodes(config)
    if fits:
        busy = f"All machines of the Ray cluster are busy. Each training needs {_wanted(config)}."
        return ExecutorUnavailable(busy, fix="Add machines, or lower max_concurrent_rounds.")
    largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
    found = f"{largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs"
    none = f"No machine of the Ray cluster has {_wanted(config)}; the largest has {found}."
    return ExecutorUnavailable(none, fix="Lower daemon.ray.cpus and daemon.ray.gpus, or add a machine.")


def _wanted(config: RayConfig) -> str:
    cpus = f"{config.cpus} CPU{'' if config.cpus == 1 else 's'}"
    return f"{cpus} and {config.gpus:g} GPU{'' if config.gpus == 1 else 's'}" if config.gpus else cpus


def _nodes(config: RayConfig) -> tuple[list[dict[str, float]], bool]:
    """Return the resources of each running machine, and whether any of them is large enough for a training."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return nodes, any(node.get("CPU", 0) >= config.cpus and node.get("GPU", 0) >= config.gpus for node in nodes)
