"""A sweep with Hydra. Each job is one experiment, regardless of where the launcher runs it.

Launchers pickle the function `job` and send it to other processes and machines. Therefore it must be importable by
name, and must not contain a secret.
"""

from __future__ import annotations

import logging
import math
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.children import begin_imports
from decloud_pl.config.layers import Sources, sources, variable_of
from decloud_pl.config.load import Composed, composed
from decloud_pl.config.names import SWEEP, choices, secret_names, storages
from decloud_pl.config.schema import default_home
from decloud_pl.durable import make_private
from decloud_pl.errors import ConfigError, DecloudError, TrainingError, first_line, nearest
from decloud_pl.experiment.results import Result, dataset_name
from decloud_pl.own_memory import PASS_ENV
from decloud_pl.redact import HIDDEN, redact
from decloud_pl.shortage import shortage

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

_MOST_CHECKED = 32
"""Number of values that are checked before a sweep starts. Wrong values beyond these only fail their own runs."""


def job(_: DictConfig) -> float:
    """Run one experiment of a sweep, in the folder that Hydra created for it.

    This function composes the settings again, because URLs are redacted in Hydra's stored configuration.

    Returns:
        The accuracy after the update, which sweepers maximize. If there is no score, the result is NaN, ``result.json``
        states the reason, and the sweep continues.
    """
    if "torch" not in sys.modules:  # a launcher has started this process, and its main module is not ours
        begin_imports()
    from hydra.core.hydra_config import HydraConfig

    from decloud_pl.experiment.run import parameters_of, run_experiment

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    make_private(folder)
    # If the settings cannot be composed, this is all we have.
    name, parameters = "", _given(hydra.overrides.task)
    try:
        settings = composed(sources(without_shown(hydra.overrides.task))).settings
        name, parameters = dataset_name(settings.dataset), parameters_of(settings)
        result = run_experiment(settings, folder, sweep=folder.parent.name)
    except Exception as error:  # noqa: BLE001  # the user's own classes can raise any exception
        failure = error if isinstance(error, DecloudError) else _unexpected(error)
        logger.error("%s", failure)  # noqa: TRY400  # the message is complete; a traceback would hide it
        result = Result(folder.parent.name, folder.name, name, parameters, error=str(failure))
        result.write(folder)
    return math.nan if result.accuracy_after is None else result.accuracy_after


def _unexpected(error: Exception) -> DecloudError:
    """Log the traceback of an unexpected exception without secrets in URLs. Return the error to show for it."""
    logger.error("%s", redact("".join(traceback.format_exception(error)).rstrip()))
    return shortage(error) or TrainingError(
        f"The experiment failed: {type(error).__name__}: {first_line(error)}.",
        fix="Read the traceback in the experiment's log.",
    )


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the training settings that the overrides set, by dotted name. Skip overrides that `redact` changes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from decloud_pl.experiment.run import NODES

    parsed = OverridesParser.create().parse_overrides([text for text in overrides if redact(text) == text])
    known = (*NODES, "dataset", "seed")
    return {one.key_or_group: one.value() for one in parsed if str(one.key_or_group).partition(".")[0] in known}


def without_shown(overrides: Sequence[str]) -> list[str]:
    """Return a job's overrides without those that contain a redacted URL.

    The job takes the complete URL from the user's settings (config.json and the environment) instead.
    """
    return [text for text in overrides if not (text.startswith("++") and "://" in text and HIDDEN in text)]


def expanded(overrides: Sequence[str], *folders: Path) -> list[str]:
    """Return the overrides with the parameters of the chosen sweep file. The command line's values take precedence.

    Args:
        overrides: the command line's overrides. ``sweep=NAME`` refers to a file of ``conf/sweep``.
        folders: the built-in ``conf/`` and the user's own.

    Raises:
        ConfigError: the file does not exist or is not a sweep.
    """
    names = [text.lstrip("+").partition("=")[2] for text in overrides if _group(text) == SWEEP]
    if not names:
        return list(overrides)
    known = choices(SWEEP, *folders)
    if names[-1] not in known:
        raise ConfigError(f"Unknown sweep {names[-1]!r}.", fix=nearest(names[-1], known))
    given = {text.lstrip("+~").partition("=")[0] for text in overrides}
    others = [text for text in overrides if _group(text) != SWEEP]
    file = next(path for folder in folders if (path := folder / SWEEP / f"{names[-1]}.yaml").is_file())
    own = [f"{name}={value}" for name, value in _parameters(file).items() if name not in given]
    # As overrides they have the same priority as the command line, and are checked in the same way.
    return [f"+{SWEEP}={names[-1]}", "hydra.sweeper.params=null", *own, *others]


