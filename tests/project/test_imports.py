"""Imports point one way, including late imports inside functions."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import decloud_pl

PACKAGE = Path(decloud_pl.__file__).parent
TESTS = Path(__file__).parents[1]
NAME = "decloud_pl"
DIALECTS = f"{NAME}.chain.dialects"

_BASE = {"addresses", "errors", "domain", "durable", "legible", "ranges", "redact", "retry", "shortage"}
_BASE |= {"proxies", "loop_thread", "children", "own_memory", "trainer_arguments"}
_CLIENT = {*_BASE, "chain", "store", "data", "models"}
_ROUNDS = {*_CLIENT, "config", "build", "config_dir", "train", "journal", "executors"}
_DAEMON = {*_ROUNDS, "rounds", "observers"}
# The other parts that each part of the package may import. Every part may import the version from `decloud_pl`.
ALLOWED: dict[str, set[str]] = {
    "": {"errors", "session", "localnet", "config", "models", "train", "experiment"},  # the public names
    "redact": set(),
    "legible": set(),
    "errors": {"legible", "redact"},
    "domain": {"errors"},
    "addresses": set(),
    "ranges": {"addresses", "domain"},
    "durable": set(),
    "retry": {"errors"},
    "http_client": {"proxies"},
    "proxies": {"addresses", "errors", "redact"},
    "shortage": {"errors"},
    "config_dir": {"errors"},
    "secrets": {"errors"},
    "loop_thread": set(),
    "trainer_arguments": {"errors"},
    "own_memory": set(),
    "children": {"errors", "own_memory", "redact", "secrets"},
    "config": {*_BASE, "config_dir", "secrets", "chain", "store"},
    "build": {"errors"},
    "chain": _BASE,
    "store": {*_BASE, "http_client"},
    "data": {*_BASE, "config_dir", "http_client"},
    "models": _BASE,
    "train": {*_CLIENT, "config", "build"},
    "journal": {*_BASE, "chain", "store"},
    "executors": {*_CLIENT, "config", "train"},
    "rounds": _ROUNDS,
    "observers": {*_ROUNDS, "rounds", "http_client"},
    "diagnose": {*_ROUNDS, "rounds"},
    "audit": {*_ROUNDS, "rounds"},
    "daemon": {*_DAEMON, "audit"},
    "session": {*_CLIENT, "daemon", "journal", "rounds", "config"},
    "experiment": {*_ROUNDS, "rounds"},
    "localnet": {*_CLIENT, "config", "build", "config_dir"},
    "dashboard": {*_BASE, "journal", "observers", "rounds"},
    "cli": {*_DAEMON, "audit", "daemon", "diagnose", "dashboard", "experiment", "localnet", "secrets"},
    "__main__": {*_BASE, "config", "config_dir", "cli"},
}


def part_of(module: str) -> str:
    """Return a module's part: ``decloud_pl.chain.rpc`` → ``chain``; ``decloud_pl`` → an empty string."""
    return module.removeprefix(NAME).removeprefix(".").split(".")[0]


def module_of(path: Path) -> str:
    root = (PACKAGE if path.is_relative_to(PACKAGE) else TESTS).parent
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield every module that a source imports, by a statement or by a call with the name as a string."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from decloud_pl import chain` imports a part. A public name is treated as a part as well.
            named = (alias.name for alias in node.names if alias.name != "__version__")
            yield from (f"{origin}.{name}" for name in named) if origin in (NAME, DIALECTS) else (origin,)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


def wrong(names: Iterable[str], module: str) -> list[str]:
    """Return a module's imports of parts that its own part may not import."""
    own = part_of(module)
    found = {name for name in names if name.split(".")[0] == NAME}
    return sorted(name for name in found if part_of(name) not in {own, "", *ALLOWED[own]})


@functools.cache
def modules() -> dict[str, list[str]]:
    """Return the imports of each module of the package and its tests, by module name."""
    return {
        module: list(imported(path.read_text(), module, is_package=path.name == "__init__.py"))
        for top in (PACKAGE, TESTS)
        for path in sorted(top.rglob("*.py"))
        for module in [module_of(path)]
    }


def own_modules() -> dict[str, list[str]]:
    return {module: found for module, found in modules().items() if module.split(".")[0] == NAME}


def test_every_part_says_what_it_may_import() -> None:
    unknown = {part_of(module) for module in own_modules()} - set(ALLOWED)
    assert not unknown, "a new part: list its imports in ALLOWED"


def test_imports_point_one_way() -> None:
    found = {module: wrong(names, module) for module, names in own_modules().items()}
    assert {module: names for module, names in found.items() if names} == {}


_REVISIONS = [folder.name for folder in (PACKAGE / "chain" / "dialects").iterdir() if folder.is_dir()]
_REVISION = re.compile(rf"{re.escape(DIALECTS)}\.({'|'.join(_REVISIONS)})(\.|$)")
# Only the revision itself, the local program that runs it, and their tests may use a revision.
_KNOW_A_REVISION = re.compile(r"(decloud_pl|tests)\.(chain\.dialects|localnet\.program)(\.|$)")


