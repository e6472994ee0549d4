"""The only caller of Hydra's ``instantiate``: builds what users vary, and nothing else.

``_target_`` can name anything importable, so only names below are built, and those of the packages that the user allows
(the setting ``allow_packages``). Nothing from the chain or from IPFS ever gets into a node.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from decloud_pl.errors import ConfigError, DecloudError

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

_ROOTS = ("lightning.", "torch.", "builtins")

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

    if "_target_" not in node:
        raise ConfigError("A configuration node has no _target_.", fix="Choose one of conf/'s groups.")
    _check(node, packages)
    try:
        make = instantiate({**node, "_partial_": True, "_convert_": "all"})
        return partial(make, **objects) if node.get("_partial_") else make(**objects)
    except DecloudError:
        raise
    except InstantiationException as error:
        raise _refused(node, error.__cause__ or error) from error
    except Exception as error:  # the target may be a user's own class, which may raise anything
        raise _refused(node, error) from error


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
        node: see `build`.
        offers: makes each object, by the parameter's name.
        packages: see `build`.
        is_given: whether the user has set a key of the node.

    Raises:
        ConfigError: see `build`, or the class does not take a key that the user has set.
    """
    takes = parameters(node, packages)
    taken = arguments_taken(node, packages, is_given)
    objects = {name: offer() for name, offer in offers.items() if takes(name) and name not in taken}
    return build(taken, packages=packages, **objects)


def arguments_taken(node: Node, packages: Collection[str], is_given: Callable[[str], bool]) -> dict[str, Any]:
    """The node without the defaults of another class, which its own class does not take.

    Raises:
        ConfigError: see `build`, or the class does not take a key that the user has set.
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
        ConfigError: see `build`, or the class cannot be imported.
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

    if "_target_" not in node:
        raise ConfigError("A configuration node has no _target_.", fix="Choose one of conf/'s groups.")
    _check(node, packages)
    try:
        return get_object(node["_target_"])
    except Exception as error:  # importing a user's own module may raise anything
        raise ConfigError(
            f"{node['_target_']} cannot be imported: {_first_line(error.__cause__ or error)}.",
            fix="Install its package where decloud_pl is installed, or correct the name.",
        ) from error


def _check(value: Any, packages: Collection[str]) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        allowed = (*ALLOWED, *(f"{package}." for package in packages))
        if target is not None and not (isinstance(target, str) and target.startswith(allowed)):
            package = str(target).partition(".")[0]
            raise ConfigError(
                f"{target!r} may not be built from a configuration.",
                fix=f"Allowed: {', '.join(allowed)}. If {package} is your own package, allow it with "
                f"`decloud-trainer config --set allow_packages={package}`.",
            )
        for item in value.values():
            _check(item, packages)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, packages)


def _refused(node: Node, error: BaseException) -> ConfigError:
    return ConfigError(f"{node['_target_']} cannot be built: {_first_line(error)}.", fix="Correct its settings.")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
