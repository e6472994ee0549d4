"""What a user's own classes must have, so that a round can be trained with them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor

from decloud_pl.build import Node, build, check_targets
from decloud_pl.errors import ConfigError, first_line
from decloud_pl.train.plan import TrainingPlan

_ROOTS = ("lightning.", "torch.", "builtins")
_OPTIMIZER_NODES = ("optimizer", "scheduler")
_OF_FIT = {
    "module": {"compile": "compiled"},
    "datamodule": {"data_memory_mb": "memory_bytes", "data_workers": "workers"},
}
"""Settings of ``fit`` and the parameters by which a class takes them."""
_LOGGING = (LearningRateMonitor, DeviceStatsMonitor)


def check_module(plan: TrainingPlan) -> None:
    """Checks the class that ``module`` names.

    Raises:
        ConfigError: it is no LightningModule, does not take the base model or an argument that the user has set, or has
            an optimizer of its own where the user has set one.
    """
    node = plan.config.module
    _check_kind(plan, node, LightningModule)
    takes = parameters(node, plan.round.allow_packages)
    if not takes("network") and not takes("base"):
        raise ConfigError(
            f"{node['_target_']} does not take the base model.",
            fix="Give its __init__ a parameter `network` (an nn.Module) or `base` (a BaseModel).",
        )
    _check_arguments(plan, "module", node)
    for name in _OPTIMIZER_NODES:
        if has_own_optimizer(plan) and plan.round.is_given(name):
            raise ConfigError(
                f"{node['_target_']} has a configure_optimizers of its own, so the setting {name} has no effect.",
                fix=f"Unset {name} (learning_rate included), or let the module take a parameter `optimizer`.",
            )


def has_own_optimizer(plan: TrainingPlan) -> bool:
    """Whether the module brings its optimizer, so that the node ``optimizer`` is not used."""
    node, packages = plan.config.module, plan.round.allow_packages
    default = LightningModule.configure_optimizers
    own = getattr(target_of(node, packages), "configure_optimizers", default) is not default
    return own and not parameters(node, packages)("optimizer")


def check_data(plan: TrainingPlan) -> None:
    """Checks the class that ``datamodule`` names.

    Raises:
        ConfigError: it is no LightningDataModule, or does not take an argument that the user has set.
    """
    _check_kind(plan, plan.config.datamodule, LightningDataModule)
    _check_arguments(plan, "datamodule", plan.config.datamodule)


def _check_kind(plan: TrainingPlan, node: Node, kind: type) -> None:
    target = target_of(node, plan.round.allow_packages)
    if isinstance(target, type) and not issubclass(target, kind):
        raise ConfigError(f"{node['_target_']} is not a {kind.__name__}.", fix=f"Derive it from {kind.__name__}.")


def _check_arguments(plan: TrainingPlan, group: str, node: Node) -> None:
    packages = plan.round.allow_packages
    arguments_taken(node, packages, lambda name: plan.round.is_given(f"{group}.{name}"))
    takes = parameters(node, packages)
    for name, parameter in _OF_FIT[group].items():
        if f"fit.{name}" in plan.round.given and not takes(parameter):
            raise ConfigError(
                f"fit.{name} has no effect with {node['_target_']}.",
                fix=f"Unset it, or let the class take a parameter `{parameter}`.",
            )


def check_callbacks(plan: TrainingPlan, callbacks: Sequence[Callback]) -> None:
    """Checks callbacks that Lightning itself would refuse only when the fit begins.

    Raises:
        ConfigError: something that is no callback, or one that needs a logger where none is chosen.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, Callback):
            raise ConfigError(f"{name} in the group callbacks is not a Callback.", fix="Derive it from Callback.")
        if isinstance(callback, _LOGGING) and not plan.config.logger:
            raise ConfigError(f"The callback {name} needs a logger.", fix="Choose one, for example logger=tensorboard.")


def build_taking(
    node: Node,
    offers: Mapping[str, Callable[[], object]],
    *,
    packages: Collection[str] = (),
    is_given: Callable[[str], bool] = lambda _: False,
) -> Any:
    """Instantiates a node with those of the offered objects that its class takes.

    A key of the node that the class does not take is left out where it is the default of another class.

    Args:
        node: see `decloud_pl.build.build`, as for ``packages``.
        offers: makes each object, by the parameter's name.
        packages: the user's.
        is_given: whether the user has set a key of the node.

    Raises:
        ConfigError: see `decloud_pl.build.build`, or the class does not take a key that the user has set.
    """
    takes = parameters(node, packages)
    taken = arguments_taken(node, packages, is_given)
    objects = {name: offer() for name, offer in offers.items() if takes(name) and name not in taken}
    return build(taken, packages=packages, **objects)


def arguments_taken(node: Node, packages: Collection[str], is_given: Callable[[str], bool]) -> dict[str, Any]:
    """The node without the defaults of another class, which its own class does not take.

    Raises:
        ConfigError: see `decloud_pl.build.build`, or the class does not take a key that the user has set.
    """
    names, takes_others = _keywords(target_of(node, packages))
    taken = {
        name: value
        for name, value in node.items()
        if name.startswith("_") or name in names or (takes_others and is_given(name))
    }
    for name in set(node) - set(taken):
        if is_given(name):
            raise ConfigError(f"{node['_target_']} takes no argument {name!r}.", fix=f"Do not set {name} for it.")
    return taken


def parameters(node: Node, packages: Collection[str] = ()) -> Callable[[str], bool]:
    """Says of a name whether a node's class, or a class that it hands its ``**keywords`` on to, names it as a keyword.

    Raises:
        ConfigError: see `decloud_pl.build.build`, or the class cannot be imported.
    """
    return _keywords(target_of(node, packages))[0].__contains__


def _keywords(target: Any) -> tuple[set[str], bool]:
    """The keywords that a class or function names, and whether it takes others too."""
    makers = [target]
    if isinstance(target, type):
        # LightningModule's own __init__ takes any keyword, only to refuse it.
        own = [kind for kind in target.__mro__ if not kind.__module__.startswith(_ROOTS)]
        makers = [vars(kind)["__init__"] for kind in own if "__init__" in vars(kind)]
    names: set[str] = set()
    others: list[bool] = []
    for maker in makers:
        found = inspect.signature(maker).parameters.values()
        names |= {one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        others.append(any(one.kind is one.VAR_KEYWORD for one in found))
        if not others[-1]:
            break
    return names, others[:1] == [True]


def target_of(node: Node, packages: Collection[str] = ()) -> Any:
    """The class or function that a node names.

    Raises:
        ConfigError: it is missing, not allowed, or cannot be imported.
    """
    from hydra.utils import get_object

    check_targets(node, packages)
    # Hydra also logs what the sentence below says.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    try:
        return get_object(node["_target_"])
    except Exception as error:  # importing a user's own module may raise anything
        raise ConfigError(
            f"{node['_target_']} cannot be imported: {first_line(error.__cause__ or error)}.",
            fix="Install its package where decloud_pl is installed, or correct the name.",
        ) from error
