"""Describe the events that a local network's program emits, in at most one line each."""

from __future__ import annotations

from collections.abc import Callable

from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.events import (
    Event,
    GradientsSubmitted,
    RewardClaimed,
    RoundAborted,
    RoundCreated,
    TrainerJoined,
    ValidationCompleted,
    ValidatorClaimed,
)
from decloud_pl.domain import format_sol


async def tell(event: Event, chain: ChainClient, say: Callable[[str], None]) -> None:
    """Pass a line about an event to ``say``. Some kinds of events are ignored.

    Query ``chain`` for details that the event does not contain.

    Raises:
        ChainError: the chain cannot be queried.
    """
    words = await _words(event, chain)
    if words:
        say(f"Round {event.round_id}: {words}.")


async def _words(event: Event, chain: ChainClient) -> str:
    match event:
        case RoundCreated():
            round_ = await chain.round(event.round_id)
            what = "" if round_ is None else f", {format_sol(round_.reward_amount)} for {round_.dataset}"
            return f"posted{what}"
        case ValidatorClaimed():
            return "claimed by its validator, open for trainers"
        case TrainerJoined():
            return f"trainer {_short(event.trainer)} joined, {event.trainers_count} in total"
        case GradientsSubmitted():
            return f"trainer {_short(event.trainer)} submitted {event.gradient_cid}"
        case ValidationCompleted():
            submissions = [one for one in await chain.round_submissions(event.round_id) if one.submitted]
            shares = (f"{_short(one.trainer)} {one.contribution_bps / 100:g} %" for one in submissions)
            return f"scored, {', '.join(shares)}"
        case RewardClaimed():
            return f"paid {format_sol(event.amount)} to {_short(event.trainer)}"
        case RoundAborted():
            return "aborted by its validator; its creator was refunded"
    return ""


def _short(address: Pubkey) -> str:
    text = str(address)
    return f"{text[:4]}…{text[-4:]}"
