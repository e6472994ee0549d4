"""One experiment: a base model, a training, and the validator's score of the update file."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from decloud_pl.children import end_imports
from decloud_pl.config import Settings
from decloud_pl.durable import make_private
from decloud_pl.errors import ConfigError, TrainingError
from decloud_pl.experiment.results import PROGRESS_FILE, Result, dataset_name, flat
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.opened import record, recorded
from decloud_pl.rounds.planner import make_catalog, processors, training_plan
from decloud_pl.train.fit.recipe import with_chosen
from decloud_pl.train.plan import CHECKPOINT_FILE, PROBE_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor

FRESH_MODEL = "base_model.safetensors"
_AUTO = "auto"
_ARCHITECTURES = {"image": "simple_cnn", "text": "text_bag"}
NODES = ("model", "module", "datamodule", "callbacks", "optimizer", "scheduler", "trainer", "update", "tune")
_PLAIN = ("seed", "base_model")


def run_experiment(
    settings: Settings,
    folder: Path,
    *,
    sweep: str = "",
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop_requested: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Result:
    """Train with the settings, without a chain, and score the update file on the test split as a validator would.

    With a custom data module, the score is measured on half of its validation data instead.

    The folder receives the update, the progress as JSON lines, and ``result.json``. If a training with the same
    settings was stopped in this folder, it resumes from its checkpoint. The checkpoint is deleted when the result is
    written.

    Args:
        settings: the settings of a run with ``task=experiment``.
        folder: created if it does not exist.
        sweep: the name of the sweep, which is written into the result.
        on_progress: called with each step of the progress, in the caller's thread.
        stop_requested: see `Supervisor`.
        monotonic: returns the seconds of a monotonic clock.

    Raises:
        ConfigError: the base model does not exist, a node of the configuration cannot be built, or a changed value of
            the data set does not apply.
        DatasetError: the data set cannot be read.
        TrainingStopped: a stop was requested.
        TrainingError: the model does not fit the data set, or the training failed.
    """
    from decloud_pl.train.run import train_round

    settings = with_chosen(settings, settings.given)
    make_private(folder)
    begun = monotonic()
    dataset = dataset_node(settings)
    fresh: BaseModel | None = None
    base_model = _given_model(settings.base_model)
    if base_model is None:
        fresh = make_base_model(
            settings.model, dataset, folder / FRESH_MODEL, seed=settings.seed, packages=settings.allow_packages
        )
        base_model = fresh.weights
    # An experiment submits no update, so the gate withholds none. The score is that of the unchanged training result.
    plan = training_plan(
        settings,
        dataset=dataset,
        base_model=base_model,
        folder=folder,
        name=f"{sweep}-{folder.name}" if sweep else folder.name,
        threads=processors(),
        score_split="test",
    )
    if fresh is not None:  # it comes from this process, so the quarantine need not open it
        record(fresh, plan.round.base_model_hash)
    with (folder / PROGRESS_FILE).open("a", encoding="utf-8") as progress:

        def tell(step: Progress) -> None:
            if step.stage != "prepare":
                end_imports()
            progress.write(json.dumps(step.to_dict()) + "\n")
            on_progress(step)

        update = train_round(plan, Supervisor(tell, stop_requested, monotonic))
    if update is None:
        raise TrainingError(
            "An experiment needs a single training process, because only the first process returns a result.",
            fix="Set trainer.devices=1.",
        )
    opened = recorded(folder, plan.round.base_model_hash)
    result = Result(
        sweep=sweep,
        run=folder.name,
        dataset=dataset_name(settings.dataset),
        parameters=parameters_of(settings),
        architecture="" if opened is None else opened.spec.architecture,
        accuracy_before=update.accuracy_before,
        accuracy_after=update.accuracy_after,
        score_split=update.score_split,
        gain_low=update.gain_low,
        gain_high=update.gain_high,
        update_bytes=update.size,
        update_cid=update.cid,
        encoding=update.encoding,
        seconds=round(monotonic() - begun, 3),
        probe=_probe(plan),
    )
    result.write(folder)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return result


def parameters_of(settings: Settings) -> dict[str, Any]:
    """Return the settings that determine a training's result, by dotted name."""
    found: dict[str, Any] = {"dataset": dataset_name(settings.dataset)}
    found.update({name: getattr(settings, name) for name in _PLAIN})
    for group in NODES:
        node = getattr(settings, group)
        found.update(flat(group, dataclasses.asdict(node) if dataclasses.is_dataclass(node) else node or {}))  # type: ignore[arg-type]  # an instance
    return found


def _probe(plan: TrainingPlan) -> dict[str, Any] | None:
    from decloud_pl.train.tune.probe import read

    wanted = plan.config.tune.method == "probe"
    choice = read(plan.round.folder / PROBE_FILE, plan.fingerprint()) if wanted else None
    return None if choice is None else {**dataclasses.asdict(choice), "rungs": list(choice.rungs)}


def dataset_node(settings: Settings) -> dict[str, Any]:
    """Return the node of the chosen data set. If the user has set a path for the data set, the node contains it.

    Raises:
        ConfigError: a changed value in the node does not apply.
        DatasetError: the data set's files are missing and cannot be downloaded, or its path cannot be used.
    """
    if "entry" not in settings.dataset:
        return settings.dataset
    catalog = make_catalog(settings)
    return catalog.of_node(settings.dataset).node(catalog.data)


def _given_model(name: str) -> Path | None:
    if not name:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"The file {path} does not exist.", fix="Correct base_model.")
    return path.resolve()  # the quarantine refuses links


def make_base_model(
    model: Mapping[str, Any], dataset: dict[str, Any], path: Path, *, seed: int, packages: Collection[str] = ()
) -> BaseModel:
    """Write a model package with fresh weights and one output per class of a data set. Return its model.

    Args:
        model: the architecture and the hyper-parameters.
        dataset: the configuration node of the data set.
        path: the model package to write.
        seed: the seed of the initial weights.
        packages: the user's packages from which the data set may come.

    Raises:
        ConfigError: the data set cannot be built.
        ModelError: the architecture is unknown or does not accept the hyper-parameters.
    """
    from decloud_pl.build import build
    from decloud_pl.data.source import Source
    from decloud_pl.models.make import make_package, make_spec

    source: Source = build(dataset, packages=packages)
    wanted = {key: value for key, value in model.items() if key != "architecture"}
    architecture = str(model.get("architecture") or _AUTO)
    if architecture == _AUTO:
        architecture = _ARCHITECTURES[source.kind]
    spec = make_spec(architecture, {**wanted, "num_classes": source.num_classes}, {})
    return make_package(path, spec, seed=seed)
