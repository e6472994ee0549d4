"""The revision of a program is detected from simulations, from its IDL on chain and from its transactions."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import base58
import pytest
from aiohttp import web
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain import dialects
from decloud_pl.chain.anchor import SYSTEM_PROGRAM_ID, discriminator
from decloud_pl.chain.dialects import get_dialect, names
from decloud_pl.chain.idl import idl_account_counts, idl_address
from decloud_pl.chain.revision import UNDECIDED, UNKNOWN, Revision, detect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import DecodeError
from tests.chain.dialects.encoding import encode_round, encode_submission

IDLS = Path(__file__).parents[2] / "golden" / "idl"
LOADER = "BPFLoaderUpgradeab1e11111111111111111111111"
PROGRAM = get_dialect("v1.0").program_id
AUTHORITY, CREATOR, VALIDATOR, TRAINER = (Pubkey.from_bytes(bytes(31) + bytes([number])) for number in range(1, 5))
ROUND = Round(
    id=0,
    creator=CREATOR,
    model_cid="bafkqaaa",
    dataset="mnist",
    reward_amount=10**9,
    status=RoundStatus.TRAINING,
    validator=VALIDATOR,
    validator_fee_bps=1000,
    baseline_score=0,
    created_at=0,
    validator_deadline=0,
    join_deadline=0,
    submit_deadline=0,
    trainers_count=1,
    submissions_count=0,
    bump=255,
    vault_bump=255,
    max_trainers=10,
)
SUBMISSION = Submission(0, TRAINER, "", submitted=False, contribution_bps=0, reward_claimed=False, bump=255)


def idl(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((IDLS / f"{name}.json").read_text())
    return found


def as_published(document: dict[str, Any]) -> bytes:
    packed = zlib.compress(json.dumps(document).encode())
    return bytes(8) + bytes(32) + len(packed).to_bytes(4, "little") + packed


@dataclass
class Published:
    """An RPC server with one Anchor program. It answers simulations according to the program's IDL.

    Args:
        name: the name of the IDL.
        rounds: the rounds on chain. `ROUND` is claimed by a validator and joined by a trainer.
        simulates: whether the endpoint has the method simulateTransaction.
        opens_fee_accounts: whether treasury and referrer must be accounts of the system program.
        is_deployed: whether the program runs. It does not in the slot of an upgrade.
    """

    name: str
    rounds: list[Round] = field(default_factory=list)
    simulates: bool = True
    opens_fee_accounts: bool = False
    is_deployed: bool = True
    has_idl: bool = False
    sent: list[Instruction] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.document = idl(self.name)
        self.accounts: dict[str, tuple[str, int, bytes]] = {str(PROGRAM): (LOADER, 10**9, b"")}
        for payer in (AUTHORITY, CREATOR):
            self.accounts[str(payer)] = (str(SYSTEM_PROGRAM_ID), 10**9, b"")
        dialect = get_dialect("v1.0")
        counter = discriminator("account", "RoundCounter") + len(self.rounds).to_bytes(8, "little")
        self.own(dialect.round_counter_address(), counter + bytes(AUTHORITY) + b"\xff")
        for round_ in self.rounds:
            self.own(dialect.round_address(round_.id), encode_round(round_))
            if round_.trainers_count:
                place = dialect.submission_address(round_.id, TRAINER)
                self.own(place, encode_submission(replace(SUBMISSION, round_id=round_.id)))
        if self.has_idl:
            self.own(idl_address(PROGRAM), as_published(self.document))

    def own(self, address: Pubkey, data: bytes) -> None:
        self.accounts[str(address)] = (str(PROGRAM), 10**6, data)

    def code(self, data: bytes, given: list[tuple[str, bool]]) -> int:
        """Return the error code of an instruction, checked in Anchor's order. The last code is the program's own."""
        for entry in self.document["instructions"]:
            if bytes(entry["discriminator"]) == data[:8]:
                break
        else:
            return 101
        if len(data) < 8 + sum({"string": 4, "u32": 4, "u16": 2}.get(one["type"], 8) for one in entry["args"]):
            return 102
        for place, account in enumerate(entry["accounts"]):
            if place >= len(given):
                return 3005
            address, signs = given[place]
            if account.get("signer") and not signs:
                return 3010
            if account["name"] in ("round", "submission", "round_counter") and address not in self.accounts:
                return 3012
            is_fee_account = self.opens_fee_accounts and account["name"] in ("treasury", "referrer")
            is_absent = account.get("optional") and address == str(PROGRAM)
            if is_fee_account and not is_absent and address == str(SYSTEM_PROGRAM_ID):
                return 3011  # the native loader owns the system program
        return 6003

    def answer(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        context = {"slot": 5, "apiVersion": "2.1.0"}
        match method:
            case "getAccountInfo":
                return {"context": context, "value": self._account(params[0])}
            case "getMultipleAccounts":
                return {"context": context, "value": [self._account(address) for address in params[0]]}
            case "getProgramAccounts":
                wanted = [condition["memcmp"] for condition in params[1]["filters"]]
                parts = [(one["offset"], base58.b58decode(one["bytes"])) for one in wanted]
                return [
                    {"pubkey": address, "account": self._account(address)}
                    for address, (owner, _, data) in self.accounts.items()
                    if owner == str(PROGRAM) and all(data[at : at + len(part)] == part for at, part in parts)
                ]
            case "getLatestBlockhash":
                value = {"blockhash": str(Hash.default()), "lastValidBlockHeight": 150}
                return {"context": context, "value": value}
            case "simulateTransaction" if self.simulates:
                transaction = VersionedTransaction.from_bytes(base64.b64decode(params[0]))
                message = transaction.message
                assert str(message.account_keys[0]) in self.accounts  # else the runtime refuses the payer
                (call,) = message.instructions
                given = [(str(message.account_keys[index]), message.is_signer(index)) for index in call.accounts]
                inner = {"Custom": self.code(call.data, given)} if self.is_deployed else "UnsupportedProgramId"
                error = {"InstructionError": [0, inner]}
                value = {"err": error, "logs": [], "accounts": None, "unitsConsumed": 0, "returnData": None}
                return {"context": context, "value": value}
            case "getSignaturesForAddress":
                return [
                    {"signature": str(_signature(number)), "slot": 1, "err": None, "memo": None, "blockTime": 1}
                    for number in range(len(self.sent))
                ]
            case "getTransaction":
                number = int.from_bytes(bytes(Signature.from_string(params[0]))[:1], "little")
                message = MessageV0.try_compile(AUTHORITY, [self.sent[number]], [], Hash.default())
                signatures = [Signature.default()] * message.header.num_required_signatures
                wire = bytes(VersionedTransaction.populate(message, signatures))
                return {
                    "slot": 1,
                    "blockTime": 1,
                    "transaction": [base64.b64encode(wire).decode(), "base64"],
                    "meta": None,
                    "version": 0,
                }
        return None

    def _account(self, address: str) -> dict[str, Any] | None:
        if address not in self.accounts:
            return None
        owner, lamports, data = self.accounts[address]
        encoded = base64.b64encode(data).decode()
        fields = {"executable": False, "rentEpoch": 0, "space": len(data)}
        return {"owner": owner, "lamports": lamports, "data": [encoded, "base64"], **fields}

    async def serve(self, request: web.Request) -> web.Response:
        call = await request.json()
        result = self.answer(call["method"], call["params"])
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})


def _signature(number: int) -> Signature:
    return Signature.from_bytes(bytes([number]) + bytes(63))


@asynccontextmanager
async def served(published: Published) -> AsyncIterator[RpcClient]:
    application = web.Application()
    application.router.add_post("/", published.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rpc = RpcClient(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield rpc
    finally:
        await rpc.aclose()
        await runner.cleanup()


async def found(published: Published, *, payer: Pubkey | None = None) -> Revision:
    async with served(published) as rpc:
        return await detect(rpc, PROGRAM, payer=payer, now=7.0)


def many(count: int) -> list[Round]:
    return [replace(ROUND, id=number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("name", ["v1.0", "v1.1", "v1.2"])
async def test_a_round_is_enough(name: str, count: int) -> None:
    published = Published(name, many(count))
    revision = await found(published)
    assert (revision.name, revision.at) == (name, 7.0)
    assert revision.is_decided
    assert f"{get_dialect(name).account_counts['claim_reward']} accounts" in revision.evidence
    assert len(published.calls) < 25  # a public endpoint answers 3 to 4 requests a second
    assert "sendTransaction" not in published.calls


@pytest.mark.parametrize(
    ("name", "expected"), [("v1.0", UNDECIDED), ("v1.1", UNDECIDED), ("v1.2", "v1.2"), ("v2.0", "V2")]
)
async def test_without_rounds_only_the_names_of_instructions_tell(name: str, expected: str) -> None:
    revision = await found(Published(name))
    assert revision.name == expected
    assert revision.is_supported == (expected != "V2")
    assert revision.is_decided == (expected == "v1.2")


@pytest.mark.parametrize("name", ["v1.0", "v1.1"])
async def test_a_round_that_nobody_has_claimed_or_joined(name: str) -> None:
    posted = replace(ROUND, status=RoundStatus.WAITING_VALIDATOR, validator=None, trainers_count=0)
    assert (await found(Published(name, [posted]))).name == UNDECIDED
    claimed = replace(ROUND, status=RoundStatus.WAITING_TRAINERS, trainers_count=0)
    assert (await found(Published(name, [claimed]))).name == name


@pytest.mark.parametrize("simulates", [True, False])
@pytest.mark.parametrize("name", ["v1.0", "v1.1", "v1.2"])
async def test_a_published_idl_decides_where_simulations_cannot(name: str, simulates: bool) -> None:
    revision = await found(Published(name, has_idl=True, simulates=simulates))
    assert revision.name == name


async def test_a_program_that_was_upgraded_is_what_it_does_not_what_its_old_idl_says() -> None:
    published = Published("v1.1", many(1), has_idl=True)
    published.document = idl("v1.2")
    assert (await found(published)).name == "v1.2"


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "v1.2"])
async def test_a_claim_that_was_paid_tells_where_nothing_else_does(name: str) -> None:
    claim = get_dialect(name).claim_reward(0, trainer=TRAINER)
    joined = get_dialect(name).join_round(0, trainer=TRAINER)
    revision = await found(Published(name, simulates=False, sent=[joined, claim]))
    # v1.1 and v1.2 have the same payments. Only abort_round distinguishes them.
    assert revision.name == {"v1.0": "v1.0", "v1.1": UNDECIDED, "v1.2": UNDECIDED}[name]


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "v1.2"])
async def test_a_form_fails_at_the_first_account_that_is_of_another_kind(name: str) -> None:
    revision = await found(Published(name, many(2), opens_fee_accounts=True))
    assert revision.name == name


@pytest.mark.parametrize("old", ["v1.0", "v1.1"])
async def test_what_a_program_does_counts_more_than_what_was_published_of_it_before(old: str) -> None:
    claim = get_dialect(old).claim_reward(0, trainer=TRAINER)
    published = Published(old, has_idl=True, sent=[claim])
    published.document = idl("v1.2")
    assert (await found(published)).name == "v1.2"  # the upgrade added abort_round; there was no payment since


@pytest.mark.parametrize(("published", "paid"), [("v1.0", "v1.2"), ("v1.1", "v1.0")])
async def test_where_nothing_can_be_simulated_an_old_idl_or_an_old_payment_does_not_decide_alone(
    published: str, paid: str
) -> None:
    claim = get_dialect(paid).claim_reward(0, trainer=TRAINER)
    revision = await found(Published(published, has_idl=True, simulates=False, sent=[claim]))
    assert revision.name == UNDECIDED
    assert "contradict each other" in revision.evidence


async def test_a_round_counter_of_v2_is_enough() -> None:
    published = Published("v2.0", simulates=False)
    counter = discriminator("account", "RoundCounter") + bytes(9)
    published.own(get_dialect("v1.0").round_counter_address(), counter)
    revision = await found(published)
    assert (revision.name, revision.is_supported) == ("V2", False)
    assert "17 bytes" in revision.evidence


async def test_an_abort_that_was_sent_tells_too() -> None:
    abort = get_dialect("v1.2").abort_round(0, creator=CREATOR, validator=VALIDATOR)
    revision = await found(Published("v1.2", simulates=False, sent=[abort]))
    assert revision.name == "v1.2"


async def test_a_layout_that_nobody_knows_is_no_revision_of_this_one() -> None:
    published = Published("v1.2", many(3))
    for entry in published.document["instructions"]:
        if entry["name"] in ("claim_reward", "complete_validation"):
            entry["accounts"].insert(3, {"name": "burn", "writable": True})
    revision = await found(published)
    assert revision.name == UNKNOWN
    assert not revision.is_supported
    assert "v1.2" in revision.evidence


V1_9 = """
from dataclasses import dataclass
from decloud_pl.chain.anchor import writable
from decloud_pl.chain.dialects.v1_2 import V1_2

