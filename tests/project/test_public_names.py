"""The public names of ``import decloud_pl``, and the cost of that import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import decloud_pl
from decloud_pl import errors

NAMES = {
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
}


def test_the_public_names_are_these() -> None:
    assert set(decloud_pl.__all__) == NAMES | set(errors.__all__)
    assert len(decloud_pl.__all__) == len(set(decloud_pl.__all__))
    assert set(decloud_pl.__all__) <= set(dir(decloud_pl))


@pytest.mark.parametrize("name", sorted(decloud_pl.__all__))
def test_each_is_there(name: str) -> None:
    found = getattr(decloud_pl, name)
    assert getattr(decloud_pl, name) is found
    assert found.__doc__
    assert found.__module__.startswith("decloud_pl.")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'decloud_pl' has no attribute 'Sesion'"):
        _ = decloud_pl.Sesion


def test_importing_the_package_loads_almost_nothing() -> None:
    program = "import json, sys; before = set(sys.modules); import decloud_pl; "
    program += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    own = [name for name in loaded if name.split(".")[0] == "decloud_pl"]
    assert own == ["decloud_pl", "decloud_pl.errors", "decloud_pl.legible", "decloud_pl.redact"]
    # The other modules belong to the standard library and are loaded for one regular expression.
    assert {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) == {"decloud_pl"}
    assert len(loaded) < 45


def test_what_needs_no_torch_loads_none() -> None:
    program = "import sys, decloud_pl; decloud_pl.Session, decloud_pl.LocalNetwork, decloud_pl.load_settings, "
    program += "decloud_pl.open_base_model, decloud_pl.save_model, decloud_pl.ModelSpec; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
