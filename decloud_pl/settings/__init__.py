"""From ``conf/``, config.json, the environment and the command line to typed values.

Hydra stops here: below this package nothing sees a ``DictConfig``. `load` gives the settings in force, `compose`
those of ``conf/`` and overrides alone.
"""

from decloud_pl.chain.network import NetworkConfig
from decloud_pl.secrets import Secrets
from decloud_pl.settings.load import compose, load
from decloud_pl.settings.schema import RewardsConfig, Settings, Tree, WalletConfig, default_home

__all__ = ["NetworkConfig", "RewardsConfig", "Secrets", "Settings", "Tree", "WalletConfig"]
__all__ += ["compose", "default_home", "load"]
