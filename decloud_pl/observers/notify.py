"""Notifications to the user's phone, chat or mailbox. Apprise sends them to the URLs of the secret ``notify_urls``.

The URLs contain passwords and tokens, so they never appear in logs or messages. For each message and address,
Apprise runs in a separate child process; see `notify_child`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.children import child_environment, output_of
from decloud_pl.config.schema import NotifyConfig
from decloud_pl.domain import format_sol, parse_sol
from decloud_pl.errors import ConfigError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.legible import legible
from decloud_pl.redact import COMMA_BETWEEN_URLS
from decloud_pl.rounds.events import Audited, Changed, Connected, DaemonEvent, Looked, Trouble
from decloud_pl.rounds.policy import DAY_SECONDS

logger = logging.getLogger(__name__)

_TITLE = "DECLOUD trainer"
_WAITING = 100
_LOOK_SECONDS = 15.0
_SEND_SECONDS = 60.0
_FAREWELL_SECONDS = 10.0
_STARTING_SECONDS = 30.0
"""Seconds a child may need to load Apprise on a busy machine."""
_CHILD = (sys.executable, "-m", "decloud_pl.observers.notify_child")
_DESKTOP = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY")


@dataclass(frozen=True, slots=True)
class Message:
    """One notification. ``kind`` is one of Apprise's notification types: info, success, warning or failure."""

    kind: str
    text: str


class Occasions:
    """Decides which events need a message. A lasting condition, such as a low balance, causes one message.

    Args:
        wishes: the user's settings.
        started_at: the start of the daemon, in Unix seconds. Silence is measured from here if the chain never answered.
    """

    def __init__(self, wishes: NotifyConfig, *, started_at: float) -> None:
        self._wishes = wishes
        self._started_at = started_at
        self._is_low = False
        self._is_silent = False
        self._told: set[tuple[int, State]] = set()
        self._short: set[int] = set()  # rounds that wait for resources of this machine
        self._short_at = -math.inf  # when a shortage without a round was last reported

    def of_event(self, event: DaemonEvent, now: float) -> Message | None:
        """Return a message about an event, or None. ``now`` is the current time in Unix seconds."""
        if isinstance(event, (Connected, Looked)):
            return self._balance(event.balance)
        if isinstance(event, Audited):
            return self._audit(event)
        if isinstance(event, Trouble) and event.of_machine:
            return self._shortage(event, now)
        if isinstance(event, Changed) and event.record.next_try_at == 0:
            self._short.discard(event.record.round_id)
        if isinstance(event, Changed) and (event.record.round_id, event.record.state) not in self._told:
            message = self._round(event.record)
            if message is not None:
                self._told.add((event.record.round_id, event.record.state))
            return message
        return None

    def of_silence(self, now: float, heard_at: float | None) -> Message | None:
        """Return a message if the chain has now been silent for too long, or if it answers again after that.

        Args:
            now: the current time in Unix seconds.
            heard_at: when the chain last answered, in Unix seconds; None if it never answered.
        """
        limit = self._wishes.silent_minutes * 60
        silence = now - (self._started_at if heard_at is None else heard_at)
        if not limit or silence < limit:
            was_silent, self._is_silent = self._is_silent, False
            return Message("info", "The chain responds again.") if was_silent else None
        if self._is_silent:
            return None
        self._is_silent = True
        return Message("warning", f"The chain has not responded for {silence / 60:.0f} minutes.")

    def _audit(self, event: Audited) -> Message | None:
        if event.verdict != "unfair" or not event.lost_bps or not self._wishes.unfair:
            return None
        return Message("warning", f"Round {event.round_id} was not paid fairly: {event.message}")

    def _shortage(self, event: Trouble, now: float) -> Message | None:
        if not self._wishes.failed:
            return None
        if event.round_id is None:  # no event shows the end of such a shortage
            if now - self._short_at < DAY_SECONDS:
                return None
            self._short_at = now
            return Message("warning", event.message)
        if event.round_id in self._short:
            return None
        self._short.add(event.round_id)
        return Message("warning", f"Round {event.round_id} waits: {event.message}")

    def _balance(self, balance: int) -> Message | None:
        low = balance < parse_sol(self._wishes.low_balance)
        if low == self._is_low:
            return None
        self._is_low = low
        if not low:
            return None
        limit = format_sol(parse_sol(self._wishes.low_balance))
        return Message("warning", f"The wallet holds {format_sol(balance)}, less than {limit}.")

    def _round(self, record: RoundRecord) -> Message | None:
        if record.state is State.CLAIMED and self._wishes.earned:
            return Message("success", f"Round {record.round_id}: earned {format_sol(record.claimed_lamports or 0)}.")
        if record.state in (State.FAILED, State.MISSED) and self._wishes.failed:
            return Message("failure", f"Round {record.round_id}: {record.state.value}, {record.reason.rstrip('.')}.")
        return None


