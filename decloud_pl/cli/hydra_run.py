"""Call Hydra with a command line that it may print and save."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from decloud_pl.config.layers import Sources
    from decloud_pl.config.load import Composed


def hand_over(arguments: Sequence[str], job: Callable[[DictConfig], object], *, shows: bool = False) -> int:
    """Run Hydra with the given command line, which replaces the arguments in `sys.argv`, and return 0.

    Args:
        arguments: the command line.
        job: the function that Hydra calls with the configuration.
        shows: whether Hydra only prints a text. If so, this function captures the text and prints it, because Hydra
            would print a traceback if standard output fails.
    """
    import hydra

    from decloud_pl.config_dir import config_dir

    sys.argv[1:] = arguments
    run = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)
    if not shows:
        run()
        return 0
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            run()
    finally:  # Hydra's help exits the process
        print(text.getvalue(), end="", flush=True)
    return 0


def shown_overrides(given: Sources, found: Composed) -> list[str]:
    """Return the overrides for `hydra.main`, with URLs redacted, because Hydra prints and saves overrides.

    The program does not use the redacted values, because it composes its settings itself. From Hydra, it takes only the
    parameters of a sweep.
    """
    from dataclasses import fields, replace

    from decloud_pl.cli.config.shown import value_at
    from decloud_pl.config import Tree
    from decloud_pl.config.group_files import leaves_of
    from decloud_pl.config.load import hydra_overrides
    from decloud_pl.config.values import hydra_text
    from decloud_pl.redact import redact, redact_tree

    whole = dict(leaves_of({entry.name: getattr(found.settings, entry.name) for entry in fields(Tree)}))
    rest: list[str] = []
    for override in given.overrides:
        if redact(override) == override:
            rest.append(override)
        else:
            key, _, text = override.lstrip("+~").partition("=")
            whole[key] = value_at(found.settings, key) or text
    shown = {place: redact_tree(value) for place, value in whole.items()}
    hidden = [f"++{place}={hydra_text(value)}" for place, value in shown.items() if value != whole[place]]
    # Launchers also save the content of Hydra's store.
    assignments = {place: replace(one, value=redact_tree(one.value)) for place, one in given.assignments.items()}
    return [*hydra_overrides(replace(given, assignments=assignments), rest), *hidden]
