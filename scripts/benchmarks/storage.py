"""Measure the speed of hashing, and the time and memory of large transfers: scripts/bench storage [--json].

Hashing alternates with plain ``hashlib.sha256`` over the same file. The servers run in another process on loopback.
Each transfer runs in its own process, whose memory is compared with its memory before the transfer. Linux only: the
figures come from /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.ipfs.unixfs import cid_of_file

HERE = Path(__file__).parent
LEAST_RATIO = 0.8
MOST_EXTRA = 80_000_000
_READ = 1 << 20
OPERATIONS = (
    "upload embedded",
    "upload kubo",
    "upload pinata_v1",
    "upload pinata_v3",
    "download car",
    "download plain",
)


def hash_alone(path: Path) -> None:
    """Compute only the SHA-256 of a file."""
    buffer = memoryview(bytearray(_READ))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def hashing(path: Path, rounds: int) -> dict[str, float]:
    """Return the best MB/s of SHA-256 alone and of the CID, and the CID's speed as a share of SHA-256's."""
    size = path.stat().st_size / 1e6
    alone, cid = float("inf"), float("inf")
    for _ in range(rounds):
        alone = min(alone, timed(lambda: hash_alone(path)))
        cid = min(cid, timed(lambda: cid_of_file(path)))
    return {"sha256_mb_per_s": size / alone, "cid_mb_per_s": size / cid, "ratio": alone / cid}


def transfers(path: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Return the seconds of each operation, and the megabytes above the idle process."""
    kept = EmbeddedStore(folder / "served")
    cid = kept.put(path).cid
    server = [sys.executable, str(HERE / "storage_server.py"), str(path), cid, str(folder / "served")]
    found: dict[str, dict[str, float]] = {}
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = (process.stdout.readline() if process.stdout else "").strip()
            for operation in OPERATIONS:
                with tempfile.TemporaryDirectory(dir=folder) as own:
                    child = [sys.executable, str(HERE / "storage_child.py"), operation, port, str(path), cid, own]
                    done = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
                found[operation] = {
                    "seconds": done["seconds"],
                    "idle_mb": done["idle_bytes"] / 1e6,
                    "extra_mb": done["extra_bytes"] / 1e6,
                }
        finally:
            process.kill()
    return found


def make_file(path: Path, size: int) -> None:
    """Write random bytes, which a file system cannot compress."""
    with path.open("wb") as file:
        for start in range(0, size, _READ):
            file.write(os.urandom(min(_READ, size - start)))


def main() -> int:
    """Print the figures; return 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(prog="scripts/bench storage", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--size", type=int, default=500_000_000, metavar="BYTES", help="size of the file")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="hashing rounds; the best one is used")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "file"
        make_file(path, arguments.size)
        speed = hashing(path, arguments.rounds)
        moved = transfers(path, folder)
    good = speed["ratio"] >= LEAST_RATIO and all(entry["extra_mb"] * 1e6 <= MOST_EXTRA for entry in moved.values())
    if arguments.json:
        print(json.dumps({"size": arguments.size, "hashing": speed, "transfers": moved, "ok": good}))
    else:
        print(f"hashing: {speed['cid_mb_per_s']:.0f} MB/s, {speed['ratio']:.2f} of SHA-256 alone (goal {LEAST_RATIO})")
        for operation, entry in moved.items():
            print(f"{operation}: {entry['seconds']:.1f} s, {entry['extra_mb']:.0f} MB above idle (goal 80)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