class Address:
    """One address of the user for notifications.

    Args:
        url: an Apprise URL.
        seconds: how long one HTTP exchange may take.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds

    async def check(self) -> str:
        """Return the name of the service; an empty string if Apprise does not support the URL."""
        return str((await self._ask(None))["service"])

    async def send(self, message: Message) -> bool:
        """Send a message; return whether it was delivered in time.

        Raises:
            ConfigError: the proxy or the certificates in the environment cannot be used.
        """
        # The text may contain untrusted words, for example from the chain.
        given = {"title": _TITLE, "body": legible(message.text), "kind": message.kind}
        answer = await self._ask(given)
        if answer["wrong"]:
            what, fix = answer["wrong"]
            raise ConfigError(what, fix=fix)
        return bool(answer["delivered"])

    async def _ask(self, message: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the child process's answer. Without an answer, return a report of a failed delivery."""
        lifetime = self._seconds + _STARTING_SECONDS
        asked = {"url": self._url, "seconds": self._seconds, "lifetime": lifetime, "message": message}
        try:
            output = await output_of(_CHILD, seconds=lifetime, given=json.dumps(asked).encode(), env=_environment())
            answer: dict[str, Any] = json.loads(output.out)
        except (TimeoutError, OSError, ValueError):
            return {"service": "unknown", "delivered": False, "wrong": None}
        return answer


def _environment() -> dict[str, str]:
    """Return the environment for the child process, with the variables that desktop notifications need."""
    return child_environment(os.environ) | {name: os.environ[name] for name in _DESKTOP if name in os.environ}


class AppriseNotifier:
    """A `Reporter` that sends the messages of `Occasions` in the background, in order."""

    def __init__(self, addresses: Sequence[Address], occasions: Occasions, health: RpcHealth) -> None:
        self._addresses = addresses
        self._occasions = occasions
        self._health = health
        self._queue: asyncio.Queue[Message] = asyncio.Queue(_WAITING)

    def report(self, event: DaemonEvent) -> None:
        self._put(self._occasions.of_event(event, time.time()))

    async def watch(self) -> None:
        """Check at intervals whether the chain is silent."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._put(self._occasions.of_silence(time.time(), self._health.heard_at))

    async def send(self) -> None:
        """Send queued messages. A failed delivery is logged and not retried."""
        while True:
            message = await self._queue.get()
            ends = await asyncio.gather(*(address.send(message) for address in self._addresses), return_exceptions=True)
            for error in dict.fromkeys(str(end) for end in ends if isinstance(end, ConfigError)):
                logger.warning("A notification could not be sent. %s", error)
            if not all(end is True or isinstance(end, ConfigError) for end in ends):
                logger.warning(
                    "A notification was not delivered to every address in notify_urls. Run: decloud-trainer notify test"
                )
            self._queue.task_done()

    async def drain(self) -> None:
        """Wait until all queued messages have been sent."""
        await self._queue.join()

    def _put(self, message: Message | None) -> None:
        if message is None:
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            logger.warning("A notification was dropped, because %d others wait for delivery.", _WAITING)


@asynccontextmanager
async def notifying(
    wishes: NotifyConfig, urls: str | None, health: RpcHealth, *, send_seconds: float = _SEND_SECONDS
) -> AsyncIterator[list[AppriseNotifier]]:
    """Send notifications while the context is open. Yield a list with the notifier; it is empty if no address is set.

    Args:
        wishes: the user's settings.
        urls: the secret ``notify_urls``.
        health: records when the chain last answered.
        send_seconds: how long one exchange with a service may take.

    Raises:
        ConfigError: Apprise is not installed, or does not support an address.
    """
    if not urls:
        yield []
        return
    addresses, _ = await _addresses(urls, send_seconds)
    notifier = AppriseNotifier(addresses, Occasions(wishes, started_at=time.time()), health)
    tasks = [asyncio.create_task(work()) for work in (notifier.send, notifier.watch)]
    try:
        yield [notifier]
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await notifier.drain()
        except TimeoutError:
            logger.warning("Some notifications were not sent before the daemon stopped.")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def try_channels(urls: str | None) -> list[tuple[str, bool]]:
    """Send a test message to each address; return each service's name and whether the message was delivered.

    Raises:
        ConfigError: no address is set, Apprise is not installed, Apprise does not support an address, the proxy cannot
            be used, or the certificates cannot be used.
    """
    if not urls:
        raise ConfigError(
            "notify_urls is not set, so no notifications are sent.",
            fix="Set addresses with: decloud-trainer config --set notify_urls=-",
        )
    message = Message("info", "This is a test. Notifications work.")
    addresses, services = await _addresses(urls, _SEND_SECONDS)
    taken = await asyncio.gather(*(address.send(message) for address in addresses))
    return list(zip(services, taken, strict=True))


def split(urls: str) -> list[str]:
    """Return the addresses in the secret ``notify_urls``. An address may itself contain commas."""
    parts = (part.strip(",") for part in re.split(rf"\s+|{COMMA_BETWEEN_URLS}", urls))
    return [url for url in parts if url]


async def _addresses(urls: str, seconds: float) -> tuple[list[Address], list[str]]:
    """Return the user's addresses and the names of their services."""
    if find_spec("apprise") is None:
        raise ConfigError(
            "notify_urls is set, but the package apprise is not installed.",
            fix="Install it with `pip install 'decloud_pl[notify]'`, or unset notify_urls.",
        )
    addresses = [Address(url, seconds) for url in split(urls)]
    services = await asyncio.gather(*(address.check() for address in addresses))
    if not all(services):
        raise ConfigError(
            "notify_urls contains an address that Apprise does not support.",
            fix="Write addresses as Apprise's documentation shows, separated by spaces.",
        )
    return addresses, services
