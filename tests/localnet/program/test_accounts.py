"""Missing, foreign, unsigned, read-only and forged accounts: each gives its own error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from solders.account import Account
from solders.instruction import AccountMeta
from solders.pubkey import Pubkey

from tests.localnet.program.conftest import (
    GRADIENT_CID,
    MODEL_CID,
    Life,
    Outcome,
    Ready,
    ReadyFactory,
)

# The newest protocol's table. w = writable, s = signer, o = optional.
ACCOUNTS = {
    "initialize": "round_counter w, authority w s, system_program",
    "create_round": "round_counter w, round w, vault w, creator w s, system_program",
    "cancel_round": "round w, vault w, creator w s, system_program",
    "claim_round": "round w, validator w s",
    "join_round": "round w, submission w, trainer w s, system_program",
    "start_training": "round w, validator w s",
    "submit_gradients": "round w, submission w, trainer w s",
    "set_contribution": "round, submission w, validator s",
    "complete_validation": "round w, vault w, treasury w, referrer w o, validator w s, system_program",
    "finalize_round": "round w, validator s",
    "claim_reward": "round, submission w, vault w, treasury w, referrer w o, trainer w s, system_program",
    "claim_validator_fee": "round w, vault w, treasury w, referrer w o, validator w s, system_program",
    "check_round": "round w, vault w, creator w, system_program",
    "abort_round": "round w, vault w, creator w, validator w s, system_program",
}
CREATED_HERE = {("initialize", "round_counter"), ("create_round", "round"), ("join_round", "submission")}
OWNED = {"round_counter", "round", "submission"}


@dataclass(frozen=True)
class Place:
    """One account of one instruction, from the protocol's table."""

    instruction: str
    index: int
    name: str
    writable: bool
    signer: bool
    optional: bool

    @property
    def is_read(self) -> bool:
        """Whether the instruction reads the program's own data from this account."""
        return self.name in OWNED and (self.instruction, self.name) not in CREATED_HERE

    def __str__(self) -> str:
        return f"{self.instruction}-{self.name}"


def places() -> Iterator[Place]:
    for instruction, row in ACCOUNTS.items():
        for index, cell in enumerate(row.split(", ")):
            name, *flags = cell.split()
            yield Place(instruction, index, name, "w" in flags, "s" in flags, "o" in flags)


def each(condition: Callable[[Place], bool]) -> pytest.MarkDecorator:
    """Parametrize a test with every account that satisfies the condition."""
    return pytest.mark.parametrize("place", [place for place in places() if condition(place)], ids=str)


def refused(outcome: Outcome, code: int, account: str | None) -> None:
    assert outcome.code == code, "\n".join((str(outcome.error), *outcome.logs))
    assert outcome.anchor_error is not None
    assert (outcome.anchor_error[0], outcome.anchor_error[2]) == (account, code)


def with_account(ready: Ready, index: int, **changes: object) -> list[AccountMeta]:
    metas = list(ready.instruction.accounts)
    old = metas[index]
    pubkey = changes.get("pubkey", old.pubkey)
    assert isinstance(pubkey, Pubkey)
    metas[index] = AccountMeta(
        pubkey,
        is_signer=bool(changes.get("is_signer", old.is_signer)),
        is_writable=bool(changes.get("is_writable", old.is_writable)),
    )
    return metas


def test_final_results_without_their_submissions_are_refused(ready: ReadyFactory) -> None:
    finalize = ready("finalize_round")
    metas = list(finalize.instruction.accounts)
    for count in (2, 3):
        refused(finalize.send(accounts=metas[:count]), 3005, None)


@each(lambda p: p.signer)
def test_an_unsigned_account_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    refused(right.send(accounts=with_account(right, place.index, is_signer=False)), 3010, place.name)


@each(lambda p: p.writable and not p.optional)
def test_a_read_only_account_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    refused(right.send(accounts=with_account(right, place.index, is_writable=False)), 2000, place.name)


