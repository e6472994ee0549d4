"""A shortage on this machine is distinguished from a fault of a file or a round."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from decloud_pl.errors import MachineShortage, StoreUnavailable
from decloud_pl.shortage import can_give, killed, shortage


def of(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


def caused(by: BaseException) -> Exception:
    error = StoreUnavailable("The gateway does not answer.")
    error.__context__ = by
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of(errno.ENOSPC, "/full/place"), "No disk space left in /full/place. Free disk space there."),
        (of(errno.EDQUOT), "No disk space left. Free disk space."),
        (caused(of(errno.EMFILE)), "no file descriptors left"),
        (of(errno.ENFILE), "no file descriptors left"),
        (of(errno.ENOMEM), "no memory left"),
        (MemoryError(), "no memory left"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "no memory left"),
        (of(errno.EAGAIN), "cannot start more processes"),  # the error of fork
        (RuntimeError("can't start new thread"), "cannot start more processes"),
        (
            type("SafetensorError", (Exception,), {})("I/O error: No space left on device (os error 28)"),
            "No disk space left.",
        ),
    ],
)
def test_it_is_known_by_what_the_system_said(error: Exception, words: str) -> None:
    assert words in str(shortage(error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device (os error 28)"),  # text from a stranger's file is not evidence
        of(errno.EACCES),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        caused(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),  # a wait for a socket
        TimeoutError(),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert shortage(error) is None


def test_a_child_that_was_ended_from_outside_is_told_from_one_that_ended_itself() -> None:
    assert "probably because memory ran out" in str(killed("The child", -signal.SIGKILL))
    assert str(killed("The child", -signal.SIGTERM)) == "The child was ended by SIGTERM from another process."
    for code in (0, 1, -signal.SIGSEGV, -signal.SIGXCPU, -signal.SIGABRT):
        assert killed("The child", code) is None
    assert MachineShortage.exit_code == 16


def test_a_machine_is_asked_for_memory_without_using_it() -> None:
    assert can_give(1 << 20)
    assert not can_give(1 << 60)
