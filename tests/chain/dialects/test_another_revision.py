"""A new revision needs one folder and its tests. The client and the code that selects and runs rounds do not change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from solders.instruction import AccountMeta
from solders.pubkey import Pubkey
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from decloud_pl.chain import borsh, dialects
from decloud_pl.chain import events as common
from decloud_pl.chain.anchor import Decoders, event_decoders, writable
from decloud_pl.chain.borsh import BorshReader
from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Filters, NetworkDialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.dialects.v1_2 import V1_2
from decloud_pl.chain.events import Event
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.transaction_errors import typed_error
from decloud_pl.config import compose
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import ConfigError, DecodeError, ProgramError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.connect import make_dialect
from decloud_pl.rounds.life import Act, Finish, next_step
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.rounds.select import Criteria, Situation, explain, verdict
from tests.chain.dialects import test_v1_2
from tests.chain.dialects.conformance import TRAINER, VALIDATOR, Golden, Sent
from tests.chain.dialects.encoding import encode_round
from tests.chain.dialects.test_v1_0 import ROUND_BYTES, SEVEN
from tests.chain.dialects.test_v1_1 import ROUND

# The content of the revision's folder.

OBSERVER = Pubkey.from_bytes(bytes(31) + b"\1")
MARK = b"revised!"


@dataclasses.dataclass(frozen=True, slots=True)
class RewardClaimed(common.RewardClaimed):
    """An event with an additional field: the share of an observer."""

    treasury_fee: int
    referrer_fee: int
    observer_fee: int


_READERS: dict[type[Event], Callable[[BorshReader], Event]] = {
    RewardClaimed: lambda r: RewardClaimed(r.u64(), r.pubkey(), r.u64(), r.u64(), r.u64(), r.u64()),
}


@dataclasses.dataclass(frozen=True)
class V1_3(V1_2):
    """A revision with another discriminator of rounds, fewer trainers, and a new data set, account and event field."""

    observer: Pubkey = OBSERVER
    account_counts: ClassVar[Mapping[str, int]] = {
        **V1_2.account_counts,
        "claim_reward": 8,
        "claim_validator_fee": 7,
        "complete_validation": 7,
    }
    max_trainers: ClassVar[int] = 2
    datasets: ClassVar[tuple[str, ...]] = (*V1_2.datasets, "gsm8k")

    def rounds_filter(self) -> Filters:
        return ((0, MARK),)

    def decode_round(self, data: bytes) -> Round:
        if data[:8] != MARK[: len(data)]:
            raise DecodeError("The bytes are not a Round account: the discriminator differs.")
        head = super().rounds_filter()[0][1]
        value = super().decode_round(head[: len(data)] + data[8:])
        return dataclasses.replace(value, max_trainers=self.max_trainers)

    def _fee_metas(self) -> tuple[AccountMeta, ...]:
        return (*super()._fee_metas(), writable(self.observer))

    def _event_decoders(self) -> Decoders:
        return {**super()._event_decoders(), **event_decoders(_READERS)}


# The content of its tests.

V1_2_TESTS = test_v1_2.TestV1_2
REVISED: NetworkDialect = V1_3()
REVISED_ROUND = dataclasses.replace(ROUND, max_trainers=2)
OPEN = dataclasses.replace(REVISED_ROUND, status=RoundStatus.WAITING_TRAINERS, join_deadline=10, trainers_count=1)
FULL = dataclasses.replace(OPEN, trainers_count=2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The revision's folder next to those of the package."""
    (tmp_path / "v1_3").mkdir()
    (tmp_path / "v1_3" / "__init__.py").write_text(f"from {__name__} import V1_3 as DIALECT\n")
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])


class TestV1_3(V1_2_TESTS):
    NAME = "v1.3"
    MAX_TRAINERS = 2
    DATASETS = 100
    ACCOUNTS: ClassVar[Mapping[str, Golden]] = {
        **V1_2_TESTS.ACCOUNTS,
        "Round": Golden("decode_round", MARK + ROUND_BYTES[8:], REVISED_ROUND, 195),
    }
    INSTRUCTIONS: ClassVar[Mapping[str, Sent]] = {
        **V1_2_TESTS.INSTRUCTIONS,
        **{
            name: dataclasses.replace(
                V1_2_TESTS.INSTRUCTIONS[name],
                accounts=V1_2_TESTS.INSTRUCTIONS[name].accounts.replace("program,", "program, observer w,"),
            )
            for name in ("claim_reward", "claim_validator_fee", "complete_validation")
        },
    }
    EVENTS: ClassVar[Mapping[str, tuple[bytes, Event]]] = {
        **V1_2_TESTS.EVENTS,
        "RewardClaimed": (
            SEVEN + bytes(TRAINER) + b"".join(map(borsh.u64, (11, 3, 2, 1))),
            RewardClaimed(7, TRAINER, 11, 3, 2, 1),
        ),
    }

    def named(self) -> dict[Pubkey, str]:
        return {**super().named(), OBSERVER: "observer"}

    def encode_round(self, value: Round) -> bytes:
        return MARK + super().encode_round(value)[8:]