def revisions(names: Iterable[str], module: str) -> list[str]:
    """Return the imports of a revision in a module that may only use a `Dialect`."""
    return [] if _KNOW_A_REVISION.match(module) else [name for name in names if _REVISION.match(name)]


def test_everybody_else_takes_a_dialect() -> None:
    found = {module: revisions(names, module) for module, names in modules().items()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import decloud_pl.chain.dialects.v1_0.datasets",
        "from decloud_pl.chain.dialects import v1_0",
        "from decloud_pl.chain.dialects.v1_0 import V1_0",
        "importlib.import_module('decloud_pl.chain.dialects.v1_0')",
    ],
)
def test_an_import_of_a_revision_is_seen(source: str) -> None:
    for module, seen in (("decloud_pl.rounds.life", True), ("decloud_pl.localnet.program.names", False)):
        assert bool(revisions(imported(source, module, is_package=False), module)) is seen
    allowed = imported("from decloud_pl.chain.dialects import get_dialect", "decloud_pl.rounds.life", is_package=False)
    assert revisions(allowed, "decloud_pl.rounds.life") == []


def test_a_command_is_imported_by_nobody_and_printing_knows_nothing_else_of_the_command_line() -> None:
    allowed = {"ui": {"ui"}, "config": {"config", "ui"}}  # the other subpackages that these two may import
    for module, names in own_modules().items():
        if part_of(module) == "cli":
            own = [*module.split("."), ""][2]
            rooms = {[*name.split("."), ""][2] for name in names if name.startswith(f"{NAME}.cli")}
            assert "commands" not in rooms, module
            assert own not in allowed or rooms <= allowed[own], module


def test_no_part_may_import_itself_through_others() -> None:
    def reach(part: str, seen: frozenset[str]) -> None:
        assert part not in seen, f"{part} imports itself through {sorted(seen)}"
        for below in ALLOWED[part]:
            reach(below, seen | {part})

    for part in ALLOWED:
        reach(part, frozenset())


@pytest.mark.parametrize(
    "source",
    [
        "import decloud_pl.daemon.loop",
        "import os, decloud_pl.daemon",
        "from decloud_pl import daemon",
        "from decloud_pl import Session",
        "from decloud_pl.daemon import loop",
        "from ..daemon import loop",
        "from .. import daemon",
        "def late():\n    from decloud_pl.daemon import loop",
        "if TYPE_CHECKING:\n    from decloud_pl.daemon.loop import Loop",
        "importlib.import_module('decloud_pl.daemon')",
    ],
)
def test_a_wrong_import_is_seen(source: str) -> None:
    module = "decloud_pl.chain.rpc"
    assert len(wrong(imported(source, module, is_package=False), module)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from decloud_pl import __version__",
        "from decloud_pl.errors import ChainError",
        "from .wallet import Wallet",
        "from . import wallet",
        "import solana.rpc",
    ],
)
def test_a_right_import_passes(source: str) -> None:
    module = "decloud_pl.chain.rpc"
    assert wrong(imported(source, module, is_package=False), module) == []


def test_only_the_dashboard_needs_its_extra() -> None:
    """All other modules must run without it."""
    extra = {"nicegui", "fastapi", "starlette", "uvicorn", "socketio"}
    found = [
        f"{module} imports {name}"
        for module, names in own_modules().items()
        if part_of(module) != "dashboard"
        for name in names
        if name.split(".")[0] in extra
    ]
    assert found == []


HEAVY = ("torch", "torchvision", "lightning", "pytorch_lightning", "torchmetrics", "sklearn", "nicegui")
LIGHT = (
    "errors",
    "domain",
    "config_dir",
    "config",
    "chain",
    "store",
    "data.catalog",
    "journal",
    "executors",
    "rounds",
    "audit",
    "observers",
    "diagnose",
    "daemon",
    "cli",
)
# The daemon lives for weeks in 120 MB, and commands must start fast: none of these modules may load torch.
_IMPORT_ALL = """
import importlib, json, pkgutil, sys
light, heavy = map(json.loads, sys.argv[1:])
for top in light:
    package = importlib.import_module(top)
    names = [top]
    if hasattr(package, "__path__"):
        names += [entry.name for entry in pkgutil.walk_packages(package.__path__, top + ".")]
    for name in names:
        if not name.endswith("__main__"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:  # of an extra that is not installed
                if error.name not in ("ray", "nicegui"):
                    raise
            loaded = sorted(set(heavy) & set(sys.modules))
            if loaded:
                sys.exit(f"{name} loads {loaded}")
"""


def test_importing_loads_nothing_heavy() -> None:
    light = json.dumps([f"{NAME}.{name}" for name in LIGHT])
    command = [sys.executable, "-c", _IMPORT_ALL, light, json.dumps(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
