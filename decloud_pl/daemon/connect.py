"""From settings to the chain: all that a command needs that only reads."""

from __future__ import annotations

from solders.pubkey import Pubkey

from decloud_pl.chain.dialects.v1 import V1
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.errors import ConfigError
from decloud_pl.settings import NetworkConfig


def make_dialect(network: NetworkConfig) -> V1:
    """The program at the configured address.

    Raises:
        ConfigError: the address is not a public key.
    """
    try:
        return V1(Pubkey.from_string(network.program_id))
    except ValueError as error:
        raise ConfigError(
            f"network.program_id {network.program_id!r} is not a Solana address.",
            fix="Copy it from the network's documentation.",
        ) from error


def make_rpc(network: NetworkConfig) -> RpcClient:
    """The chain's RPC with the configured fallbacks and rate.

    Raises:
        ConfigError: an address is not an http or https URL.
    """
    return RpcClient(
        network.rpc_url, fallbacks=network.fallback_rpc_urls, requests_per_second=network.requests_per_second
    )
