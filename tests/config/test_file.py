"""config.json: its mode, atomic writes, and errors that leave an invalid file unchanged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.config.file import VERSION, ConfigFile
from decloud_pl.errors import ConfigError


def test_a_missing_file_has_no_settings(home: Path) -> None:
    assert ConfigFile(home).read() == {}
    assert not home.exists()


def test_written_settings_can_be_read(home: Path) -> None:
    file = ConfigFile(home)
    file.edit(
        lambda values: values.update(epochs=3, min_reward="0.05", datasets=["mnist"], mappings={"custom": "digits"})
    )
    file.edit(lambda values: values.update(epochs=4))
    assert file.read() == {"epochs": 4, "min_reward": "0.05", "datasets": ["mnist"], "mappings": {"custom": "digits"}}
    assert json.loads(file.path.read_text())["version"] == VERSION


def test_only_its_owner_can_read_it_with_any_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        file = ConfigFile(home)
        file.edit(lambda values: values.update(epochs=3))
    finally:
        os.umask(before)
    assert file.mode() == 0o600
    assert home.stat().st_mode & 0o077 == 0
    file.path.chmod(0o644)
    file.edit(lambda values: values.update(epochs=4))
    assert file.mode() == 0o600


BROKEN = [
    ("{", "is not JSON (Expecting property name enclosed in double quotes at line 1, column 2)."),
    ("", "is not JSON"),
    ("[]", "is not a JSON object."),
    ('{"epochs": 1, "epochs": 2}', "contains 'epochs' twice."),
    ('{"learning_rate": NaN}', "is not JSON."),
    ("[" * 100_000, "is not JSON."),
    ('{"version": 2}', "has format version 2, but this program supports only 1."),
    ('{"version": "1"}', "has format version 1, but this program supports only 1."),
    ('{"epoch": 2}', "Unknown setting 'epoch'. Did you mean 'epochs'?"),
    ('{"network.rpc": "x"}', "Did you mean 'network.rpc_url'?"),
    ('{"home": "/x"}', "config.json cannot contain home. Set DECLOUD_HOME"),
    ('{"epochs": "2"}', '{path}: epochs must be a whole number (got "2").'),
    ('{"epochs": true}', "must be a whole number (got true)."),
    ('{"epochs": 1.5}', "must be a whole number (got 1.5)."),
    ('{"learning_rate": "fast"}', 'must be a number (got "fast").'),
    ('{"auto_train": "yes"}', 'must be true or false (got "yes").'),
    ('{"datasets": "mnist"}', "must be a list of names"),
    ('{"datasets": [1]}', "must be a list of names"),
    ('{"mappings": {"a": 1}}', 'must be pairs like custom:digits (got {{"a": 1}}).'),
    ('{"network": null}', "must be the name of a choice (got null)."),
    ('{"private_key": 5}', "{path}: private_key must be text."),
]


@pytest.mark.parametrize(("text", "words"), BROKEN, ids=[text[:30] for text, _ in BROKEN])
def test_a_broken_file_is_refused_and_kept(text: str, words: str, home: Path, keep: Any) -> None:
    path = keep(text)
    file = ConfigFile(home)
    for call in (file.read, lambda: file.edit(lambda values: values.update(epochs=9))):
        with pytest.raises(ConfigError) as caught:
            call()
        assert words.format(path=path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.fix
    assert path.read_text() == text


def test_a_message_never_quotes_a_secret(home: Path, keep: Any) -> None:
    key = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"
    for text in (f'{{"private_key": "{key}", oops', f'{{"private_key": "{key}', f'{{"private_key": {{"k": "{key}"}}}}'):
        keep(text)
        with pytest.raises(ConfigError) as caught:
            ConfigFile(home).read()
        assert key not in str(caught.value)


def test_bytes_that_are_no_text(home: Path) -> None:
    home.mkdir()
    (home / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigError, match="is not JSON"):
        ConfigFile(home).read()


def test_a_file_that_cannot_be_read(home: Path) -> None:
    (home / "config.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is not a regular file"):
        ConfigFile(home).read()


@pytest.mark.parametrize(("folder", "reason"), [("file/home", "Not a directory"), ("x" * 256, "File name too long")])
def test_a_home_that_cannot_be_reached(folder: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = ConfigFile(tmp_path / folder)
    with pytest.raises(ConfigError) as caught:
        file.read()
    fix = "Check its permissions, or set DECLOUD_HOME to another folder."
    assert str(caught.value) == f"{file.path} cannot be read: {reason}. {fix}"


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        ConfigFile(tmp_path / "file" / "home").edit(lambda values: values.update(epochs=2))


def test_a_secret_that_others_can_read_is_pointed_out(home: Path, keep: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = keep({"pinata_jwt": "abcdefghijklmnopqrstuvwxyz"})
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        ConfigFile(home).read()
    assert f"chmod 600 {path}" in caplog.text
    assert "abcdefgh" not in caplog.text
    caplog.clear()
    keep({"epochs": 2}).chmod(0o644)
    ConfigFile(home).read()
    assert not caplog.records


def test_reset_puts_even_a_broken_file_aside(home: Path, keep: Any) -> None:
    keep("{")
    aside = [ConfigFile(home).reset()]
    keep({"epochs": 2})
    aside.append(ConfigFile(home).reset())
    assert ConfigFile(home).reset() is None
    assert [path.name for path in aside if path] == ["config.json.old-1", "config.json.old-2"]
    assert [path.read_text() for path in aside if path] == ["{", '{"epochs": 2}']


def test_a_link_is_followed(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text('{"epochs": 2}')
    (home / "config.json").symlink_to(real)
    ConfigFile(home).edit(lambda values: values.update(epochs=3))
    assert (home / "config.json").is_symlink()
    assert json.loads(real.read_text())["epochs"] == 3


def test_an_interrupted_change_leaves_the_old_file(home: Path, keep: Any) -> None:
    path = keep({"epochs": 2})

    def fail(values: dict[str, Any]) -> None:
        values["epochs"] = 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ConfigFile(home).edit(fail)
    assert json.loads(path.read_text()) == {"epochs": 2}
    assert sorted(entry.name for entry in home.iterdir()) == [".config.json.lock", "config.json"]


def test_two_commands_at_once_lose_nothing(home: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom decloud_pl.config.file import ConfigFile\n"
        "for number in range(20):\n"
        "    ConfigFile(Path(sys.argv[1])).edit(\n"
        "        lambda values: values.setdefault('mappings', {}).update({f'{sys.argv[2]}{number}': 'digits'}))\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, str(home), name]) for name in ("a", "b")]
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    mappings = ConfigFile(home).read()["mappings"]
    assert isinstance(mappings, dict)
    assert len(mappings) == 40
