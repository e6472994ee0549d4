"""The result of an experiment, stored as ``result.json`` in its folder. Imports no torch."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decloud_pl.domain import ScoreSplit
from decloud_pl.durable import write_atomically
from decloud_pl.errors import ConfigError, UsageError, first_line
from decloud_pl.legible import spreadsheet_cell

RESULT_FILE = "result.json"
PROGRESS_FILE = "progress.jsonl"
EXPERIMENTS = "experiments"
SWEEPS = "sweeps"
FORMAT = 1
COLUMNS = ("accuracy_before", "accuracy_after", "score_split", "gain", "update_bytes", "seconds", "error")
SPLITS: Mapping[ScoreSplit, str] = {"test": "the test split", "held_out": "half of the validation data"}

_CLASS = "._target_"


@dataclass(frozen=True)
class Result:
    """The result of one experiment.

    Attributes:
        sweep: name of the sweep's folder; empty outside of a sweep.
        run: name of the experiment's folder.
        dataset: name of the data set; empty if the settings could not be composed.
        architecture: the trained model's architecture.
        parameters: the settings that determine a training's result, by dotted name.
        accuracy_before: top-1 accuracy of the base model, 0 to 1.
        accuracy_after: top-1 accuracy after the update, which is applied as a validator applies it, 0 to 1.
        score_split: the data on which the two accuracies were measured: ``test`` for the test split, or ``held_out``
            for half of the validation data, if the experiment has a custom data module.
        gain_low: lower end of the 95 % interval of the gain, estimated on the held-out part.
        gain_high: upper end of that interval.
        update_bytes: size of the update file.
        update_cid: CID of the update file.
        encoding: the encoding of the update's entries.
        seconds: the duration of the training, including loading and scoring.
        probe: the fields of the `decloud_pl.train.tune.probe.TunedValues` that a probe found before the training; None
            if there was no probe.
        error: why there is no score; None if there is a score.
    """

    sweep: str
    run: str
    dataset: str
    parameters: Mapping[str, Any]
    architecture: str = ""
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    score_split: ScoreSplit = "test"
    gain_low: float | None = None
    gain_high: float | None = None
    update_bytes: int | None = None
    update_cid: str = ""
    encoding: str = ""
    seconds: float | None = None
    probe: Mapping[str, Any] | None = None
    error: str | None = None
    format: int = field(default=FORMAT)

    @property
    def gain(self) -> float | None:
        """The accuracy gained; None if there is no score. Validators share out the reward in proportion to it."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "gain": self.gain}

    def write(self, folder: Path) -> None:
        """Write ``result.json`` atomically."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / RESULT_FILE, text.encode())


def read(path: Path) -> Result:
    """Read a result file.

    Raises:
        ConfigError: the file is not a result.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        given.pop("gain")
        result = Result(**given)
        if result.format != FORMAT:
            raise ValueError(f"its format is {result.format!r}, but this program reads format {FORMAT}")
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"{path} is not an experiment's result: {first_line(error)}.", fix="Move the file away."
        ) from error
    return result


def read_sweeps(home: Path, name: str | None = None) -> list[Result]:
    """Return the results of one sweep, or of all sweeps, starting with the oldest sweep.

    Raises:
        ConfigError: the sweep does not exist, or a result is damaged.
    """
    folder = home / SWEEPS
    sweeps = sorted(path for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []
    if name is not None:
        known = [path.name for path in sweeps]
        if name not in known:
            raise ConfigError(
                f"The sweep {name!r} does not exist in {folder}.", fix=f"Known: {', '.join(known[-5:]) or 'none'}."
            )
        sweeps = [folder / name]
    return [read(path) for sweep in sweeps for path in _in_order(sweep)]


def _in_order(sweep: Path) -> list[Path]:
    found = sweep.glob(f"*/{RESULT_FILE}")
    return sorted(found, key=lambda path: (not path.parent.name.isdecimal(), path.parent.name.zfill(8)))


def dataset_name(node: Mapping[str, Any]) -> str:
    """Return the name of the data set that a configuration node describes."""
    entry = node.get("entry")
    return str(entry.get("name", "") if isinstance(entry, Mapping) else node.get("name", ""))


def differing(results: list[Result]) -> list[str]:
    """Return the names of the parameters that differ between results, in the order of their first appearance.

    A parameter is left out if it differs only because the class of its node differs. For example, if two
    optimizers have different classes and different arguments, only ``optimizer._target_`` is returned.
    """
    every = dict.fromkeys(name for result in results for name in result.parameters)
    names = [name for name in every if len(_values(name, results)) > 1]
    # Two classes differ in their keys as well. The name of the class is enough.
    classes = [name for name in names if name.endswith(_CLASS)]
    return [name for name in names if not any(_follows(name, of, results) for of in classes)]


def _values(name: str, results: list[Result]) -> set[str]:
    """Return a parameter's distinct values as JSON.

    A result without the parameter has the value None. If the parameter is missing because the settings could not be
    composed, the result is skipped.
    """
    known = (result.parameters for result in results if result.dataset or name in result.parameters)
    return {json.dumps(parameters.get(name)) for parameters in known}


def worded(name: str, value: Any) -> str:
    """Format a parameter for people: ``optimizer.lr=0.003``, ``optimizer=AdamW``."""
    if name.endswith(_CLASS):
        return f"{name.removesuffix(_CLASS)}={'none' if value is None else str(value).rpartition('.')[2]}"
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"


def _follows(name: str, of: str, results: list[Result]) -> bool:
    """Return whether a parameter belongs to a group whose class determines the parameter's value.

    The class determines the value if all results with the same class have the same value.

    Args:
        name: the name of the parameter, such as ``optimizer.lr``.
        of: the name of the parameter that contains the class of the group, such as ``optimizer._target_``.
        results: the results to compare.
    """
    if name == of or not name.startswith(of.removesuffix(_CLASS) + "."):
        return False
    pairs = {(json.dumps(result.parameters.get(of)), json.dumps(result.parameters.get(name))) for result in results}
    return len(pairs) == len({first for first, _ in pairs})


def flat(prefix: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each setting in a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from flat(f"{prefix}.{key}", value)
    else:
        yield prefix, node


def write_csv(results: list[Result], path: Path) -> None:
    """Write one row per experiment, with its results and with the parameters that differ between the experiments.

    Raises:
        UsageError: the file cannot be written.
    """
    names = differing(results)
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(map(spreadsheet_cell, ["sweep", "run", *names, *COLUMNS]))
            for result in results:
                values = result.to_dict()
                parameters = [result.parameters.get(name) for name in names]
                cells = [result.sweep, result.run, *parameters, *(values[name] for name in COLUMNS)]
                writer.writerow(map(spreadsheet_cell, cells))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", fix="Choose another file.") from error
