"""A second revision costs one folder: the client, the choice of rounds and their life need no word about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from decloud_pl.chain import dialects
from decloud_pl.chain.anchor import readonly, writable
from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Filters, NetworkDialect
from decloud_pl.chain.dialects.v1_0 import V1_0
from decloud_pl.chain.dialects.v1_0.accounts import encode_round
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
from tests.chain.dialects.test_v1_0 import ROUND

TREASURY = Pubkey.from_bytes(bytes(31) + b"\1")
MARK = b"revised!"


@dataclasses.dataclass(frozen=True)
class Revised(V1_0):
    """Rounds with another discriminator, fewer trainers, a treasury at the claim, one more data set, its own codes."""

    max_trainers = 2
    datasets = (*V1_0.datasets, "gsm8k")

    def rounds_filter(self) -> Filters:
        return ((0, MARK),)

    @staticmethod
    def decode_round(data: bytes) -> Round:
        if data[:8] != MARK:
            raise DecodeError("These bytes are not a Round account: the discriminator differs.")
        value = V1_0.decode_round(V1_0().rounds_filter()[0][1] + data[8:])
        return dataclasses.replace(value, max_trainers=Revised.max_trainers)

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        found = super().claim_reward(round_id, trainer=trainer)
        *before, payer, system = found.accounts
        metas = [*before, writable(TREASURY), readonly(self.program_id), payer, system]
        return Instruction(self.program_id, bytes(found.data), metas)

    def error(self, code: int, logs: tuple[str, ...] = ()) -> ProgramError:
        return ProgramError(f"The program refused: no treasury ({code}).", code=code, name="InvalidTreasury", logs=logs)


REVISED: NetworkDialect = Revised()
OPEN = dataclasses.replace(
    ROUND, status=RoundStatus.WAITING_TRAINERS, join_deadline=10, trainers_count=1, max_trainers=2
)
FULL = dataclasses.replace(OPEN, trainers_count=2)


@pytest.fixture
async def read(endpoint: Any, rpc: RpcClient) -> Round:
    """The open round as the client reads it from a chain that knows only the revision's bytes."""
    from solders.account import Account

    address = REVISED.round_address(OPEN.id)
    account = Account(10**9, MARK + encode_round(OPEN)[8:], REVISED.program_id)
    endpoint.vm._svm.set_account(address, account)
    endpoint.vm.ledger.keep(address, account)
    found = await ChainClient(rpc, REVISED).round(OPEN.id)
    assert found is not None
    return found


async def test_the_client_reads_its_rounds_and_no_others(rpc: RpcClient, read: Round) -> None:
    assert read == OPEN
    assert await ChainClient(rpc, REVISED).rounds() == [OPEN]
    assert await ChainClient(rpc, V1_0()).rounds() == []
    with pytest.raises(DecodeError, match="the discriminator differs"):
        await ChainClient(rpc, V1_0()).round(OPEN.id)


async def test_rounds_are_chosen_by_its_limits(read: Round) -> None:
    situation = Situation(now=0, balance=10**9, occupied_slots=0)
    assert verdict(explain(read, Criteria(), situation, resolve=str), "digits").accept
    decision = verdict(explain(FULL, Criteria(), situation, resolve=str), "digits")
    assert (decision.reason, decision.settled) == ("it already has its 2 trainers", True)


async def test_rounds_are_lived_through_by_its_limits(read: Round) -> None:
    record = RoundRecord(OPEN.id, State.SEEN, "mnist", "mnist", "bafy", 10**9)
    assert next_step(record, read, None, now=0, update_on_disk=False) == Act("join")
    missed = Finish(State.MISSED, "not joined, it already has its 2 trainers")
    assert next_step(record, FULL, None, now=0, update_on_disk=False) == missed


def test_its_codes_have_its_sentences() -> None:
    error = typed_error(TransactionErrorInstructionError(0, InstructionErrorCustom(6021)), REVISED)
    assert isinstance(error, ProgramError)
    assert error.name == "InvalidTreasury"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision's folder beside those of the package."""
    (tmp_path / "revised").mkdir()
    (tmp_path / "revised" / "__init__.py").write_text(f"from {__name__} import Revised as DIALECT\n")
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])


@pytest.mark.usefixtures("folder")
def test_the_networks_configuration_names_it(tmp_path: Path) -> None:
    dialect = make_dialect(NetworkConfig(dialect="revised", program_id=str(TREASURY)))
    assert (dialect.program_id, dialect.max_trainers) == (TREASURY, 2)
    claim = dialect.claim_reward(7, trainer=OPEN.creator)
    assert [meta.pubkey for meta in claim.accounts][3:5] == [TREASURY, TREASURY]
    settings = compose(["network.dialect=revised", f"home={tmp_path}"])
    assert make_catalog(settings).chain_names == dialect.datasets


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"network\.dialect is 'v9'"):
        make_dialect(NetworkConfig(dialect="v9"))
    with pytest.raises(ConfigError, match=r"network\.dialect is 'v9'"):
        compose(["network.dialect=v9"])
