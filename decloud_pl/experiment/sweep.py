"""A sweep by Hydra: each job one experiment, wherever the launcher runs it.

Launchers pickle the job and send it to other processes and machines, so it holds no secret and is found by name.
"""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError, DecloudError
from decloud_pl.experiment.results import Result, dataset_name
from decloud_pl.redact import HIDDEN, redact
from decloud_pl.settings import Settings, compose
from decloud_pl.settings.addresses import covers, hidden_in, uncover
from decloud_pl.settings.hydra_tree import check_shape, from_tree, opened
from decloud_pl.settings.layers import read_layers, secret_variables
from decloud_pl.settings.load import Sources, tree_below
from decloud_pl.settings.names import SWEEP
from decloud_pl.settings.refusals import cannot_be_read, check_choices

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

_OF_AN_EXPERIMENT = (
    *(
        "home",
        "task",
        "base_model",
        "preset",
        "dataset",
        "model",
        "optimizer",
        "scheduler",
        "trainer",
        "logger",
        "update",
    ),
    *("data", "paths", "epochs", "batch_size", "learning_rate", "max_batches", "seed"),
)


def job(tree: DictConfig) -> float:
    """One experiment of a sweep, in the folder that Hydra gives it.

    Returns:
        The accuracy after the update, which sweepers maximise; NaN when there is none. What went wrong is then
        in ``result.json``, and the sweep goes on.
    """
    from hydra.core.hydra_config import HydraConfig

    from decloud_pl.experiment.run import parameters_of, run_experiment

    folder = Path(HydraConfig.get().runtime.output_dir)
    settings = from_tree(restore_addresses(tree, HydraConfig.get().overrides.task))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = run_experiment(settings, folder, sweep=folder.parent.name)
    except DecloudError as error:
        logger.error("%s", error)  # noqa: TRY400  # the sentence says it; a traceback would hide it
        name = dataset_name(settings.dataset)
        result = Result(folder.parent.name, folder.name, name, parameters_of(settings), error=str(error))
        result.write(folder)
    return math.nan if result.accuracy_after is None else result.accuracy_after


def of_an_experiment(given: Sources) -> list[str]:
    """The overrides that an experiment needs: what config.json says of the chain stays out of Hydra's files."""
    from_command_line = set(given.overrides)
    return [text for text in given.hydra_overrides() if text in from_command_line or _group(text) in _OF_AN_EXPERIMENT]


def covered(overrides: Sequence[str], addresses: Mapping[str, Any]) -> list[str]:
    """The overrides as launchers may write them into files: without the keys that may be in addresses.

    Each job restores those from config.json, the environment and the user's own ``conf/``, which it can read itself.
    The download addresses of a data set of the user's own stay as they are: another job may be of another one.

    Args:
        overrides: of the experiments.
        addresses: what `hidden_values` finds in the settings of the first one.
    """
    hidden = {place: value for place, value in addresses.items() if not place.startswith("dataset.")}
    return [redact(opened(text, sweep=True)) for text in overrides] + covers(hidden)


def expanded(overrides: Sequence[str], *folders: Path) -> list[str]:
    """The command line with the parameters of the sweep that it names, where it does not give its own for them.

    Args:
        overrides: of the command line; ``sweep=NAME`` stands for a file of ``conf/sweep``.
        folders: the built-in ``conf/`` and the user's.

    Raises:
        ConfigError: there is no such file, or it is none.
    """
    names = [text.lstrip("+").partition("=")[2] for text in overrides if _group(text) == SWEEP]
    if not names:
        return list(overrides)
    check_choices([f"{SWEEP}={names[-1]}"], folders[0], folders[-1])
    given = {text.lstrip("+~").partition("=")[0] for text in overrides}
    others = [text for text in overrides if _group(text) != SWEEP]
    file = next(path for folder in folders if (path := folder / SWEEP / f"{names[-1]}.yaml").is_file())
    own = [f"{name}={value}" for name, value in _parameters(file).items() if name not in given]
    # Here they count like the command line's, and are checked like those.
    return [f"+{SWEEP}={names[-1]}", "hydra.sweeper.params=null", *own, *others]


def _parameters(file: Path) -> dict[str, Any]:
    """What a file of ``conf/sweep`` varies."""
    import yaml

    try:
        node: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        parameters = ((node.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
        return dict(parameters)
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is no sweep.", fix="Compare it with those of conf/sweep.") from error


def refuse_addresses(overrides: Sequence[str]) -> None:
    """Refuses addresses with more than a host on a sweep's command line.

    Raises:
        ConfigError: one that launchers would write into files, and that no job could restore.
    """
    for text in overrides:
        if redact(text) != text:
            key = text.lstrip("+").partition("=")[0]
            raise ConfigError(
                f"A sweep keeps its command line in files, and the address in {key} may hold a key.",
                fix=f"Keep it with: decloud-trainer config --set {key}=-",
            )


def restore_addresses(tree: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The tree with the addresses that `covered` has shortened; launchers write the one that they gave into files."""
    if not any(HIDDEN in text for text in overrides):
        return tree
    tree = copy.deepcopy(tree)
    home = Path(str(tree.home)).expanduser()
    own = tuple(text for text in overrides if HIDDEN not in text)
    given = Sources(read_layers(home, os.environ), own, home, config_dir())
    uncover(tree, hidden_in(tree_below(given)))
    return tree


def _group(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0]


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Takes secrets out of the environment, which launchers hand to their workers."""
    for name in secret_variables():
        environ.pop(name, None)


def first_point(overrides: Sequence[str], *, directory: Path, user_conf: Path | None) -> Settings:
    """The settings of the sweep's first experiment, so that what is wrong is said before anything starts.

    Raises:
        ConfigError: an unknown key or choice, a value that Hydra cannot read, or no experiment.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    check_shape(overrides)
    own = [opened(text, sweep=True) for text in overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(own)
    except HydraException as error:
        raise cannot_be_read(str(getattr(error, "override", ""))) from error
    points: list[str] = []
    for text, override in zip(own, parsed, strict=True):
        if override.is_sweep_override():
            value = next(override.sweep_string_iterator()) if override.is_discrete_sweep() else _start(override.value())
            text = f"{text.partition('=')[0]}={value}"  # noqa: PLW2901
        points.append(text)
    settings = compose(points, directory=directory, user_conf=user_conf)
    if settings.task != "experiment":
        raise ConfigError(
            "Only experiments can be swept: a daemon or a round acts on the chain.", fix="Add task=experiment."
        )
    return settings


def _start(value: object) -> float:
    """Where an interval begins."""
    return float(getattr(value, "start", math.nan))


def is_hydras(override: str) -> bool:
    """Whether an override is for Hydra itself, for example ``hydra/launcher=joblib``."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))
