"""Notifications: which events send one, and the delivery to an HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.config.schema import NotifyConfig
from decloud_pl.errors import ConfigError, MachineShortage
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.legible import legible
from decloud_pl.observers.notify import Address, Message, Occasions, notifying
from decloud_pl.rounds.events import Audited, Changed, Connected, DaemonEvent, Looked, Skipped, Trouble
from tests.harness.strangers import HOSTILE

LOW = 5_000_000
RICH = 10**9


def changed(state: State, **values: int | str) -> Changed:
    return Changed(RoundRecord(5, state, "custom", "digits", "x", 10, **values))  # type: ignore[arg-type]


def texts(occasions: Occasions, *events: DaemonEvent, now: float = 0) -> list[str]:
    messages = [occasions.of_event(event, now) for event in events]
    return [message.text for message in messages if message is not None]


def test_what_is_worth_a_message() -> None:
    occasions = Occasions(NotifyConfig(), started_at=0)
    events: list[DaemonEvent] = [
        Connected("wallet", RICH),
        Skipped(1, "no"),
        changed(State.TRAINING),
        changed(State.CLAIMED, claimed_lamports=900_000_000),
        changed(State.CLAIMED, claimed_lamports=900_000_000),
        changed(State.FAILED, reason="the data set is empty."),
    ]
    assert texts(occasions, *events) == ["Round 5: earned 0.9 SOL.", "Round 5: failed, the data set is empty."]


def test_a_low_balance_is_said_once_until_it_has_risen() -> None:
    occasions = Occasions(NotifyConfig(low_balance="0.01"), started_at=0)
    low, rich = Looked(5, None, 0, LOW), Looked(5, None, 0, RICH)
    sentence = "The wallet holds 0.005 SOL, less than 0.01 SOL."
    assert texts(occasions, low, low, rich, rich, low) == [sentence, sentence]
    assert texts(Occasions(NotifyConfig(low_balance="0"), started_at=0), low) == []


def test_what_this_machine_is_short_of_is_said_once_for_each_round_until_the_round_goes_on() -> None:
    occasions = Occasions(NotifyConfig(), started_at=0)
    full = Trouble.then(5, MachineShortage("No disk space left in /x."), "Retrying in 15 s.")
    waiting = changed(State.TRAINING, next_try_at=9)
    sentence = "Round 5 waits: No disk space left in /x. Retrying in 15 s."
    assert texts(occasions, waiting, full, waiting, full) == [sentence]
    assert texts(occasions, changed(State.PUBLISHING), full) == [sentence]
    assert texts(occasions, Trouble(5, "The gateway does not answer.")) == []
    assert texts(Occasions(NotifyConfig(failed=False), started_at=0), full) == []


def test_what_this_machine_is_short_of_without_a_round_is_said_once_a_day() -> None:
    occasions, day = Occasions(NotifyConfig(), started_at=0), 86_400
    full = Trouble.then(None, MachineShortage("No disk space left in /x."), "Round 5 is audited on another day.")
    assert texts(occasions, full, full) == [full.message]
    assert texts(occasions, full, now=day - 1) == []
    assert texts(occasions, full, full, now=day) == [full.message]


def test_an_unfair_payment_is_worth_a_message_and_no_other_verdict() -> None:
    unfair = Audited(7, "Your share is 1 %, and the fair share is 50 %.", verdict="unfair", lost_bps=4_900)
    others = [replace(unfair, verdict=verdict) for verdict in ("fair", "equal", "unknown")]
    occasions = Occasions(NotifyConfig(), started_at=0)
    assert texts(occasions, unfair, replace(unfair, lost_bps=0), *others) == [
        "Round 7 was not paid fairly: Your share is 1 %, and the fair share is 50 %."
    ]
    assert texts(Occasions(NotifyConfig(unfair=False), started_at=0), unfair) == []


def test_silence_is_said_once_and_its_end_too() -> None:
    occasions = Occasions(NotifyConfig(silent_minutes=10), started_at=100)
    assert occasions.of_silence(600, None) is None
    assert occasions.of_silence(700, None) == Message("warning", "The chain has not responded for 10 minutes.")
    assert occasions.of_silence(800, None) is None
    assert occasions.of_silence(900, 890) == Message("info", "The chain responds again.")
    assert occasions.of_silence(901, 890) is None
    assert Occasions(NotifyConfig(silent_minutes=0), started_at=0).of_silence(10**6, None) is None


def test_what_nobody_wants_is_not_said() -> None:
    occasions = Occasions(NotifyConfig(earned=False, failed=False), started_at=0)
    assert texts(occasions, changed(State.CLAIMED, claimed_lamports=9), changed(State.FAILED, reason="x")) == []


@dataclass
class Mailbox:
    port: int = 0
    status: int = 200
    bodies: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    found = Mailbox()

    async def receive(request: web.Request) -> web.Response:
        found.bodies.append(json.loads(await request.text()))
        return web.Response(status=found.status)

    application = web.Application()
    application.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


async def test_messages_arrive_in_order(mailbox: Mailbox) -> None:
    urls = f"json://127.0.0.1:{mailbox.port}/hook"
    async with notifying(NotifyConfig(), urls, RpcHealth()) as (notifier,):
        notifier.report(changed(State.CLAIMED, claimed_lamports=900_000_000))
        notifier.report(Looked(5, None, 0, LOW))
    assert [(body["title"], body["message"], body["type"]) for body in mailbox.bodies] == [
        ("DECLOUD trainer", "Round 5: earned 0.9 SOL.", "success"),
        ("DECLOUD trainer", "The wallet holds 0.005 SOL, less than 0.01 SOL.", "warning"),
    ]


async def test_a_failed_delivery_is_logged_without_the_address(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.status = 500
    urls = f"json://user:SECRET@127.0.0.1:{mailbox.port}/SECRET"
    with caplog.at_level(logging.INFO):
        async with notifying(NotifyConfig(), urls, RpcHealth()) as (notifier,):
            notifier.report(changed(State.FAILED, reason="x"))
    assert len(mailbox.bodies) == 1
    assert "was not delivered" in caplog.text
    assert "SECRET" not in caplog.text


async def test_an_address_that_never_answers_holds_up_no_other(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[asyncio.StreamWriter] = []

    def said() -> int:
        return caplog.text.count("was not delivered")

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        urls = f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook json://127.0.0.1:{mailbox.port}/hook"
        async with notifying(NotifyConfig(), urls, RpcHealth(), send_seconds=0.3) as (notifier,):
            for round_id in range(3):
                notifier.report(Changed(RoundRecord(round_id, State.FAILED, "custom", "digits", "x", 1, reason="x")))
            async with asyncio.timeout(120):  # the child process imports apprise first
                while min(len(mailbox.bodies), len(asked), said()) < 3:  # noqa: ASYNC110 - none of them is an event
                    await asyncio.sleep(0.01)
        assert (len(mailbox.bodies), len(asked), said()) == (3, 3, 3)
        for writer in asked:
            writer.transport.abort()


async def test_strangers_words_arrive_in_one_line_that_can_be_seen(mailbox: Mailbox) -> None:
    texts = [" ".join(text for text in HOSTILE.values() if len(text) < 100), HOSTILE["long"], HOSTILE["long-escape"]]
    async with notifying(NotifyConfig(), f"json://127.0.0.1:{mailbox.port}/hook", RpcHealth()) as (notifier,):
        for number, text in enumerate(texts):
            reason = RoundRecord(number, State.FAILED, "custom", "digits", "x", 1, reason=text)
            notifier.report(Changed(reason))
        await notifier.drain()
    assert [body["message"] for body in mailbox.bodies] == [
        legible(f"Round {number}: failed, {text.rstrip('.')}.") for number, text in enumerate(texts)
    ]
    assert all(body["message"].isprintable() and body["title"] == "DECLOUD trainer" for body in mailbox.bodies)


async def test_markup_is_text_to_a_service_that_takes_html(mailbox: Mailbox) -> None:
    address = Address(f"json://127.0.0.1:{mailbox.port}/hook?format=html", 10)
    assert await address.send(Message("failure", '<b>bold</b> & "quoted"'))
    assert mailbox.bodies[0]["message"].startswith("&lt;b&gt;bold")
    assert "<b>" not in mailbox.bodies[0]["message"]


class Flood:
    """Sends endless data to each client and counts the bytes."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.head, self.piece, self.sent, self.asked = head, piece, 0, 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        with contextlib.suppress(ConnectionError):
            writer.write(self.head)
            while True:
                writer.write(self.piece)
                self.sent += len(self.piece)
                await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("head", "url", "most"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "json://127.0.0.1:{}/hook", 1 << 25),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "json://127.0.0.1:{}/hook", 1 << 25),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", "json://127.0.0.1:{}/hook", 1 << 25),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "json://127.0.0.1:{}/hook", 1 << 25),
        # Not HTTP, so only the memory limit of the process applies.
        (b"220-hello\r\n", "mailto://me:pw@127.0.0.1:{}?smtp=127.0.0.1&mode=insecure&from=a@b.test", 1 << 29),
    ],
    ids=["body", "error", "redirect", "chunk", "smtp"],
)
async def test_an_answer_without_end_costs_little(head: bytes, url: str, most: int) -> None:
    flood = Flood(head, b"220-" + b"1" * 8000 + b"\r\n" if head.startswith(b"220") else b"1" * (1 << 16))
    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        address = Address(url.format(server.sockets[0].getsockname()[1]), 30)
        assert not await address.send(Message("info", "hello"))
    assert flood.asked == 1
    assert flood.sent < most


async def test_off_by_default() -> None:
    async with notifying(NotifyConfig(), None, RpcHealth()) as notifiers:
        assert notifiers == []


async def test_an_address_may_have_several_recipients() -> None:
    async with notifying(NotifyConfig(), "mailto://me:pw@gmail.com?to=a@x.com,b@x.com", RpcHealth()) as notifiers:
        assert len(notifiers) == 1


async def test_an_unknown_address_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigError, match="Apprise does not support") as caught:
        async with notifying(NotifyConfig(), "nonsense-SECRET", RpcHealth()):
            pass
    assert "SECRET" not in str(caught.value)