@each(lambda p: p.optional)
def test_an_optional_account_that_is_present_must_be_writable(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    somebody = right.life.chain.wallet("somebody").pubkey()
    refused(right.send(accounts=with_account(right, place.index, pubkey=somebody)), 2000, place.name)


@each(lambda p: p.name == "treasury")
def test_another_treasury_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    somebody = right.life.chain.wallet("somebody").pubkey()
    refused(right.send(accounts=with_account(right, place.index, pubkey=somebody)), 6021, "treasury")


@each(lambda p: p.name == "system_program")
def test_another_program_is_not_the_system_program(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    own = right.instruction.program_id
    refused(right.send(accounts=with_account(right, place.index, pubkey=own)), 3008, place.name)


@each(lambda p: p.name == "vault" or (p.name in OWNED and not p.is_read))
def test_another_address_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    life = right.life
    for address in (Pubkey(b"\7" * 32), life.dialect.vault_address(7), life.chain.wallet("other").pubkey()):
        refused(right.send(accounts=with_account(right, place.index, pubkey=address)), 2006, place.name)


@each(lambda p: p.is_read)
def test_an_account_that_does_not_exist_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    nowhere = Pubkey(b"\7" * 32)
    refused(right.send(accounts=with_account(right, place.index, pubkey=nowhere)), 3012, place.name)


@each(lambda p: p.is_read)
def test_an_account_of_another_program_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    metas = with_account(right, place.index, pubkey=right.life.chain.wallet("other").pubkey())
    refused(right.send(accounts=metas), 3007, place.name)


@each(lambda p: p.is_read)
def test_a_forgery_under_another_program_is_refused(ready: ReadyFactory, place: Place) -> None:
    """The data is right, but its address belongs to the forger."""
    right = ready(place.instruction)
    svm = right.life.chain.svm
    genuine = svm.get_account(right.instruction.accounts[place.index].pubkey)
    assert genuine is not None
    forged = Pubkey(b"\7" * 32)
    svm.set_account(forged, Account(genuine.lamports, genuine.data, Pubkey(b"\x08" * 32)))
    refused(right.send(accounts=with_account(right, place.index, pubkey=forged)), 3007, place.name)


@each(lambda p: p.is_read)
def test_an_account_of_another_kind_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    dialect = right.life.dialect
    other = dialect.round_address(0) if place.name != "round" else dialect.round_counter_address()
    refused(right.send(accounts=with_account(right, place.index, pubkey=other)), 3002, place.name)


@each(lambda p: p.is_read)
@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", 3001), (b"\1" * 7, 3001), (b"\1" * 8, 3002), (None, 3003)],
    ids=["empty", "short", "foreign", "cut"],
)
def test_damaged_data_is_refused(ready: ReadyFactory, place: Place, data: bytes | None, code: int) -> None:
    """The program never writes such data; these checks are the last line of defense."""
    right = ready(place.instruction)
    address = right.instruction.accounts[place.index].pubkey
    genuine = right.life.chain.svm.get_account(address)
    assert genuine is not None
    damaged = bytes(genuine.data)[:-1] if data is None else data
    right.life.chain.svm.set_account(address, Account(genuine.lamports, damaged, genuine.owner))
    refused(right.send(), code, place.name)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(48, 65), (48, 0xFF), (52, 0xFF), (52 + len(MODEL_CID), 99), (52 + len(MODEL_CID) + 9, 7)],
    ids=["CID of 65 bytes", "CID longer than the account", "CID that is not UTF-8", "data set", "status"],
)
def test_a_round_with_an_impossible_value_is_refused(life: Life, offset: int, value: int) -> None:
    address = life.posted().dialect.round_address(0)
    genuine = life.chain.svm.get_account(address)
    assert genuine is not None
    data = bytearray(genuine.data)
    data[offset] = value
    life.chain.svm.set_account(address, Account(genuine.lamports, bytes(data), genuine.owner))
    refused(life.chain.send(life.claim(), life.validator), 3003, "round")


@pytest.mark.parametrize("field", [0, 3], ids=["submitted", "reward_claimed"])
def test_a_submission_with_an_impossible_boolean_is_refused(life: Life, field: int) -> None:
    trainer = life.validating().trainers[0]
    address = life.dialect.submission_address(0, trainer.pubkey())
    genuine = life.chain.svm.get_account(address)
    assert genuine is not None
    data = bytearray(genuine.data)
    data[52 + len(GRADIENT_CID) + field] = 2
    life.chain.svm.set_account(address, Account(genuine.lamports, bytes(data), genuine.owner))
    refused(life.chain.send(life.contribute(trainer, 1), life.validator), 3003, "submission")


@each(lambda p: p.name == "round" and p.is_read)
def test_another_round_is_refused(ready: ReadyFactory, place: Place) -> None:
    right = ready(place.instruction)
    life = right.life
    next_id = life.chain.counter().count
    life.chain.must(life.create(next_id), life.creator)
    metas = with_account(right, place.index, pubkey=life.dialect.round_address(next_id))
    refused(right.send(accounts=metas), 2006, "round")


