"""decloud_pl: train models in DECLOUD rounds with PyTorch Lightning and earn SOL.

``__all__`` lists the public names. ``import decloud_pl`` loads only the exception classes. All other public names are
loaded on first use, because importing torch takes a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from decloud_pl import errors
from decloud_pl.errors import *  # noqa: F403  # re-exports the names in errors.__all__

if TYPE_CHECKING:
    from decloud_pl.config import load as load_settings
    from decloud_pl.experiment.run import run_experiment
    from decloud_pl.localnet.network import LocalNetwork
    from decloud_pl.models.inputs import ImageInput, TextInput
    from decloud_pl.models.package import save as save_model
    from decloud_pl.models.quarantine.opening import open_base_model
    from decloud_pl.models.spec import ModelSpec
    from decloud_pl.session import Session
    from decloud_pl.train.callbacks.delta import DeltaCallback
    from decloud_pl.train.fit.datamodule import RoundDataModule
    from decloud_pl.train.fit.module import RoundModule

__version__ = "0.1.0"

__all__ = [
    "DeltaCallback",
    "ImageInput",
    "LocalNetwork",
    "ModelSpec",
    "RoundDataModule",
    "RoundModule",
    "Session",
    "TextInput",
    "load_settings",
    "open_base_model",
    "run_experiment",
    "save_model",
]
__all__ += errors.__all__

_LAZY = {
    "DeltaCallback": ("decloud_pl.train.callbacks.delta", "DeltaCallback"),
    "ImageInput": ("decloud_pl.models.inputs", "ImageInput"),
    "LocalNetwork": ("decloud_pl.localnet.network", "LocalNetwork"),
    "ModelSpec": ("decloud_pl.models.spec", "ModelSpec"),
    "RoundDataModule": ("decloud_pl.train.fit.datamodule", "RoundDataModule"),
    "RoundModule": ("decloud_pl.train.fit.module", "RoundModule"),
    "Session": ("decloud_pl.session", "Session"),
    "TextInput": ("decloud_pl.models.inputs", "TextInput"),
    "load_settings": ("decloud_pl.config", "load"),
    "open_base_model": ("decloud_pl.models.quarantine.opening", "open_base_model"),
    "run_experiment": ("decloud_pl.experiment.run", "run_experiment"),
    "save_model": ("decloud_pl.models.package", "save"),
}
"""The module of each public name, and the name in that module."""


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found: object = getattr(importlib.import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
