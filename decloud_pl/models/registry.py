"""Architectures by name: this package's, torchvision's classification models, and those of plug-ins.

A plug-in is an entry point of the group ``decloud_pl.architectures``: a callable that takes the hyper-parameters as
keyword arguments and returns a `torch.nn.Module`. That module converts a batch of inputs to logits (N, classes).
"""

from __future__ import annotations

import importlib.metadata
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from decloud_pl.errors import ModelError
from decloud_pl.models.inputs import MAX_TEXT_LENGTH, MAX_VOCABULARY, ImageInput, InputSpec, TextInput
from decloud_pl.models.limits import CLASSES, SHARE, Limits, complaint, one_of, shown, whole

if TYPE_CHECKING:
    from torch import nn

HyperParameters = Mapping[str, object]
PLUG_INS = "decloud_pl.architectures"


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture of this package.

    Attributes:
        target: ``module:name`` of a class or function. Its keyword arguments are the hyper-parameters.
            Each has a default.
        kind: whether the network takes images or texts.
        limits: the allowed values of each hyper-parameter.
    """

    target: str
    kind: Literal["image", "text"]
    limits: Limits


_IMAGE_SIZE = whole(8, 1024)
_WIDTH = whole(1, 4096)
_DEPTH = whole(1, 48)
_HEADS = whole(1, 64)
_VOCABULARY = whole(2, MAX_VOCABULARY)

ARCHITECTURES: Mapping[str, Architecture] = {
    "simple_cnn": Architecture("decloud_pl.models.networks.simple_cnn:SimpleCNN", "image", {"num_classes": CLASSES}),
    "resnet": Architecture(
        "decloud_pl.models.networks.resnet:resnet",
        "image",
        {"num_classes": CLASSES, "depth": one_of(18, 34, 50, 101, 152)},
    ),
    "vit_tiny": Architecture(
        "decloud_pl.models.networks.vit:vit_tiny",
        "image",
        {
            "num_classes": CLASSES,
            "image_size": _IMAGE_SIZE,
            "patch_size": whole(1, 64),
            "width": _WIDTH,
            "depth": _DEPTH,
            "heads": _HEADS,
            "dropout": SHARE,
        },
    ),
    "mlp": Architecture(
        "decloud_pl.models.networks.mlp:MLP",
        "image",
        {
            "num_classes": CLASSES,
            "image_size": _IMAGE_SIZE,
            "hidden": whole(1, 16_384),
            "layers": whole(0, 16),
            "dropout": SHARE,
        },
    ),
    "text_bag": Architecture(
        "decloud_pl.models.networks.text_bag:TextBag",
        "text",
        {"num_classes": CLASSES, "vocabulary": _VOCABULARY, "width": _WIDTH},
    ),
    "text_transformer": Architecture(
        "decloud_pl.models.networks.text_transformer:TextTransformer",
        "text",
        {
            "num_classes": CLASSES,
            "vocabulary": _VOCABULARY,
            "length": whole(1, MAX_TEXT_LENGTH),
            "width": _WIDTH,
            "depth": _DEPTH,
            "heads": _HEADS,
            "dropout": SHARE,
        },
    ),
}

_TORCHVISION_LIMITS: Limits = {"num_classes": CLASSES}
# For training, these two have further heads whose outputs come with the logits.
_WITH_EXTRAS = ("googlenet", "inception_v3")


def build(architecture: str, hyper_parameters: HyperParameters) -> nn.Module:
    """Return a network with random weights. Pretrained weights are never loaded or downloaded.

    Raises:
        ModelError: the architecture is unknown or does not accept the hyper-parameters.
    """
    builder, limits = _builder(architecture)
    wrong = "" if limits is None else complaint(hyper_parameters, limits)
    if not wrong:
        try:
            return builder(**hyper_parameters)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise _cannot_build(architecture, hyper_parameters, "Correct the hyper-parameters") from error
    raise _cannot_build(architecture, hyper_parameters, wrong)


def known() -> list[str]:
    """Return the names of this package's architectures and of plug-ins, without torchvision's architectures."""
    return [*ARCHITECTURES, *(name for name in sorted(_plug_ins()) if name not in ARCHITECTURES)]


def default_input(architecture: str, hyper_parameters: HyperParameters) -> InputSpec:
    """Return the default input specification of an architecture.

    If the hyper-parameters contain an image size, a text length or a vocabulary, use those values.
    """
    own = ARCHITECTURES.get(architecture)
    numbers = {name: value for name, value in hyper_parameters.items() if type(value) is int}
    if own is not None and own.kind == "text":
        usual = TextInput()
        return TextInput(
            vocabulary=numbers.get("vocabulary", usual.vocabulary), length=numbers.get("length", usual.length)
        )
    return ImageInput(size=numbers.get("image_size", 32))


def _builder(architecture: str) -> tuple[Callable[..., nn.Module], Limits | None]:
    own = ARCHITECTURES.get(architecture)
    if own is not None:
        builder: Callable[..., nn.Module] = pkgutil.resolve_name(own.target)
        return builder, own.limits
    plug_ins = _plug_ins()
    if architecture in plug_ins:
        return _load(architecture, plug_ins[architecture]), None
    found = _torchvision(architecture)
    if found is None:
        raise ModelError(
            f"Unknown architecture {architecture!r}.",
            fix=f"Known: {', '.join(known())}, and torchvision's classification models.",
        )
    return found, _TORCHVISION_LIMITS


def _torchvision(name: str) -> Callable[..., nn.Module] | None:
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    without = {"aux_logits": False, "init_weights": False} if name in _WITH_EXTRAS else {}

    def builder(**hyper_parameters: object) -> nn.Module:
        network: nn.Module = torchvision.models.get_model(name, weights=None, **without, **hyper_parameters)
        return network

    return builder


def _plug_ins() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=PLUG_INS)}


def plug_in_folders() -> list[str]:
    """Return the folders on ``sys.path`` that contain plug-ins, except the interpreter's own folders.

    The quarantine's children do not see ``PYTHONPATH``, the user's site-packages or changes of ``sys.path``, so they
    need this list. Plug-ins are the user's own code, which the training imports as well.
    """
    own = {*site.getsitepackages(), *sysconfig.get_paths().values()}
    others = [folder for folder in dict.fromkeys(sys.path) if folder and folder not in own]
    return [folder for folder in others if _holds_plug_ins(folder)]


def _holds_plug_ins(folder: str) -> bool:
    found = importlib.metadata.distributions(path=[folder])
    return any(entry.group == PLUG_INS for distribution in found for entry in distribution.entry_points)


def _load(name: str, entry: importlib.metadata.EntryPoint) -> Callable[..., nn.Module]:
    try:
        loaded = entry.load()
    except Exception as error:  # importing a plug-in may raise anything
        raise ModelError(
            f"The plug-in {entry.value} of the architecture {name} cannot be imported: {_in_short(error)}.",
            fix="Reinstall or remove the plug-in.",
        ) from error
    if not callable(loaded):
        raise ModelError(
            f"The plug-in {entry.value} of the architecture {name} is not callable.",
            fix="Name a function or a class that returns a torch.nn.Module.",
        )

    def builder(**hyper_parameters: object) -> nn.Module:
        from torch import nn

        try:
            network = loaded(**hyper_parameters)
        except Exception as error:  # a plug-in may raise anything
            raise ModelError(
                f"The plug-in {entry.value} of the architecture {name} cannot be built with {shown(hyper_parameters)}: "
                f"{_in_short(error)}.",
                fix="Correct the hyper-parameters or the plug-in.",
            ) from error
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"The plug-in {entry.value} of the architecture {name} returned a {type(network).__name__}.",
                fix="Return a torch.nn.Module.",
            )
        return network

    return builder


def _in_short(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _cannot_build(architecture: str, hyper_parameters: HyperParameters, fix: str) -> ModelError:
    return ModelError(f"The architecture {architecture} cannot be built with {shown(hyper_parameters)}.", fix=f"{fix}.")
