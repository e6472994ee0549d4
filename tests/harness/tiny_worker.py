"""A worker that uses only the standard library and starts in about 10 ms: ``python -I -S tiny_worker.py FOLDER``."""

import json
import os
import signal
import sys
from pathlib import Path

folder = Path(sys.argv[1])
plan = json.loads((folder / "tiny-plan.json").read_text())
if plan["crash"]:
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdout.write(json.dumps({"stage": "fit", "epoch": 0, "step": 1, "total_steps": 1, "loss": 0.5}) + "\n")
sys.stdout.flush()
if plan["hangs"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a training that never reaches its checkpoint
    sys.stdout.write(json.dumps({"stage": plan["hangs"]}) + "\n")
    sys.stdout.flush()
    (folder / "hangs").touch()
    signal.pause()
(folder / "update.pt").write_text(plan["content"])
update = {
    "path": "update.pt",
    "cid": plan["cid"],
    "profile": "kubo-v1",
    "size": len(plan["content"]),
    "convention": "delta",
    "accuracy_before": 0.1,
    "accuracy_after": 0.9,
}
(folder / "update.json.part").write_text(json.dumps(update))
(folder / "update.json.part").replace(folder / "update.json")