@each(lambda p: p.is_read)
def test_a_copy_at_another_address_is_refused(ready: ReadyFactory, place: Place) -> None:
    """Cannot happen on chain, where only the program creates such accounts. Tests the check of the address itself."""
    right = ready(place.instruction)
    svm = right.life.chain.svm
    genuine = svm.get_account(right.instruction.accounts[place.index].pubkey)
    assert genuine is not None
    copy = Pubkey(b"\7" * 32)
    svm.set_account(copy, Account(genuine.lamports, genuine.data, genuine.owner))
    refused(right.send(accounts=with_account(right, place.index, pubkey=copy)), 2006, place.name)


@pytest.mark.parametrize("name", ["submit_gradients", "claim_reward"])
def test_another_trainers_submission_is_refused(ready: ReadyFactory, name: str) -> None:
    right = ready(name)
    other = right.life.dialect.submission_address(0, right.life.trainers[1].pubkey())
    refused(right.send(accounts=with_account(right, 1, pubkey=other)), 2001, "submission")


@pytest.mark.parametrize("name", ["submit_gradients", "set_contribution", "claim_reward"])
def test_a_submission_to_another_round_is_refused(ready: ReadyFactory, name: str) -> None:
    right = ready(name)
    life, trainer = right.life, right.life.trainers[0]
    life.chain.must(life.create(1), life.creator)
    life.chain.must(life.dialect.claim_round(1, validator=life.validator.pubkey()), life.validator)
    life.chain.must(life.dialect.join_round(1, trainer=trainer.pubkey()), trainer)
    foreign = life.dialect.submission_address(1, trainer.pubkey())
    refused(right.send(accounts=with_account(right, 1, pubkey=foreign)), 2006, "submission")


@pytest.mark.parametrize("name", ["submit_gradients", "claim_reward"])
def test_who_did_not_join_has_nothing_to_submit_or_claim(ready: ReadyFactory, name: str) -> None:
    life = ready(name).life
    stranger = life.chain.wallet("stranger")
    instruction = life.submit(stranger) if name == "submit_gradients" else life.reward_claim(stranger)
    refused(life.chain.send(instruction, stranger), 3012, "submission")


def test_only_the_creator_cancels(life: Life) -> None:
    stranger = life.posted().chain.wallet("stranger")
    cancel = life.dialect.cancel_round(0, creator=stranger.pubkey())
    refused(life.chain.send(cancel, stranger), 2001, "creator")


def test_a_refund_goes_to_nobody_else(life: Life) -> None:
    stranger = life.posted().chain.wallet("stranger")
    life.chain.advance(3601)
    check = life.dialect.check_round(0, creator=stranger.pubkey())
    refused(life.chain.send(check, stranger), 2001, "creator")


def test_an_aborted_reward_goes_to_nobody_else(life: Life) -> None:
    stranger = life.training().chain.wallet("stranger")
    abort = life.dialect.abort_round(0, creator=stranger.pubkey(), validator=life.validator.pubkey())
    refused(life.chain.send(abort, life.validator), 6023, "creator")


@pytest.mark.parametrize(
    ("index", "changes", "code"),
    [
        (2, {"pubkey": Pubkey(b"\7" * 32)}, 3012),
        (2, {"is_writable": False}, 2000),
        (3, {"swap": True}, 2001),
    ],
    ids=["missing", "read-only", "out of order"],
)
def test_final_results_need_the_right_submissions(
    ready: ReadyFactory, index: int, changes: dict[str, object], code: int
) -> None:
    finalize = ready("finalize_round")
    metas = with_account(finalize, index, **changes)
    if "swap" in changes:
        metas[2], metas[3] = metas[3], metas[2]
    refused(finalize.send(accounts=metas), code, None)
    assert finalize.life.chain.submission(0, finalize.life.trainers[0]).contribution_bps == 0


def test_one_submission_does_not_stand_for_two_results(ready: ReadyFactory) -> None:
    finalize = ready("finalize_round")
    metas = list(finalize.instruction.accounts)
    refused(finalize.send(accounts=[*metas[:3], metas[2]]), 2001, None)


def test_more_accounts_than_needed_are_ignored(each_ready: tuple[str, Ready]) -> None:
    _, ready = each_ready
    metas = list(ready.instruction.accounts)
    extra = [AccountMeta(Pubkey(bytes([n]) * 32), is_signer=False, is_writable=n % 2 == 0) for n in range(9, 20)]
    outcome = ready.send(accounts=[*metas, *metas, *extra, *metas])
    assert outcome.error is None, "\n".join(outcome.logs)
