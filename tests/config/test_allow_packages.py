"""Only config.json and the environment can allow the user's packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decloud_pl.build import build
from decloud_pl.config import load
from decloud_pl.errors import ConfigError


def test_config_json_and_the_environment_allow_packages(environ: dict[str, str], keep: Any) -> None:
    assert load(environ=environ).allow_packages == []
    keep({"allow_packages": ["my_package"]})
    assert load(environ=environ).allow_packages == ["my_package"]
    both = {**environ, "DECLOUD_ALLOW_PACKAGES": "a,b.c"}
    assert load(environ=both).allow_packages == ["a", "b.c"]


@pytest.mark.parametrize("override", ["allow_packages=[os]", "+allow_packages=[os]", "++trainer.allow_packages=[os]"])
def test_a_command_line_does_not(override: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"can be set only in config\.json or as DECLOUD_ALLOW_PACKAGES"):
        load([override], environ=environ)


@pytest.mark.parametrize("group", ["preset", "experiment"])
def test_a_file_does_not(group: str, home: Path, environ: dict[str, str]) -> None:
    file = home / "conf" / group / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nallow_packages: [os]\n")
    with pytest.raises(ConfigError, match=r"can be set only in config\.json or as DECLOUD_ALLOW_PACKAGES"):
        load([f"{group}=mine"], environ=environ)


@pytest.mark.parametrize("name", ["my-package", "a b", "a.", "1a", ""])
def test_an_invalid_package_name(name: str, environ: dict[str, str], keep: Any) -> None:
    keep({"allow_packages": [name]})
    with pytest.raises(ConfigError, match="is not a package name"):
        load(environ=environ)


def test_a_package_allows_only_its_own_content() -> None:
    assert build({"_target_": "fractions.Fraction", "numerator": 3}, packages=["fractions"]) == 3
    for target, packages in (
        ("fractions.Fraction", ()),
        ("fractions_of_others.Fraction", ("fractions",)),
        ("os.system", ("os.path",)),
    ):
        with pytest.raises(ConfigError, match="may not be built"):
            build({"_target_": target}, packages=packages)
