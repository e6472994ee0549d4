"""Typed settings from ``conf/``, config.json, the environment and the command line.

Only this package uses Hydra; no other package gets a ``DictConfig``. `load` returns the settings in force. `compose`
uses ``conf/`` and the given overrides alone.
"""

from decloud_pl.chain.network import NetworkConfig
from decloud_pl.config.load import compose, load
from decloud_pl.config.schema import RewardsConfig, Settings, Tree, WalletConfig, default_home
from decloud_pl.secrets import Secrets

__all__ = ["NetworkConfig", "RewardsConfig", "Secrets", "Settings", "Tree", "WalletConfig"]
__all__ += ["compose", "default_home", "load"]
