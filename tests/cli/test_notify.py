"""``decloud-trainer notify test``, with the services at the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from decloud_pl.cli import main
from decloud_pl.observers.notify import split
from tests.store.fakes.server import Request, Server


class Inbox(Server):
    """A service that accepts messages, except at the address for failures."""

    def handle(self, request: Request) -> None:
        request.answer(500 if "full" in request.path else 200)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as made:
        yield made


def address(inbox: Inbox, place: str) -> str:
    return f"json://me:SECRET@{inbox.url.removeprefix('http://')}/{place}"


def test_every_address_gets_a_message(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DECLOUD_NOTIFY_URLS", f"{address(inbox, 'one')},{address(inbox, 'two')}")
    assert main(["notify", "test"]) == 0
    assert capsys.readouterr().out == "1. JSON: sent\n2. JSON: sent\n"
    assert sorted(path for _, path in inbox.log) == ["/one", "/two"]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("{0}?to=a@x,b@x", ["{0}?to=a@x,b@x"]),
        ("{0},{1}", ["{0}", "{1}"]),
        (" {0}, {1},\n", ["{0}", "{1}"]),
        ("{0}?to=a@x,b@x,{1}", ["{0}?to=a@x,b@x", "{1}"]),
    ],
)
def test_a_comma_separates_addresses_only_before_a_scheme(urls: str, expected: list[str]) -> None:
    given = ("json://me:SECRET@127.0.0.1:1/one", "json://me:SECRET@127.0.0.1:1/two")
    assert split(urls.format(*given)) == [url.format(*given) for url in expected]


def test_the_one_that_fails_is_named_without_its_address(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DECLOUD_NOTIFY_URLS", f"{address(inbox, 'full')} {address(inbox, 'two')}")
    assert main(["notify", "test"]) == 15
    shown = capsys.readouterr()
    assert shown.out == "1. JSON: failed\n2. JSON: sent\n"
    assert "failed for 1 of 2 addresses in notify_urls (number 1)" in shown.err
    assert "SECRET" not in shown.out + shown.err
    monkeypatch.setenv("DECLOUD_NOTIFY_URLS", address(inbox, "full"))
    assert main(["notify", "test", "--json"]) == 15
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"ok": False, "channels": [{"service": "JSON", "ok": False}]}
    assert "SECRET" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("urls", "words"), [("", "notify_urls is not set"), ("nonsense-SECRET", "Apprise does not support")]
)
def test_without_an_address_the_error_has_a_fix(
    urls: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DECLOUD_NOTIFY_URLS", urls)
    assert main(["notify", "test"]) == 3
    shown = capsys.readouterr().err
    assert words in shown
    assert "SECRET" not in shown
