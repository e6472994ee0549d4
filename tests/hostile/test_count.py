"""The number of hostile inputs of each kind."""

from __future__ import annotations

from tests.hostile import (
    test_gateways,
    test_journals,
    test_model_files,
    test_proxies,
    test_rpc_answers,
    test_settings,
    test_stores,
    test_texts,
    test_wallets,
)

COUNTED = {
    "model files and updates": len(test_model_files.INPUTS),
    "gateways": len(test_gateways.INPUTS) + len(test_gateways.NAMES),
    "stores and mirrors": len(test_stores.INPUTS) + 2 * len(test_stores.NO_VERSIONS),
    "RPC endpoints": len(test_rpc_answers.INPUTS),
    "texts of strangers": len(test_texts.INPUTS),
    "journals": len(test_journals.INPUTS),
    "settings": len(test_settings.INPUTS),
    "key files": len(test_wallets.INPUTS),
    "proxies": len(test_proxies.INPUTS),
}


def test_there_are_enough_inputs_of_each_kind() -> None:
    assert min(COUNTED.values()) >= 9, COUNTED
    assert sum(COUNTED.values()) >= 120, COUNTED
