"""Of an address only scheme, host and port are shown, wherever a key may be in it."""

from __future__ import annotations

import logging

import pytest

from decloud_pl.errors import StoreError
from decloud_pl.observers.log import RedactingFormatter
from decloud_pl.redact import redact, redact_tree


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://rpc.example.org/?api-key=KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org?api-key=KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org/v2/KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org#KEY", "https://rpc.example.org/…"),
        ("https://user:KEY@rpc.example.org", "https://…@rpc.example.org"),
        ("https://user:K@EY@rpc.example.org:8899/KEY", "https://…@rpc.example.org:8899/…"),
        ("WSS://[::1]:8900/KEY?KEY", "WSS://[::1]:8900/…"),
        ("http://127.0.0.1:8899", "http://127.0.0.1:8899"),
        ("http://127.0.0.1:8899/", "http://127.0.0.1:8899/"),
        ("Write it like http://127.0.0.1:8899. Then go on.", "Write it like http://127.0.0.1:8899. Then go on."),
        ("(see https://a.example/KEY)", "(see https://a.example/…)"),
        ("a=[https://a.example/KEY,https://b.example/?k=KEY,KEY]", "a=[https://a.example/…,https://b.example/…]"),
        ("'https://a.example/KEY' \"https://b.example/KEY\"", "'https://a.example/…' \"https://b.example/…\""),
        ("file:///data/conf", "file:///data/conf"),
        ("mnist:/data/mnist", "mnist:/data/mnist"),
        ("https://a.example/…", "https://a.example/…"),
        ("://KEY", "://KEY"),
    ],
)
def test_what_is_left_of_an_address(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_in_every_place_of_a_tree() -> None:
    tree = {"a": [{"b": "https://a.example/KEY"}, 3, None], "c": ("ws://b.example?KEY",)}
    assert redact_tree(tree) == {"a": [{"b": "https://a.example/…"}, 3, None], "c": ["ws://b.example/…"]}


def test_a_sentence_holds_no_key() -> None:
    error = StoreError("https://a.example/KEY does not answer.", fix="Try https://b.example/?k=KEY.")
    assert str(error) == "https://a.example/… does not answer. Try https://b.example/…."
    assert "KEY" not in repr(error)


def test_a_log_line_and_its_traceback_hold_no_key() -> None:
    try:
        raise ValueError("https://a.example/KEY")
    except ValueError:
        record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "POST %s", ("https://a.example/KEY",), None)
        import sys

        record.exc_info = sys.exc_info()
    line = RedactingFormatter("%(levelname)s %(message)s").format(record)
    assert line.startswith("INFO POST https://a.example/…\nTraceback")
    assert "KEY" not in line
