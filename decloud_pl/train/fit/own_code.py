"""Check whether a round can be trained with the user's classes."""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import DeviceStatsMonitor, EarlyStopping, LearningRateMonitor, ModelCheckpoint

from decloud_pl.build import Node, build, check_targets
from decloud_pl.errors import ConfigError, first_line
from decloud_pl.train.fit.module import RoundModule
from decloud_pl.train.plan import TrainingPlan

Group = Literal["module", "datamodule"]

_ROOTS = ("lightning.", "torch.", "builtins")
_OPTIMIZER_NODES = {"optimizer": "optimizer, optimizer.* and learning_rate", "scheduler": "scheduler and scheduler.*"}
"""The nodes that a module with its own optimizer does not use. Each is mapped to the settings that change it."""
_OF_FIT: Mapping[Group, Mapping[str, str]] = {
    "module": {"compile": "compiled"},
    "datamodule": {"data_memory_mb": "memory_bytes", "data_workers": "workers"},
}
"""Settings of ``fit``, and the name of the parameter that passes each to a class."""
_PACKAGED = ("lightning.", "decloud_pl.")
_LOGGING = (LearningRateMonitor, DeviceStatsMonitor)


def check_module(plan: TrainingPlan) -> None:
    """Check the class that ``module`` names.

    Raises:
        ConfigError: the class is not a LightningModule, does not accept the base model, does not accept an argument
            that the user has set, or makes its own optimizer although the user has set an optimizer or a schedule.
    """
    _check_kind(plan, "module", LightningModule)
    target = plan.config.module["_target_"]
    if not {"network", "base"} & parameters(plan, "module"):
        raise ConfigError(
            f"{target} does not accept the base model.",
            fix="Add a parameter `network` (an nn.Module) or `base` (a BaseModel) to its __init__.",
        )
    _check_arguments(plan, "module")
    for name, settings in _OPTIMIZER_NODES.items():
        if has_own_optimizer(plan) and plan.round.is_given(name):
            raise ConfigError(
                f"{target} has its own configure_optimizers, so the setting {name} has no effect.",
                fix=f"Unset {settings}, or add a parameter `optimizer` to the module's __init__.",
            )


def has_own_optimizer(plan: TrainingPlan) -> bool:
    """Return whether the module makes its own optimizer, so that the node ``optimizer`` is not used.

    It does if it overrides ``configure_optimizers`` and does not itself declare a parameter ``optimizer``. A parameter
    that only a base class declares is for the ``configure_optimizers`` of that base class. A ``configure_optimizers``
    that calls the one of its base class makes no optimizer itself.
    """
    mro = getattr(_target(plan, "module"), "__mro__", ())  # a function has none
    bases = list(itertools.takewhile(lambda kind: kind is not LightningModule, mro))
    makers = [kind for kind in bases if "configure_optimizers" in vars(kind)]
    if not makers or "optimizer" not in parameters(plan, "module"):
        return bool(makers)
    maker = next((kind for kind in makers if not _delegates(kind)), makers[-1])
    return not any(_takes_optimizer(kind) for kind in bases[: bases.index(maker) + 1])


def _delegates(kind: type) -> bool:
    """Return whether a class's ``configure_optimizers`` calls ``super().configure_optimizers()``."""
    code = getattr(inspect.unwrap(vars(kind)["configure_optimizers"]), "__code__", None)
    return code is not None and {"super", "configure_optimizers"} <= set(code.co_names)


def _takes_optimizer(kind: type) -> bool:
    return "__init__" in vars(kind) and "optimizer" in inspect.signature(vars(kind)["__init__"]).parameters


def check_data(plan: TrainingPlan) -> None:
    """Check the class that ``datamodule`` names.

    Raises:
        ConfigError: the class is not a LightningDataModule, or does not accept an argument that the user has set.
    """
    _check_kind(plan, "datamodule", LightningDataModule)
    _check_arguments(plan, "datamodule")


def _check_kind(plan: TrainingPlan, group: Group, kind: type) -> None:
    target = _target(plan, group)
    if isinstance(target, type) and not issubclass(target, kind):
        name = _node(plan, group)["_target_"]
        raise ConfigError(f"{name} is not a {kind.__name__}.", fix=f"Derive it from {kind.__name__}.")


def _check_arguments(plan: TrainingPlan, group: Group) -> None:
    _arguments_taken(plan, group)
    for name, parameter in _OF_FIT[group].items():
        if f"fit.{name}" in plan.round.given and parameter not in parameters(plan, group):
            raise ConfigError(
                f"fit.{name} has no effect with {_node(plan, group)['_target_']}.",
                fix=f"Unset it, or add a parameter `{parameter}` to the class.",
            )