def _parameters(file: Path) -> dict[str, Any]:
    """Return the parameters that a file of ``conf/sweep`` varies."""
    import yaml

    try:
        node: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        parameters = ((node.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
        return dict(parameters)
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is not a sweep: {first_line(error)}.", fix="Compare it with conf/sweep.") from error


def refuse_addresses(overrides: Sequence[str]) -> None:
    """Refuse a sweep's command line that contains a URL with a path, a query or a login, which may be a secret.

    Raises:
        ConfigError: a URL may contain a secret. Launchers would write the URL into files, and a job cannot use a
            redacted URL.
    """
    for text in overrides:
        if redact(text) != text:
            key = text.lstrip("+").partition("=")[0]
            raise ConfigError(
                f"The address in {key} may contain a secret, and a sweep writes its command line into files.",
                fix=f"Store the address with: decloud-trainer config --set {key}=-",
            )


def refuse_folders(overrides: Sequence[str]) -> None:
    """Refuse a sweep's command line that sets the folders of the experiments.

    Raises:
        ConfigError: an override sets ``hydra.sweep.dir``, or a folder within a folder.
    """
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        if key in ("hydra.sweep", "hydra.sweep.dir") or (key == "hydra.sweep.subdir" and "/" in text):
            raise ConfigError(
                f"{key} does not apply, because the program itself chooses the folders of a sweep's experiments.",
                fix="Leave it out. To store everything in another folder, set DECLOUD_HOME.",
            )


def _group(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0]


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Remove secrets from the environment, because launchers pass it to their workers.

    A variable ``DECLOUD_…`` with a URL that may contain a key is also removed, unless ``DECLOUD_PASS_ENV`` names the
    variable. Experiments do not need such URLs: experiments do not query the chain, and data sets are downloaded before
    the sweep starts.
    """
    home = default_home(environ)
    named = set(environ.get(PASS_ENV, "").replace(",", " ").split())
    addresses = [name for name, value in environ.items() if name.startswith("DECLOUD_") and redact(value) != value]
    for name in (*map(variable_of, secret_names(home)), *storages(home).variables, *{*addresses} - named):
        environ.pop(name, None)


def checked_points(given: Sources) -> list[Composed]:
    """Compose the settings of a sweep with each of its values once, to find errors before any training starts.

    Each composition changes one setting and uses the first value of every other setting. If the sweep has more values
    than `_MOST_CHECKED`, the last ones are not checked.

    Returns:
        The compositions. The first one is that of the first experiment.

    Raises:
        ConfigError: a key or choice is unknown, a value is invalid, or the task is not an experiment.
    """
    values = [_values(text, given) for text in given.overrides]
    first = [texts[0] for texts in values]
    found = composed(given.with_overrides(first))
    if found.settings.task != "experiment":
        raise ConfigError(
            "A sweep can only run experiments, because a daemon or a round acts on the chain.",
            fix="Add task=experiment.",
        )
    others = [(place, text) for place, texts in enumerate(values) for text in texts[1:]]
    # Data sets come first, because the caller downloads them before the sweep starts.
    others.sort(key=lambda other: _group(other[1]) != "dataset")
    changed = ([*first[:place], text, *first[place + 1 :]] for place, text in others[:_MOST_CHECKED])
    return [found, *(composed(given.with_overrides(texts)) for texts in changed)]


def _values(text: str, given: Sources) -> list[str]:
    """Return one override for each value of a sweep's override, with the setting's name as the user wrote it.

    An interval has no list of values; for an interval, return a single override with its start.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        return [text]  # composing the text reports the error; or the text is a URL, which is quoted later
    if not override.is_sweep_override():
        return [text]
    key = text.partition("=")[0]
    place = key.lstrip("+~")
    name = f"{key.removesuffix(place)}{given.command_line[place].name}"  # reads no file, unlike `Sources.written`
    if not override.is_discrete_sweep():
        start = getattr(override.value(), "start", math.nan)
        return [f"{name}={float(start)}"]
    return [f"{name}={value}" for value in islice(override.sweep_string_iterator(), _MOST_CHECKED)]
