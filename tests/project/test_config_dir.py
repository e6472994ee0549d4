"""The lookup of conf/."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError


def test_in_a_checkout_it_is_at_the_top(root: Path) -> None:
    assert config_dir() == root / "conf"


def test_the_wheels_own_folder_wins_over_a_stranger_beside_it(tmp_path: Path) -> None:
    for folder in (tmp_path / "conf", tmp_path / "decloud_pl" / "conf"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    assert config_dir(tmp_path / "decloud_pl") == tmp_path / "decloud_pl" / "conf"


def test_a_folder_without_config_yaml_is_none(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with pytest.raises(ConfigError, match="Reinstall decloud_pl"):
        config_dir(tmp_path / "decloud_pl")
