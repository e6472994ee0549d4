"""The result of one check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from decloud_pl.errors import DecloudError
from decloud_pl.shortage import shortage

Verdict: TypeAlias = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: the check's name. It stays the same in later versions, so programs can rely on it.
        verdict: a ``problem`` keeps the daemon from earning; a ``note`` is only information.
        detail: the result.
        fix: what to do, or "" if there is nothing to do.
    """

    name: str
    verdict: Verdict
    detail: str
    fix: str = ""


async def tried(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    """Return the finding of a check. If the check raises an error that has a known cause, the finding is a problem."""
    try:
        return await check()
    except DecloudError as error:
        return Finding(name, "problem", error.message, error.fix)
    except OSError as error:  # a full disk has no place for temporary files, and a full memory none for a process
        missing = shortage(error)
        if missing is None:
            return Finding(name, "problem", f"{error}.")
        return Finding(name, "problem", missing.message, missing.fix)
