"""`logs` shows the end of the daemon's log and follows it over a rotation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def log(home: Path) -> Path:
    path = home / "logs" / "daemon.log"
    path.parent.mkdir(parents=True)
    return path


def test_no_log_yet(run: Any) -> None:
    ran = run("logs")
    assert (ran.code, ran.out) == (0, "")
    assert "does not exist yet" in ran.err


def test_the_last_lines_over_a_rotation(run: Any, log: Path) -> None:
    log.with_name("daemon.log.1").write_text("one\ntwo\n")
    log.write_text("three\nfour\n")
    assert run("logs").out == "one\ntwo\nthree\nfour\n"
    assert run("logs", "-n", "3").out == "two\nthree\nfour\n"
    assert run("logs", "-n", "0").out == ""
    assert run("logs", "-n", "-1").code == 2


def test_empty_lines_are_left_out(run: Any, log: Path) -> None:
    log.write_text("one\n\n  \ntwo\n")
    assert run("logs", "-n", "2").out == "one\ntwo\n"


@pytest.fixture
def following(log: Path) -> Iterator[subprocess.Popen[str]]:
    log.write_text("before\n")
    command = [sys.executable, "-m", "decloud_pl.cli", "logs", "-f"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield child
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


@pytest.mark.slow
def test_follow_continues_after_a_rotation(log: Path, following: subprocess.Popen[str]) -> None:
    assert following.stdout is not None
    assert following.stdout.readline() == "before\n"
    with log.open("a") as file:
        file.write("added\n")
    assert following.stdout.readline() == "added\n"
    with log.open("a") as file:
        file.write("the last\nand half a ")
    assert following.stdout.readline() == "the last\n"
    with log.open("a") as file:
        file.write("line\n\n")
    # After two rotations between two reads, no line is missing or repeated.
    log.rename(log.with_name("daemon.log.2"))
    log.with_name("daemon.log.1").write_text("between\n")
    log.write_text("after the rotation\n")
    assert [following.stdout.readline() for _ in range(3)] == ["and half a line\n", "between\n", "after the rotation\n"]
    with log.open("a") as file:
        file.write("and on\n")
    assert following.stdout.readline() == "and on\n"
