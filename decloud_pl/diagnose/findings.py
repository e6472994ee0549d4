"""The result of one check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from decloud_pl.errors import DecloudError

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
    """Return the finding of a check. If the check raises a `DecloudError`, the finding is a problem."""
    try:
        return await check()
    except DecloudError as error:
        return Finding(name, "problem", error.message, error.fix)
