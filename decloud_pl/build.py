"""The only caller of Hydra's ``instantiate``: builds what users vary, and nothing else.

``_target_`` can name anything importable, so only names below are built, and those of the packages that the user allows
(the setting ``allow_packages``). Nothing from the chain or from IPFS ever gets into a node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from decloud_pl.errors import ConfigError, DecloudError, first_line

ALLOWED = (
    "decloud_pl.data.",
    "decloud_pl.models.",
    "decloud_pl.train.",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.plugins.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
    "torch.optim.",
    "torchmetrics.",
)

_EXTRAS = {
    "lightning.pytorch.loggers.MLFlowLogger": "mlflow",
    "lightning.pytorch.loggers.TensorBoardLogger": "tensorboard",
    "lightning.pytorch.loggers.WandbLogger": "wandb",
}
"""Targets that need a package of an extra."""

Node = Mapping[str, Any]


def build(node: Node, *, packages: Collection[str] = (), **objects: Any) -> Any:
    """Instantiates a configuration node.

    Args:
        node: plain values with a ``_target_``, as `decloud_pl.settings` hands them out.
        packages: the user's packages, allowed besides `ALLOWED`.
        objects: further keyword arguments, handed on as they are.

    Raises:
        ConfigError: a target that is missing or not allowed, or one that refuses its arguments.
        DecloudError: what the target raises of this program's own errors.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check_targets(node, packages)
    try:
        make = instantiate({**node, "_partial_": True, "_convert_": "all"})
        return partial(make, **objects) if node.get("_partial_") else make(**objects)
    except DecloudError:
        raise
    except InstantiationException as error:
        raise _refused(node, error.__cause__ or error) from error
    except Exception as error:  # the target may be a user's own class, which may raise anything
        raise _refused(node, error) from error


def check_targets(node: Node, packages: Collection[str]) -> None:
    """Checks everything that a node would build.

    Raises:
        ConfigError: the node has no target, or one in it is not allowed.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"The configuration node {node!r} has no _target_.", fix="Choose one of conf/'s groups.")
    _check(node, packages)


def _check(value: Any, packages: Collection[str]) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        allowed = (*ALLOWED, *(f"{package}." for package in packages))
        if target is not None and not (isinstance(target, str) and target.startswith(allowed)):
            package = str(target).partition(".")[0]
            raise ConfigError(
                f"{target!r} may not be built from a configuration.",
                fix=f"Allowed: {', '.join(one.rstrip('.') for one in allowed)}. If {package} is your own package, "
                f"allow it with `decloud-trainer config --set allow_packages={package}`.",
            )
        for item in value.values():
            _check(item, packages)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, packages)


def _refused(node: Node, error: BaseException) -> ConfigError:
    target = node["_target_"]
    extra = _EXTRAS.get(target)
    if extra is not None and isinstance(error, ModuleNotFoundError):
        return ConfigError(
            f"{target} needs a package that is not installed.", fix=f"Run: pip install 'decloud_pl[{extra}]'"
        )
    return ConfigError(f"{target} cannot be built: {first_line(error)}.", fix="Correct its settings.")
