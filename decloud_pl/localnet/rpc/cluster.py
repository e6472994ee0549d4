"""RPC methods about the cluster: its health, version, slots and time."""

from __future__ import annotations

from typing import Any

from solders.hash import Hash
from solders.keypair import Keypair

from decloud_pl.localnet.rpc import params as p
from decloud_pl.localnet.rpc.accounts import API_VERSION, in_context
from decloud_pl.localnet.rpc.jsonrpc import Method, RpcError
from decloud_pl.localnet.vm import BLOCKHASH_WINDOW, SLOT_SECONDS, Vm

_SLOTS_PER_EPOCH = 432_000
_FEATURE_SET = 1
_BLOCK_NOT_AVAILABLE = -32004


def cluster_methods(vm: Vm) -> dict[str, Method]:
    """Return this module's RPC methods for the chain ``vm``, by name."""
    identity = str(Keypair.from_seed(bytes(Hash.from_string(vm.genesis_hash))).pubkey())

    def slot_for(params: list[Any], index: int = 0) -> int:
        vm.advance()
        return vm.slot_at(p.commitment(p.options(params, index), newest_slot=vm.slot))

    def get_latest_blockhash(params: list[Any]) -> Any:
        slot = slot_for(params)
        value = {"blockhash": str(vm.blockhash(slot)), "lastValidBlockHeight": slot + BLOCKHASH_WINDOW}
        return in_context(slot, value)

    def is_blockhash_valid(params: list[Any]) -> Any:
        blockhash = p.blockhash(p.argument(params, 0, "blockhash"))
        slot = slot_for(params, 1)
        return in_context(slot, vm.is_blockhash_valid(blockhash, at=slot))

    def get_epoch_info(params: list[Any]) -> Any:
        slot = slot_for(params)
        return {
            "absoluteSlot": slot,
            "blockHeight": slot,
            "epoch": slot // _SLOTS_PER_EPOCH,
            "slotIndex": slot % _SLOTS_PER_EPOCH,
            "slotsInEpoch": _SLOTS_PER_EPOCH,
            "transactionCount": vm.ledger.last_sequence(),
        }

    def get_block_time(params: list[Any]) -> Any:
        slot = p.number(p.argument(params, 0, "slot"), "slot")
        vm.advance()
        if slot > vm.slot:
            raise RpcError(_BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
        return vm.time_of(slot)

    def get_performance_samples(_params: list[Any]) -> Any:
        vm.advance()
        return [
            {
                "slot": vm.slot,
                "numSlots": int(60 / SLOT_SECONDS),
                "numTransactions": 0,
                "numNonVoteTransactions": 0,
                "samplePeriodSecs": 60,
            }
        ]

    return {
        "getHealth": lambda _: "ok",
        "getVersion": lambda _: {"solana-core": API_VERSION, "feature-set": _FEATURE_SET},
        "getGenesisHash": lambda _: vm.genesis_hash,
        "getIdentity": lambda _: {"identity": identity},
        "getSlotLeader": lambda _: identity,
        "getFirstAvailableBlock": lambda _: 0,
        "minimumLedgerSlot": lambda _: 0,
        "getRecentPerformanceSamples": get_performance_samples,
        "getSlot": slot_for,
        "getBlockHeight": slot_for,
        "getTransactionCount": lambda _: vm.ledger.last_sequence(),
        "getLatestBlockhash": get_latest_blockhash,
        "isBlockhashValid": is_blockhash_valid,
        "getEpochInfo": get_epoch_info,
        "getBlockTime": get_block_time,
    }
