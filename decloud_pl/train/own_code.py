"""What a user's own classes must have, so that a round can be trained with them."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor

from decloud_pl.build import arguments_taken, parameters, target_of
from decloud_pl.errors import ConfigError
from decloud_pl.train.plan import TrainingPlan

_OPTIMIZER_NODES = ("optimizer", "scheduler")
_LOGGING = (LearningRateMonitor, DeviceStatsMonitor)


def check_module(plan: TrainingPlan) -> None:
    """Checks the class that ``module`` names.

    Raises:
        ConfigError: it is no LightningModule, does not take the base model or an argument that the user has set, or has
            an optimizer of its own where the user has set one.
    """
    node, packages = plan.config.module, plan.round.allow_packages
    target = target_of(node, packages)
    if isinstance(target, type) and not issubclass(target, LightningModule):
        raise ConfigError(f"{node['_target_']} is not a LightningModule.", fix="Derive it from LightningModule.")
    takes = parameters(node, packages)
    if not takes("network") and not takes("base"):
        raise ConfigError(
            f"{node['_target_']} does not take the base model.",
            fix="Give its __init__ a parameter `network` (an nn.Module) or `base` (a BaseModel).",
        )
    arguments_taken(node, packages, lambda name: plan.round.is_given(f"module.{name}"))
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
    node, packages = plan.config.datamodule, plan.round.allow_packages
    target = target_of(node, packages)
    if isinstance(target, type) and not issubclass(target, LightningDataModule):
        raise ConfigError(
            f"{node['_target_']} is not a LightningDataModule.", fix="Derive it from LightningDataModule."
        )
    arguments_taken(node, packages, lambda name: plan.round.is_given(f"datamodule.{name}"))


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
