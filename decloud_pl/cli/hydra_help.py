"""Fill Hydra's template for ``python -m decloud_pl --help``.

This module lists the choices of each group itself, because Hydra's own search copies every schema 150 times, which
takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template


def help_text(overrides: Sequence[str], *, resolve: bool) -> str:
    """Return the text that ``--help`` prints.

    Args:
        overrides: the overrides to apply to the shown configuration.
        resolve: whether to replace interpolations by their values.

    Raises:
        ConfigError: a setting is invalid.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from decloud_pl.cli.hydra_run import shown_overrides
    from decloud_pl.config.layers import sources
    from decloud_pl.config.load import composed

    given = sources(overrides)
    shown = shown_overrides(given, composed(given))
    with initialize_config_dir(config_dir=str(given.folders[0]), version_base="1.3", job_name="decloud_pl"):
        tree = compose("config", overrides=shown, return_hydra_config=True)
    HydraConfig.instance().set_config(tree)  # interpolations may refer to it
    template = Template(tree.hydra.help.template)
    with open_dict(tree):
        del tree["hydra"]
    return template.safe_substitute(
        APP_CONFIG_GROUPS="".join(f"{line}\n" for line in _groups(given.folders)),
        CONFIG=OmegaConf.to_yaml(tree, resolve=resolve),
    )


def _groups(folders: Sequence[Path]) -> Iterator[str]:
    """Yield one line for each group, with its choices."""
    from decloud_pl.config.names import choices

    found = {file.parent.relative_to(folder).as_posix() for folder in folders for file in folder.glob("*/**/*.yaml")}
    for group in sorted(name for name in found if name.partition("/")[0] != "hydra"):
        yield f"{group}: {', '.join(choices(group, *folders))}"
