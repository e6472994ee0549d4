"""Addresses that may hold a key, kept out of everything that Hydra prints and saves.

The composed configuration has ``${private:KEY}`` in their place. Only `revealed` makes that the whole text; for
everybody else, ``--resolve`` included, it is what may be shown. The text itself stays in this process. A sweep's job
in another process reads it again where the user keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.redact import redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

_kept: dict[str, str] = {}
_is_revealed = ContextVar("is_revealed", default=False)


def hide(key: str, value: Any) -> Any:
    """A value with ``${private:…}`` for every text in it that must not be shown as it is.

    Args:
        key: names the value: a place in the tree, or a file and a place in it as ``network/mine:rpc_url``.
        value: plain values; a text may be an interpolation.
    """
    if isinstance(value, Mapping):
        return {
            name: hide(f"{key}.{name}" if key[-1:] != ":" else f"{key}{name}", item) for name, item in value.items()
        }
    if isinstance(value, list):
        return [hide(f"{key}.{index}", item) for index, item in enumerate(value)]
    # What an environment variable holds can be such an address too.
    if not isinstance(value, str) or (redact(value) == value and "${oc.env:" not in value):
        return value
    _kept[key] = value
    return "${private:'" + key.replace("\\", "\\\\").replace("'", "\\'") + "'}"


@contextmanager
def revealed() -> Iterator[None]:
    """Within it the hidden texts are whole."""
    token = _is_revealed.set(True)
    try:
        yield
    finally:
        _is_revealed.reset(token)


def private(key: str, *, _root_: DictConfig) -> Any:
    """The resolver."""
    from omegaconf import OmegaConf

    if key not in _kept:
        _read_again(key, Path(str(_root_.home)).expanduser())
    found = OmegaConf.create({"it": _kept[key]}, parent=_root_)["it"]
    return found if _is_revealed.get() or not isinstance(found, str) else redact(found)


def _read_again(key: str, home: Path) -> None:
    """Hides again what another process has hidden, so that it is known here."""
    from decloud_pl.settings.layers import read_layers
    from decloud_pl.settings.own_files import read_own
    from decloud_pl.settings.schema import USER_CONF

    file, colon, _ = key.partition(":")
    if colon:
        read_own(home / USER_CONF, file)
    else:
        read_layers(home, os.environ).node(())
