"""A Ray cluster on this machine in separate processes: ``python -m tests.harness.ray_cluster FOLDER``.

The process reads one JSON line per order and answers each with one. When its input closes, it ends with all processes
that it started. The cluster communicates on loopback, although Ray binds some servers to all addresses and does not
allow another choice. It writes only below the folder and sends nothing to other machines.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from decloud_pl.executors.ray.actor import TrainingActor

ROOT = Path(__file__).parents[2]
# On Linux, Ray replaces 127.0.0.1 with the address of the network interface.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
STORE_BYTES = 80 << 20
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "RAY_raylet_start_wait_time_s": "60",
}
# The cluster detects a dead node within ten seconds, but does not declare a node of a busy machine dead.
HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 16}


def main(folder: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    common: dict[str, Any] = {
        "object_store_memory": STORE_BYTES,
        "node_ip_address": LOOPBACK,
        "include_dashboard": False,
    }
    head = {**common, "num_cpus": 0, "temp_dir": folder, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes: list[Any] = []
    answers.write(json.dumps({"address": cluster.address}) + "\n")
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if "add" in order:
                nodes.append(cluster.add_node(num_cpus=order["add"], **common))
            else:
                busy = next(node for node in nodes if _trains(node))
                nodes.remove(busy)
                cluster.remove_node(busy, allow_graceful=False)
            answers.write(json.dumps({"nodes": len(nodes)}) + "\n")
    finally:
        cluster.shutdown()


def _trains(node: Any) -> bool:
    """Return whether an actor that trains runs on the node. Its process is a child of the node's raylet."""
    (raylet,) = node.all_processes["raylet"]
    children = psutil.Process(raylet.process.pid).children(recursive=True)
    return any(TrainingActor.__name__ in part for child in children for part in child.cmdline()[:1])


class RayCluster:
    """The test's interface to the cluster. The head has no CPUs, so each training runs on an added node.

    Attributes:
        address: the address of the cluster.
        folder: the folder for all its files.
        pid: the ID of the process that starts all others.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self.folder = folder
        self.pid = process.pid
        self.address = str(self._answer()["address"])

    def add(self, cpus: int = 16) -> None:
        """Add a node. It may declare more CPUs than the machine has."""
        self._order(add=cpus)

    def kill_the_training(self) -> None:
        """Kill all processes of the node on which a training runs."""
        self._order(kill=True)

    def _order(self, **order: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the Ray cluster has ended"
        return dict(json.loads(line))


@contextmanager
def ray_cluster(**environ: str) -> Iterator[RayCluster]:
    """Yield a cluster. At the end of the block, stop it and remove its folder."""
    # Not in pytest's folder, because the path of a socket is limited to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()  # Ray stores the address for `auto` there
    with (folder / "cluster.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.ray_cluster", str(folder / "ray")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(folder), **environ},
        )
    try:
        with process:
            yield RayCluster(process, folder)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
