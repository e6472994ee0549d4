"""A sweep by Hydra: each job one experiment, wherever the launcher runs it.

Launchers pickle the job and send it to other processes and machines, so it holds no secret and is found by name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import MutableMapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.config.layers import Sources, sources, variable_of
from decloud_pl.config.load import Composed, composed
from decloud_pl.config.names import SWEEP, choices, secret_names, storages
from decloud_pl.config.schema import default_home
from decloud_pl.durable import make_private
from decloud_pl.errors import ConfigError, DecloudError, nearest
from decloud_pl.experiment.results import Result, dataset_name
from decloud_pl.own_memory import PASS_ENV
from decloud_pl.redact import HIDDEN, redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

_MOST_CHECKED = 32
"""Values that are composed before a sweep starts; a wrong one behind them fails its own run."""


def job(_: DictConfig) -> float:
    """One experiment of a sweep, in the folder that Hydra gives it.

    Its settings are composed again, because what Hydra composed and keeps has no whole addresses.

    Returns:
        The accuracy after the update, which sweepers maximise; NaN when there is none. What went wrong is then
        in ``result.json``, and the sweep goes on.
    """
    from hydra.core.hydra_config import HydraConfig

    from decloud_pl.experiment.run import parameters_of, run_experiment

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    make_private(folder)
    # All that is known of a run whose settings cannot be composed.
    name, parameters = "", _given(hydra.overrides.task)
    try:
        settings = composed(sources(without_shown(hydra.overrides.task))).settings
        name, parameters = dataset_name(settings.dataset), parameters_of(settings)
        result = run_experiment(settings, folder, sweep=folder.parent.name)
    except DecloudError as error:
        logger.error("%s", error)  # noqa: TRY400  # the sentence says it; a traceback would hide it
        result = Result(folder.parent.name, folder.name, name, parameters, error=str(error))
        result.write(folder)
    return math.nan if result.accuracy_after is None else result.accuracy_after


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    """What overrides set of a training, by places, without what may hold an address."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from decloud_pl.experiment.run import NODES

    parsed = OverridesParser.create().parse_overrides([text for text in overrides if redact(text) == text])
    known = (*NODES, "dataset", "seed")
    return {one.key_or_group: one.value() for one in parsed if str(one.key_or_group).partition(".")[0] in known}


def without_shown(overrides: Sequence[str]) -> list[str]:
    """A job's overrides without those that stand for an address; it is composed from where the user keeps it."""
    return [text for text in overrides if not (text.startswith("++") and "://" in text and HIDDEN in text)]


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
    known = choices(SWEEP, *folders)
    if names[-1] not in known:
        raise ConfigError(f"There is no sweep {names[-1]!r}.", fix=nearest(names[-1], known))
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


def _group(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0]


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Takes secrets out of the environment, which launchers hand to their workers.

    A setting with an address that may hold a key goes too, unless ``DECLOUD_PASS_ENV`` names it: no experiment asks the
    chain, and data sets are downloaded before.
    """
    home = default_home(environ)
    named = set(environ.get(PASS_ENV, "").replace(",", " ").split())
    addresses = [name for name, value in environ.items() if name.startswith("DECLOUD_") and redact(value) != value]
    for name in (*map(variable_of, secret_names(home)), *storages(home).variables, *{*addresses} - named):
        environ.pop(name, None)


def checked_points(given: Sources) -> Composed:
    """The settings of a sweep's first experiment, after each value was composed once: before any of them is trained.

    Raises:
        ConfigError: an unknown key or choice, a value that cannot be read or used, or no experiment.
    """
    values = [_values(text, given) for text in given.overrides]
    first = [texts[0] for texts in values]
    found = composed(given.with_overrides(first))
    if found.settings.task != "experiment":
        raise ConfigError(
            "Only experiments can be swept: a daemon or a round acts on the chain.", fix="Add task=experiment."
        )
    others = [(place, text) for place, texts in enumerate(values) for text in texts[1:]]
    for place, text in others[:_MOST_CHECKED]:
        composed(given.with_overrides([*first[:place], text, *first[place + 1 :]]))
    return found


def _values(text: str, given: Sources) -> list[str]:
    """An override of a sweep with each of its values, by the name that the user gave it; of an interval its start."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        return [text]  # with the words for it where it is composed, or an address, which is quoted there
    if not override.is_sweep_override():
        return [text]
    key = text.partition("=")[0]
    place = key.lstrip("+~")
    name = f"{key.removesuffix(place)}{given.written(place)}"
    if not override.is_discrete_sweep():
        return [f"{name}={_start(override.value())}"]
    return [f"{name}={value}" for value in islice(override.sweep_string_iterator(), _MOST_CHECKED)]


def _start(value: object) -> float:
    """Where an interval begins."""
    return float(getattr(value, "start", math.nan))
