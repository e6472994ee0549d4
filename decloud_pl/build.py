"""Build configuration nodes with Hydra's ``instantiate``, restricted to allowed targets.

A ``_target_`` can name anything that Python can import. So a target must begin with an entry of `ALLOWED` or be in a
package of the setting ``allow_packages``. Data from the chain or from IPFS never becomes part of a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from decloud_pl.errors import ConfigError, DecloudError, first_line

_OF_LIGHTNING = ("Trainer", "callbacks.", "loggers.", "plugins.", "profilers.", "strategies.")
ALLOWED = (
    *("decloud_pl.data.", "decloud_pl.models.", "decloud_pl.store.", "decloud_pl.train."),
    *("decloud_pl.executors.", "decloud_pl.rounds.wallets."),
    *(f"lightning.pytorch.{name}" for name in _OF_LIGHTNING),
    *("torch.optim.", "torchmetrics."),
)

_EXTRAS = {"MLFlowLogger": "mlflow", "TensorBoardLogger": "tensorboard", "WandbLogger": "wandb"}
"""Loggers that need an optional dependency, and the extra that installs it."""

Node = Mapping[str, Any]


def build(node: Node, *, packages: Collection[str] = (), **objects: Any) -> Any:
    """Instantiate the target of a configuration node. Pass ``objects`` to the target as additional keyword arguments.

    The node consists of plain Python values. Each ``_target_`` must begin with an entry of `ALLOWED` or be in one of
    the user's ``packages``.

    Raises:
        ConfigError: a target is missing or not allowed, or the target raises an exception.
        DecloudError: raised by the target itself; passed on unchanged.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check_targets(node, packages)
    try:
        make = instantiate({**node, "_partial_": True, "_convert_": "all"})
        return partial(make, **objects) if node.get("_partial_") else make(**objects)
    except DecloudError:
        raise
    except Exception as error:  # a custom class can raise any exception
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        target, fix = node["_target_"], "Correct its settings."
        if isinstance(cause, ModuleNotFoundError) and (extra := _EXTRAS.get(target.rpartition(".")[2])):
            fix = f"Install it with: pip install 'decloud_pl[{extra}]'"
        raise ConfigError(f"{target} cannot be built: {first_line(cause)}.", fix=fix) from error


def check_targets(node: Node, packages: Collection[str]) -> None:
    """Check that every ``_target_`` in a node is allowed.

    Raises:
        ConfigError: the node has no ``_target_``, or a target in it is not allowed.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            f"The configuration node {node!r} has no _target_.", fix="Add _target_, or choose a file from conf/."
        )
    allowed = (*ALLOWED, *(f"{package}." for package in packages))
    for target in _targets(node):
        if not (isinstance(target, str) and target.startswith(allowed)):
            package = str(target).partition(".")[0]
            raise ConfigError(
                f"{target!r} may not be built from a configuration, because it is not in an allowed package.",
                fix=f"Allowed: {', '.join(one.rstrip('.') for one in allowed)}. If {package} is your own package, "
                f"allow it with `decloud-trainer config --set allow_packages={package}`.",
            )


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            yield value["_target_"]
        value = list(value.values())
    for item in value if isinstance(value, (list, tuple)) else ():
        yield from _targets(item)
