"""The only caller of Hydra's ``instantiate``: builds what users vary, and nothing else.

``_target_`` can name anything importable, so only names below are built. Nothing from the chain or from IPFS
ever gets into a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from decloud_pl.errors import ConfigError

ALLOWED = (
    "decloud_pl.data.",
    "decloud_pl.models.",
    "decloud_pl.train.",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.strategies.",
    "torch.optim.",
    "torchmetrics.",
)


def build(node: Mapping[str, Any], *, packages: Sequence[str] = (), **extra: Any) -> Any:
    """Instantiates a configuration node.

    Args:
        node: plain values with a ``_target_``, as `decloud_pl.settings` hands them out.
        packages: of the user's own that are allowed too: the setting ``allow_packages``.
        extra: further keyword arguments.

    Raises:
        ConfigError: a target that is missing or not allowed, or one that refuses its arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if "_target_" not in node:
        raise ConfigError("A configuration node has no _target_.", fix="Choose one of conf/'s groups.")
    _check(node, (*ALLOWED, *packages, *(f"{package}." for package in packages)))
    try:
        return instantiate({**node, "_convert_": "all"}, **extra)
    except InstantiationException as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(f"{node['_target_']} cannot be built: {reason}.", fix="Correct its settings.") from error


def _check(value: Any, allowed: tuple[str, ...]) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not (isinstance(target, str) and _is_allowed(target, allowed)):
            raise ConfigError(
                f"{target!r} may not be built from a configuration.",
                fix=f"Allowed: {', '.join(ALLOWED)}, and packages of your own that the setting allow_packages names.",
            )
        for item in value.values():
            _check(item, allowed)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, allowed)


def _is_allowed(target: str, allowed: tuple[str, ...]) -> bool:
    return any(target == name or (name.endswith(".") and target.startswith(name)) for name in allowed)
