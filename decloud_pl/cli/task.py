"""What ``task`` names, run with composed settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decloud_pl.settings import Settings


def run_task(settings: Settings, preset: str) -> int:
    """Runs the daemon, one round or an experiment, and returns the exit code.

    Args:
        settings: checked ones.
        preset: its name, to be shown.
    """
    if settings.task == "experiment":
        from decloud_pl.cli import experiment

        return experiment.run_settings(settings)
    from decloud_pl.cli import daemon

    return daemon.run_settings(settings, preset=preset)
