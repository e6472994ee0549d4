"""Every file of conf/ is composed, and a training or what else it configures is made of it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from decloud_pl.build import build
from decloud_pl.config import Secrets, Settings, compose
from decloud_pl.config_dir import config_dir
from decloud_pl.daemon.assemble import make_policy
from decloud_pl.executors.ray.executor import RayExecutor
from decloud_pl.experiment.run import run_experiment
from decloud_pl.rounds.connect import make_dialect, make_rpc
from decloud_pl.rounds.stores import make_reader, make_stores

FILES = sorted(path.relative_to(config_dir()).with_suffix("") for path in config_dir().glob("*/*.yaml"))
TRAINED = (
    "dataset",
    "model",
    "module",
    "datamodule",
    "callbacks",
    "optimizer",
    "scheduler",
    "trainer",
    "fit",
    "update",
    "tune",
)
QUICK = ("task=experiment", "trainer=cpu", "max_batches=1", "batch_size=4")
TEXT_MODELS = ("text_bag", "text_transformer")
NEED_A_LOGGER = ("callbacks=lr_monitor", "callbacks=device_stats")


def _tiny() -> ModuleType:
    """The writers of tiny data sets, which are the data sets' own tests'."""
    path = Path(__file__).parents[1] / "data" / "tiny.py"
    found = importlib.util.spec_from_file_location("tiny", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def of(group: str) -> list[str]:
    return [path.name for path in FILES if str(path.parent) == group]


def test_every_group_is_tested_here() -> None:
    # Loggers log in tests/train, and each sweep runs in test_sweep.
    tested = {*TRAINED, "network", "wallet", "storage", "rewards", "preset", "experiment", "logger", "sweep"}
    assert {str(path.parent) for path in FILES} <= tested


@pytest.mark.parametrize("name", of("dataset"))
def test_a_data_set_is_trained_on(name: str, tmp_path: Path) -> None:
    _tiny().write(name, tmp_path / "data")
    settings = compose([*QUICK, f"dataset={name}", f"home={tmp_path}", "data.download=false"])
    result = run_experiment(settings, tmp_path / "run")
    assert result.dataset == name
    assert result.update_bytes


@pytest.mark.parametrize("choice", [f"{group}={name}" for group in TRAINED if group != "dataset" for name in of(group)])
def test_a_choice_is_trained_with(choice: str, tmp_path: Path) -> None:
    data = "sst2" if choice.partition("=")[2] in TEXT_MODELS else "mnist"
    _tiny().write(data, tmp_path / "data")
    overrides = [override for override in QUICK if not choice.startswith("trainer") or override != "trainer=cpu"]
    overrides += [f"dataset={data}", f"home={tmp_path}", "data.download=false", choice]
    overrides += ["logger=tensorboard", "trainer.log_every_n_steps=1"] if choice in NEED_A_LOGGER else []
    result = run_experiment(compose(overrides), tmp_path / "run")
    assert result.accuracy_after is not None
    assert (result.probe is not None) is (choice == "tune=probe")


@pytest.fixture
def solana_cli() -> None:
    file = Path("~/.config/solana/cli/config.yml").expanduser()
    file.parent.mkdir(parents=True)
    file.write_text("json_rpc_url: http://127.0.0.1:8899\nwebsocket_url: ''\n")


@pytest.mark.usefixtures("solana_cli")
@pytest.mark.parametrize("name", of("network"))
async def test_a_network_is_built(name: str) -> None:
    settings = compose([f"network={name}"])
    assert settings.network.websocket_urls()
    assert str(make_dialect(settings.network).program_id) == settings.network.program_id
    make_reader(settings.network, settings.storage, settings.home_path)
    await make_rpc(settings.network).aclose()


@pytest.mark.parametrize("name", of("storage"))
def test_a_storage_is_built(name: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        compose([f"storage={name}", f"home={tmp_path}"]), secrets=Secrets({"pinata_jwt": "a.b.c"})
    )
    stores = make_stores(settings)
    assert len(stores) == 1


@pytest.mark.parametrize(
    "choice",
    [
        f"{path.parent}={path.name}"
        for path in FILES
        if str(path.parent) not in (*TRAINED, "network", "storage", "sweep")
    ],
)
def test_a_daemon_is_made_of_it(choice: str, tmp_path: Path) -> None:
    settings: Settings = compose([choice, f"home={tmp_path}"])
    policy = make_policy(settings)
    assert policy.criteria.datasets == frozenset(settings.datasets)
    assert policy.criteria.rewards == settings.rewards
    build(settings.daemon.executor_node())


def test_the_executor_is_the_one_that_is_chosen() -> None:
    pytest.importorskip("ray")
    daemon = compose(["daemon.executor=ray", "daemon.ray.cpus=3", "daemon.hang_minutes=2"]).daemon
    assert isinstance(build(daemon.executor_node()), RayExecutor)
    assert (daemon.executor_node()["cpus"], daemon.executor_node()["hang_seconds"]) == (3, 120)