@pytest.fixture
async def read(endpoint: Any, rpc: RpcClient) -> Round:
    """The open round, read by the client from a chain with the revision's bytes."""
    from solders.account import Account

    address = REVISED.round_address(OPEN.id)
    account = Account(10**9, MARK + encode_round(OPEN)[8:], REVISED.program_id)
    endpoint.vm.set_account(address, account)
    found = await ChainClient(rpc, REVISED).round(OPEN.id)
    assert found is not None
    return found


async def test_the_client_reads_its_rounds_and_no_others(rpc: RpcClient, read: Round) -> None:
    assert read == OPEN
    assert await ChainClient(rpc, REVISED).rounds() == [OPEN]
    assert await ChainClient(rpc, get_dialect()).rounds() == []
    with pytest.raises(DecodeError, match="the discriminator differs"):
        await ChainClient(rpc, get_dialect()).round(OPEN.id)


async def test_rounds_are_chosen_by_its_limits(read: Round) -> None:
    situation = Situation(now=0, balance=10**9, occupied_slots=0)
    assert verdict(explain(read, Criteria(), situation, dataset="digits"), "digits").accept
    decision = verdict(explain(FULL, Criteria(), situation, dataset="digits"), "digits")
    assert (decision.reason, decision.settled) == ("it already has its 2 trainers", True)


async def test_rounds_are_lived_through_by_its_limits(read: Round) -> None:
    record = RoundRecord(OPEN.id, State.SEEN, "mnist", "mnist", "bafy", 10**9)
    assert next_step(record, read, None, now=0, update_on_disk=False) == Act("join")
    missed = Finish(State.MISSED, "not joined, it already has its 2 trainers")
    assert next_step(record, FULL, None, now=0, update_on_disk=False) == missed


def test_its_codes_have_their_sentences() -> None:
    error = typed_error(TransactionErrorInstructionError(0, InstructionErrorCustom(6023)), REVISED)
    assert isinstance(error, ProgramError)
    assert error.name == "InvalidCreator"


def test_the_networks_configuration_names_it(tmp_path: Path) -> None:
    network = NetworkConfig(dialect="v1.3", program_id=str(OBSERVER), treasury=str(TRAINER), referrer=str(VALIDATOR))
    dialect = make_dialect(network)
    assert (dialect.program_id, dialect.max_trainers) == (OBSERVER, 2)
    claim = dialect.claim_reward(7, trainer=OPEN.creator)
    assert [meta.pubkey for meta in claim.accounts][3:6] == [TRAINER, VALIDATOR, OBSERVER]
    settings = compose(["network.dialect=v1.3", f"home={tmp_path}"])
    assert make_catalog(settings).chain_names == dialect.datasets


@pytest.mark.parametrize("name", ["v9", "v1", "v1_0", "v1.0.0", ""])
def test_one_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"got '{name}'"):
        make_dialect(NetworkConfig(dialect=name))
    with pytest.raises(ConfigError, match=rf"got '{name}'"):
        compose([f"network.dialect='{name}'"])


SECRET = "4Z7cXSyeFR8wNGMVXUE1TwtKn5D5Vu7FzEv69dokLv7KrQk7h6pu4LF8ZRR9yQBhc7uSM6RTTZtU1fmaxiNrxXrs"


@pytest.mark.parametrize("setting", ["network.treasury", "network.referrer"])
@pytest.mark.parametrize("value", [SECRET, "0" * 43, "mine", "1" * 31, "1" * 33, "z" * 44])
def test_only_a_public_key_may_receive_fees(setting: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting} is not a Solana address\.") as caught:
        make_dialect(compose([f"home={tmp_path}", f"{setting}='{value}'"]).network)
    assert value not in str(caught.value)