def check_callbacks(plan: TrainingPlan, callbacks: Sequence[Callback]) -> None:
    """Refuse callbacks that Lightning would refuse only after the fit has started.

    Raises:
        ConfigError: an object is not a callback, a callback needs a logger but none is configured, or a callback
            watches a metric that the module does not log.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, Callback):
            raise ConfigError(f"{name} in the group callbacks is not a Callback.", fix="Derive it from Callback.")
        if isinstance(callback, _LOGGING) and not plan.config.logger:
            raise ConfigError(f"The callback {name} needs a logger.", fix="Choose one, for example logger=tensorboard.")
    # A custom class may log other metrics, and we cannot find out which before it runs.
    is_ours = _target(plan, "module") is RoundModule
    packaged = is_ours and all(type(one).__module__.startswith(_PACKAGED) for one in callbacks)
    if packaged and (refusal := unlogged(callbacks, RoundModule.LOGGED)):
        raise refusal


def unlogged(callbacks: Sequence[Callback], logged: Collection[str]) -> ConfigError | None:
    """Return the error for the first callback whose metric is not in ``logged``; None if there is no such callback."""
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.strict:
            also: tuple[str, ...] = ()
        elif isinstance(callback, ModelCheckpoint):
            also = ("epoch", "step")  # Lightning's own
        else:
            continue
        name, monitor = type(callback).__name__, callback.monitor
        if monitor is not None and monitor not in (*logged, *also):
            return ConfigError(
                f"The callback {name} watches {monitor!r}, which the training does not log.",
                fix=f"Set its monitor to one of {', '.join(sorted(logged))}, or log the metric in your module.",
            )
    return None


def build_taking(plan: TrainingPlan, group: Group, offers: Mapping[str, Callable[[], object]]) -> Any:
    """Instantiate the class in a node's ``_target_``, and pass it the objects in ``offers`` that it accepts.

    ``offers`` maps the name of a parameter to a function that returns the object for it. A value in the node takes
    precedence over an offered object. Default values in the node that the class does not accept are left out.

    Raises:
        ConfigError: see `decloud_pl.build.build`, or the class does not accept a key that the user has set.
    """
    takes, taken = parameters(plan, group), _arguments_taken(plan, group)
    objects = {name: offer() for name, offer in offers.items() if name in takes and name not in taken}
    return build(taken, packages=plan.round.allow_packages, **objects)


def _arguments_taken(plan: TrainingPlan, group: Group) -> dict[str, Any]:
    """Return the node without the default values and a recipe's values that its class does not accept.

    Raises:
        ConfigError: the class does not accept a key that the user has set.
    """
    node, (names, takes_others) = _node(plan, group), _keywords(_target(plan, group))
    taken: dict[str, Any] = {}
    for name, value in node.items():
        is_given = plan.round.is_given(f"{group}.{name}")
        if name.startswith("_") or name in names or (takes_others and is_given):
            taken[name] = value
        elif is_given:
            raise ConfigError(f"{node['_target_']} does not accept an argument {name!r}.", fix=f"Unset {group}.{name}.")
    return taken


def parameters(plan: TrainingPlan, group: Group) -> set[str]:
    """Return the parameter names of the class in a node's ``_target_``.

    If the class accepts ``**keywords``, the result includes the parameters of its base classes.

    Raises:
        ConfigError: see `decloud_pl.build.build`, or the class cannot be imported.
    """
    return _keywords(_target(plan, group))[0]


def _keywords(target: Any) -> tuple[set[str], bool]:
    """Return the names of a class's or function's parameters, and whether it also accepts other ``**keywords``."""
    makers = [target]
    if isinstance(target, type):
        # LightningModule's own __init__ accepts any keyword only to refuse it.
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


def _node(plan: TrainingPlan, group: Group) -> Node:
    return plan.config.module if group == "module" else plan.config.datamodule


def _target(plan: TrainingPlan, group: Group) -> Any:
    """Import the class or function that a node names."""
    from hydra.utils import get_object

    node = _node(plan, group)
    check_targets(node, plan.round.allow_packages)
    # Hydra also logs the error that we raise below.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    try:
        return get_object(node["_target_"])
    except Exception as error:  # importing the user's module may raise anything
        raise ConfigError(
            f"{node['_target_']} cannot be imported: {first_line(error.__cause__ or error)}.",
            fix="Install its package where decloud_pl is installed, or correct the name.",
        ) from error
