"""The scoring process: it ends with the network, and an internal error does not affect later requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

COMMAND = (sys.executable, "-m", "decloud_pl.localnet.agents")
PATIENCE = 60.0


def test_a_defect_is_an_answer_and_the_end_of_the_parent_is_the_end(tmp_path: Path) -> None:
    # Opening a pipe without a writer blocks, so the request can only end with the process.
    os.mkfifo(tmp_path / "base")
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        for request in (
            {"request": "nothing of the kind"},
            {"request": "baseline", "base": str(tmp_path / "base"), "dataset": "digits"},
        ):
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
        answer = json.loads(child.stdout.readline())
        assert answer == {"error": "Internal error in the scoring process. See scoring.log, and please report it."}
        assert "Traceback" in log.read_text()
        process = psutil.Process(child.pid)
        while not (quarantine := process.children()):
            assert child.poll() is None
        child.stdin.close()
        assert child.wait(PATIENCE) == 0
        assert psutil.wait_procs(quarantine, PATIENCE)[1] == []
