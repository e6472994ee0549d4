"""Typed settings from ``conf/``, config.json, the environment and the command line.

This package composes the settings with Hydra, and returns them as dataclasses, not as a ``DictConfig``. `load` uses
all four sources. `compose` uses only ``conf/`` and the given overrides.
"""

from decloud_pl.chain.network import NetworkConfig
from decloud_pl.config.load import compose, load
from decloud_pl.config.schema import RewardsConfig, Settings, Tree, WalletConfig, default_home
from decloud_pl.secrets import Secrets

__all__ = ["NetworkConfig", "RewardsConfig", "Secrets", "Settings", "Tree", "WalletConfig"]
__all__ += ["compose", "default_home", "load"]
