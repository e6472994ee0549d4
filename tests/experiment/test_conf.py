"""Every file of conf/ is composed, and used to build a training or another object."""

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
    "recipe",
)
QUICK = ("task=experiment", "max_batches=1", "batch_size=4", "epochs=1")
TEXT_MODELS = ("text_bag", "text_transformer")
NEED_A_LOGGER = ("callbacks=lr_monitor", "callbacks=device_stats")


def _tiny() -> ModuleType:
    """The writers of tiny data sets, from the data sets' own tests."""
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
    # Loggers are tested in tests/train, and sweeps in test_sweep.
    tested = {*TRAINED, "network", "wallet", "storage", "rewards", "preset", "experiment", "logger", "sweep"}
    assert {str(path.parent) for path in FILES} <= tested


TEXTS = ("agnews", "imdb", "sst2")
CHOSEN = {group: of(group) for group in TRAINED if group not in ("dataset", "model")}
# Lightning's weight averaging needs a schedule per epoch, so the recipe next to it is `none`, which has no schedule.
CHOSEN["recipe"].remove("none")
CHOSEN["recipe"].insert(CHOSEN["callbacks"].index("swa"), "none")


def courses() -> dict[str, list[str]]:
    """Pair each data set with other choices, so that few trainings cover every choice. A training takes seconds.

    The result maps the name of each training to its overrides. The first one chooses the data set.
    """
    texts = [name for name in of("model") if name in TEXT_MODELS]
    # The slow ones only once and last: not with the probe of cifar10, nor with the many samples of digits and emnist.
    slow = ["resnet", "vit_tiny"]
    images = sorted(set(of("model")) - {*texts, *slow}) * 2 + slow
    found: dict[str, list[str]] = {}
    for number, dataset in enumerate(of("dataset")):
        models = texts if dataset in TEXTS else images
        model = models[sum(1 for earlier in found if (earlier in TEXTS) is (dataset in TEXTS)) % len(models)]
        others = [f"{group}={names[number]}" for group, names in CHOSEN.items() if number < len(names)]
        found[dataset] = [f"dataset={dataset}", f"model={model}", *others]
    for group, names in CHOSEN.items():  # choices that are more than the data sets
        found |= {f"{group}={name}": ["dataset=digits", f"{group}={name}"] for name in names[len(of("dataset")) :]}
    return found


COURSES = courses()


def test_every_choice_is_trained_with() -> None:
    every = {f"{group}={name}" for group in TRAINED for name in of(group)}
    assert {choice for course in COURSES.values() for choice in course} == every


@pytest.mark.parametrize("name", COURSES)
def test_what_is_chosen_is_trained_with(name: str, tmp_path: Path) -> None:
    course = COURSES[name]
    dataset = course[0].removeprefix("dataset=")
    _tiny().write(dataset, tmp_path / "data")
    overrides = [*course, *QUICK, f"home={tmp_path}", "data.download=false"]
    overrides += ["logger=tensorboard", "trainer.log_every_n_steps=1"] if {*NEED_A_LOGGER} & {*course} else []
    result = run_experiment(compose(overrides), tmp_path / "run")
    assert result.dataset == dataset
    assert result.update_bytes
    assert result.accuracy_after is not None
    assert (result.probe is not None) is ("tune=probe" in course)


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
    policy = make_policy(settings, deposit=0)
    assert policy.criteria.datasets == frozenset(settings.datasets)
    assert policy.criteria.rewards == settings.rewards
    build(settings.daemon.executor_node())


def test_the_executor_is_the_one_that_is_chosen() -> None:
    pytest.importorskip("ray")
    daemon = compose(["daemon.executor=ray", "daemon.ray.cpus=3", "daemon.hang_minutes=2"]).daemon
    assert isinstance(build(daemon.executor_node()), RayExecutor)
    assert (daemon.executor_node()["cpus"], daemon.executor_node()["hang_seconds"]) == (3, 120)
