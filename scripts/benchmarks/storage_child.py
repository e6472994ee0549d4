"""Run one transfer in its own process, so that its memory can be measured. Print seconds and bytes of memory as JSON.

Arguments: the operation, the server's port, the file, its CID, a folder for output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from decloud_pl.store import Store
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata import PinataCredentials, PinataStore


def memory(field: str) -> int:
    """Return this process's memory in bytes: ``VmRSS`` is the current value, ``VmHWM`` the peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def stores(port: str, folder: Path) -> dict[str, Callable[[], Store]]:
    """Return the stores that can be measured."""
    url = f"http://127.0.0.1:{port}"

    pair, bearer = PinataCredentials("key", "secret"), PinataCredentials(jwt="a.b.c")

    def pinata(credentials: PinataCredentials) -> PinataStore:
        return PinataStore(credentials, api_url=url, upload_url=url, state=folder / "state")

    return {
        "embedded": lambda: EmbeddedStore(folder / "store"),
        "kubo": lambda: KuboStore(f"/ip4/127.0.0.1/tcp/{port}/http"),
        "pinata_v1": lambda: pinata(pair),
        "pinata_v3": lambda: pinata(bearer),
    }


def work(operation: str, port: str, file: Path, cid: str, folder: Path) -> Callable[[], object]:
    """Return the operation to measure, ready to run."""
    kind, name = operation.split(" ")
    size = file.stat().st_size
    if kind == "upload":
        store = stores(port, folder)[name]()
        return lambda: store.put(file)
    reader = GatewayReader([f"http://127.0.0.1:{port}{'/plain' if name == 'plain' else ''}"])
    return lambda: reader.fetch(cid, folder / "copy", max_bytes=size)


def main(operation: str, port: str, file: str, cid: str, folder: str) -> None:
    # Modules that the program loads before its first transfer count as idle memory.
    import ipfshttpclient  # noqa: F401
    import requests

    requests.Session().close()
    transfer = work(operation, port, Path(file), cid, Path(folder))
    idle = memory("VmRSS")
    begun = time.monotonic()
    transfer()
    seconds = time.monotonic() - begun
    print(json.dumps({"seconds": seconds, "idle_bytes": idle, "extra_bytes": memory("VmHWM") - idle}))


if __name__ == "__main__":
    main(*sys.argv[1:6])
