"""The settings select a worker's data set, and the daemon waits while its files are missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from decloud_pl.build import build
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.config import Settings, compose
from decloud_pl.config_dir import config_dir
from decloud_pl.daemon.assemble import make_policy
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Source
from decloud_pl.errors import ConfigError, DatasetError, DatasetNotReady
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.planner import SettingsPlanner
from decloud_pl.train.plan import TrainingPlan
from tests.data import tiny


def settings_of(home: Path, *overrides: str) -> Settings:
    return compose(["network=local", f"home={home}", "data.download=false", *overrides])


def planned(settings: Settings, name: str) -> Source:
    """Return the data set that a worker would train on for a round with the chain's name ``name``."""
    record = RoundRecord(1, State.TRAINING, name, make_policy(settings, deposit=0).resolve(name), "bafy", 10**9)
    plan = SettingsPlanner(settings).plan(record, base_model=Path("base"), folder=Path("out"))
    source: Source = build(plan.config.dataset)
    return source


def test_the_networks_mapping_and_ones_own(tmp_path: Path) -> None:
    assert planned(settings_of(tmp_path), "custom").name == "digits"
    tiny.write("cifar10", tmp_path / "data")
    assert planned(settings_of(tmp_path, "mappings={custom: cifar10}"), "custom").name == "cifar10"


def test_a_data_set_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in ``conf/dataset`` of the home folder adds a data set to rounds, experiments and the list."""
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.data.inventory import inventory
    from decloud_pl.experiment.run import dataset_node

    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    tiny.write("mnist", tmp_path / "data")
    (tmp_path / "data" / "MNIST").rename(tmp_path / "data" / "mine")
    file = tmp_path / "conf" / "dataset" / "mine.yaml"
    file.parent.mkdir(parents=True)
    built_in = (config_dir() / "dataset" / "mnist.yaml").read_text()
    file.write_text(built_in.replace("name: mnist", "name: mine").replace("folder: MNIST/raw", "folder: mine/raw"))
    settings = open_settings(["mappings.custom=mine", "datasets=[custom,mine]", "data.download=false"])
    source = planned(settings, "custom")
    assert (source.name, source.num_classes) == ("mine", 10)
    assert source.load("test")
    experiment = open_settings(["task=experiment", "dataset=mine"])
    assert dataset_node(experiment)["entry"]["folder"] == "mine/raw"
    data, chain_names = DataFolder(tmp_path / "data"), get_dialect().datasets
    catalog = Catalog(data, settings.all_mappings(), own=settings.own_conf, chain_names=chain_names)
    items = {item.name: item for item in inventory(catalog)}
    assert (items["mine"].on_disk, items["mine"].rounds) == (True, ("custom",))
    # The package's own data sets take precedence, as in Hydra.
    (file.parent / "mnist.yaml").write_text("nonsense")
    assert "mnist" in {item.name for item in inventory(catalog)}
    with pytest.raises(ConfigError, match="Did you mean 'mine'"):
        open_settings(["mappings.custom=minne"])


def test_a_mirror_that_may_hold_a_key_is_in_no_plan(tmp_path: Path) -> None:
    tiny.write("mnist", tmp_path / "data")
    record = RoundRecord(1, State.TRAINING, "mnist", "mnist", "bafy", 10**9)
    for mirror, kept in (("https://mirror.example/KEY", ""), ("https://mirror.example", "https://mirror.example")):
        planner = SettingsPlanner(settings_of(tmp_path, f"data.mirror={mirror}"))
        plan = planner.plan(record, base_model=Path("base"), folder=Path("out"))
        assert plan.config.dataset["data"]["mirror"] == kept


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    tiny.write("cifar10", tmp_path / "mine", test=30)
    source = planned(settings_of(tmp_path, f"paths={{cifar10: {tmp_path / 'mine'}}}"), "cifar10")
    assert len(source.load("test")) == 30
    images, labels = tiny.images(50, 10, 8, 3, 0)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    source = planned(settings_of(tmp_path, f"paths={{cifar10: {tmp_path / 'mine.npz'}}}"), "cifar10")
    assert (source.name, source.num_classes, len(source.load("test"))) == ("cifar10", 10, 10)


@pytest.fixture(scope="module")
def with_paths(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A path for each of the network's names. Composed once, because that takes 0.2 s."""
    home = tmp_path_factory.mktemp("paths")
    (home / "texts.csv").write_text("text,label\n" + "".join(f"word{row},{row % 2}\n" for row in range(20)))
    images, labels = tiny.images(20, 2, 8, 1, 0)
    np.savez(home / "images.npz", images=images, labels=labels)
    files = {name: "texts.csv" if name in tiny.TEXTS else "images.npz" for name in get_dialect().datasets}
    return settings_of(home, f"paths={{{','.join(f'{name}: {home / file}' for name, file in files.items())}}}")


@pytest.mark.parametrize("name", get_dialect().datasets)
def test_any_of_the_99_can_be_trained_from_a_path(name: str, with_paths: Settings) -> None:
    source = planned(with_paths, name)
    assert source.name == name
    assert len(source.load("train"))


def test_what_is_missing_is_downloaded_before_a_round_is_joined(tmp_path: Path) -> None:
    policy = make_policy(settings_of(tmp_path, "data.download=true", "data.mirror=http://127.0.0.1:9"), deposit=0)
    assert policy.resolve("mnist") == "mnist"
    with pytest.raises(DatasetNotReady, match="the data set mnist is being downloaded"):
        policy.prepare("mnist")
    policy.prepare("digits")
    with pytest.raises(DatasetError, match="not on this machine"):
        make_policy(settings_of(tmp_path), deposit=0).resolve("mnist")


def test_a_training_takes_as_many_threads_as_the_environment_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(allowed: str, rounds: int) -> int:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        planner = SettingsPlanner(settings_of(tmp_path, f"max_concurrent_rounds={rounds}"))
        record = RoundRecord(1, State.TRAINING, "custom", "digits", "bafy", 10**9)
        return planner.plan(record, base_model=Path("base"), folder=Path("out")).round.threads

    here = os.cpu_count() or 1
    assert threads("1", 1) == 1
    assert 1 <= threads("", 1) == threads("all", 1) == threads("4096", 1) <= here
    assert threads("", 4096) == 1


def test_a_plan_survives_its_files(tmp_path: Path) -> None:
    tiny.write("imdb", tmp_path / "data")
    settings = settings_of(tmp_path)
    plan = SettingsPlanner(settings).plan(
        RoundRecord(1, State.TRAINING, "imdb", "imdb", "bafy", 10**9), base_model=Path("b"), folder=Path("o")
    )
    plan.write(tmp_path)
    assert TrainingPlan.read(tmp_path) == plan
    assert plan.config.dataset["data"]["folder"] == str(tmp_path / "data")