@dataclass(frozen=True)
class DIALECT(V1_2):
    account_counts = {**V1_2.account_counts, "claim_reward": 8, "claim_validator_fee": 7, "complete_validation": 7}

    def _fee_metas(self):
        return (*super()._fee_metas(), writable(self.program_id))
"""


async def test_a_further_revision_is_recognised_once_it_has_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burning = Published("v1.2", many(3))
    for entry in burning.document["instructions"]:
        if entry["name"] in ("claim_reward", "claim_validator_fee", "complete_validation"):
            entry["accounts"].insert(
                -2, {"name": "burn", "writable": True}
            )  # before the account that receives the payment
    assert (await found(burning)).name == UNKNOWN
    (tmp_path / "v1_9").mkdir()
    (tmp_path / "v1_9" / "__init__.py").write_text(V1_9)
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])
    assert (await found(burning)).name == "v1.9"
    assert (await found(Published("v1.2", many(3)))).name == "v1.2"
    assert (await found(Published("v1.0", many(3)))).name == "v1.0"
    # Without a round, v1.2 and v1.9 cannot be distinguished.
    assert (await found(Published("v1.2"))).name == UNDECIDED


async def test_a_program_that_is_being_upgraded_is_not_unknown() -> None:
    assert (await found(Published("v1.2", many(2), is_deployed=False))).name == UNDECIDED


async def test_another_program_is_unknown() -> None:
    published = Published("v1.0")
    published.document = {"instructions": [{"name": "swap", "discriminator": list(bytes(8)), "accounts": []}]}
    assert (await found(published)).name == UNKNOWN
    del published.accounts[str(PROGRAM)]
    assert "no program" in (await found(published)).evidence


async def test_somebody_must_be_able_to_pay_for_a_simulation() -> None:
    published = Published("v1.1", many(1))
    own = Pubkey.from_bytes(bytes(32)[:-1] + b"\x09")
    published.accounts[str(own)] = (str(SYSTEM_PROGRAM_ID), 10**9, b"")
    for payer in (AUTHORITY, CREATOR):
        del published.accounts[str(payer)]
    assert (await found(published)).name == UNDECIDED  # no account that the server shows has lamports
    assert (await found(published, payer=own)).name == "v1.1"


def test_the_account_of_an_idl() -> None:
    # Section 9 of the protocol's notes.
    known = {
        "DCLDgP6xHuVmcKuGvAzKEkrbSYHApp9568JhVoXsF2Hh": "7pKefFdq6jKwvSRcQsNb7Qp5xnoiZFYtj5K5ZrhX8KhC",
        "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC": "9KXAkBe4CX33jPHfxvwtibRwvqpv51EvoUZieT2YEHeW",
    }
    for program, account in known.items():
        assert str(idl_address(Pubkey.from_string(program))) == account


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "v1.2"])
def test_the_published_idls_have_the_accounts_of_the_dialects(name: str) -> None:
    assert idl_account_counts(as_published(idl(name))) == get_dialect(name).account_counts


def test_an_older_idl_has_names_in_camel_case_and_groups_of_accounts() -> None:
    accounts = [{"name": "round"}, {"name": "fees", "accounts": [{"name": "treasury"}, {"name": "referrer"}]}]
    document = {"instructions": [{"name": "claimReward", "accounts": accounts}]}
    assert idl_account_counts(as_published(document)) == {"claim_reward": 3}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(44),
        as_published({"instructions": [{"name": "x"}]}),
        as_published({"instructions": [{"name": [1], "accounts": []}]}),
        as_published({"instructions": [{"name": "x", "accounts": [{"accounts": 1}]}]}),
        as_published({"nothing": 1}),
        as_published(idl("v1.2"))[:-10],
        bytes(40) + (9).to_bytes(4, "little") + b"not a zip",
    ],
)
def test_a_damaged_idl_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="IDL"):
        idl_account_counts(data)


def test_an_endless_idl_is_refused() -> None:
    packed = zlib.compress(b'{"instructions": []' + b" " * (2 << 20) + b"}")  # valid, but longer than accepted
    with pytest.raises(DecodeError, match="IDL"):
        idl_account_counts(bytes(40) + len(packed).to_bytes(4, "little") + packed)


@pytest.mark.parametrize("name", names())
def test_account_counts_are_those_of_the_codecs(name: str) -> None:
    dialect = get_dialect(name)
    built = {
        "claim_reward": dialect.claim_reward(0, trainer=TRAINER),
        "complete_validation": dialect.complete_validation(0, validator=VALIDATOR),
        "join_round": dialect.join_round(0, trainer=TRAINER),
        "submit_gradients": dialect.submit_gradients(0, trainer=TRAINER, gradient_cid="bafkqaaa"),
    }
    for called, instruction in built.items():
        assert len(instruction.accounts) == dialect.account_counts[called]
        assert instruction.data[:8] == discriminator("global", called)
