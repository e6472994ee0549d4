"""Parametrizes the tests with each account, instruction and event that a dialect's test class lists."""

from __future__ import annotations

import pytest

from tests.chain.dialects.conformance import DialectConformance

_LISTS = {"account": "ACCOUNTS", "instruction": "INSTRUCTIONS", "event": "EVENTS"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is not None and issubclass(metafunc.cls, DialectConformance):
        for name in _LISTS.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(name, list(getattr(metafunc.cls, _LISTS[name])))
