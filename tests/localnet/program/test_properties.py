"""Any sequence of instructions by any senders keeps the lamports balanced, and a round only moves forward."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from decloud_pl.chain.anchor import readonly
from decloud_pl.chain.dialects.v1_0 import V1_0
from decloud_pl.chain.dialects.v1_0.events import ValidatorFeeClaimed
from decloud_pl.chain.dialects.v1_2.errors import MEANINGS
from decloud_pl.chain.events import RewardClaimed
from decloud_pl.domain import Round, RoundStatus
from tests.localnet.program.conftest import (
    INSTRUCTION_NAMES,
    MODEL_CID,
    Chain,
    Life,
    LifeFactory,
    Outcome,
    each_revision,
    instruction_names,
    ready_instruction,
)

pytestmark = each_revision


def bounded(examples: int) -> settings:
    """Use the same examples every time, and no time limits, so that a slow machine passes."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


S = RoundStatus
LIFE_CYCLE = {
    S.WAITING_VALIDATOR: {S.WAITING_TRAINERS, S.EXPIRED, S.CANCELLED},
    S.WAITING_TRAINERS: {S.TRAINING, S.EXPIRED},
    S.TRAINING: {S.VALIDATING, S.EXPIRED},
    S.VALIDATING: {S.COMPLETED, S.EXPIRED},
    S.COMPLETED: set(),
    S.EXPIRED: set(),
    S.CANCELLED: set(),
}
ABORTABLE = {S.WAITING_TRAINERS, S.TRAINING, S.VALIDATING}
TRAINERS = ("trainer 0", "trainer 1")
PEOPLE = ("creator", "validator", *TRAINERS, "stranger")
STATES = ("posted", "posted", "open", "joined", "training", "validating", "completed", "finalized")


@dataclass(frozen=True)
class Step:
    """One action: its name from ``ACTIONS``, its sender and recipients, a round, and the time before it."""

    action: str
    actor: str
    other: str
    round_id: int
    number: int
    seconds: int


Action = Callable[[V1_0, Step, Keypair, Keypair], Instruction]
ACTIONS: dict[str, Action] = {
    "initialize": lambda d, s, me, other: d.initialize(me.pubkey()),
    "create": lambda d, s, me, other: d.create_round(
        s.round_id,
        creator=me.pubkey(),
        model_cid=MODEL_CID,
        dataset="custom",
        reward_amount=s.number * 12_345,
    ),
    "cancel": lambda d, s, me, other: d.cancel_round(s.round_id, creator=me.pubkey()),
    "claim": lambda d, s, me, other: d.claim_round(s.round_id, validator=me.pubkey()),
    "join": lambda d, s, me, other: d.join_round(s.round_id, trainer=me.pubkey()),
    "start": lambda d, s, me, other: d.start_training(s.round_id, validator=me.pubkey(), baseline_score=s.number),
    "submit": lambda d, s, me, other: d.submit_gradients(s.round_id, trainer=me.pubkey(), gradient_cid=MODEL_CID),
    "contribute": lambda d, s, me, other: d.set_contribution(
        s.round_id, validator=me.pubkey(), trainer=other.pubkey(), contribution_bps=s.number
    ),
    "complete": lambda d, s, me, other: d.complete_validation(s.round_id, validator=me.pubkey()),
    "finalize": lambda d, s, me, other: d.finalize_round(
        s.round_id, validator=me.pubkey(), results=[(other.pubkey(), 10_000)]
    ),
    "reward": lambda d, s, me, other: d.claim_reward(s.round_id, trainer=me.pubkey()),
    "fee": lambda d, s, me, other: d.claim_validator_fee(s.round_id, validator=me.pubkey()),
    "check": lambda d, s, me, other: d.check_round(s.round_id, creator=other.pubkey()),
    "close": lambda d, s, me, other: Instruction(
        d.program_id,
        bytes(d.check_round(s.round_id, creator=other.pubkey()).data),
        [
            *d.check_round(s.round_id, creator=other.pubkey()).accounts,
            *(readonly(d.submission_address(s.round_id, wallet_of(name).pubkey())) for name in TRAINERS),
        ],
    ),
    "abort": lambda d, s, me, other: d.abort_round(s.round_id, creator=other.pubkey(), validator=me.pubkey()),
    "give": lambda d, s, me, other: transfer(
        TransferParams(from_pubkey=me.pubkey(), to_pubkey=d.vault_address(s.round_id), lamports=900_000 + s.number)
    ),
}
RIGHTFUL = {"create": ("creator",), "cancel": ("creator",), "give": PEOPLE, "check": PEOPLE, "initialize": PEOPLE} | {
    "close": PEOPLE,
    **dict.fromkeys(("join", "submit", "reward"), TRAINERS),
    **dict.fromkeys(("claim", "start", "contribute", "complete", "finalize", "fee", "abort"), ("validator",)),
}


# The sensible actions for a round in each state.
SENSIBLE = {
    S.WAITING_VALIDATOR: ("claim", "claim", "claim", "cancel", "check"),
    S.WAITING_TRAINERS: ("join", "join", "start", "check"),
    S.TRAINING: ("submit", "submit", "check"),
    S.VALIDATING: ("contribute", "contribute", "complete", "finalize", "check"),
    S.COMPLETED: ("reward", "reward", "fee", "close"),
    S.EXPIRED: ("create", "check"),
    S.CANCELLED: ("create", "check"),
}


@st.composite
def steps(draw: st.DrawFn, status: RoundStatus, can_abort: bool) -> Step:
    """Draw mostly sensible actions by legitimate senders, so that most sequences make progress; else any action."""
    possible = sorted(name for name in ACTIONS if name != "abort" or can_abort)
    action = draw(st.sampled_from(possible if draw(st.booleans()) else SENSIBLE[status]))
    astray = draw(st.integers(0, 4)) == 4
    return Step(
        action=action,
        actor=draw(st.sampled_from(PEOPLE if astray else RIGHTFUL[action])),
        other=draw(
            st.sampled_from(PEOPLE if astray else ("creator",) if action in ("check", "close", "abort") else TRAINERS)
        ),
        round_id=draw(st.sampled_from((0, 1) if astray or action == "create" else (0,))),
        number=draw(st.sampled_from((1, 4000, 7000, 10_000, 0))),
        seconds=draw(st.sampled_from((0, 0, 0, 0, 0, 0, 1, 300, 601, 3601, WEEK))),
    )


WEEK = 7 * 24 * 3600
CLOSED = re.compile(r"Round (\d+) closed\. Returned (\d+) lamports to creator")


def wallet_of(name: str) -> Keypair:
    """Return the wallet that a chain gives this name."""
    return Keypair.from_seed(sha256(name.encode()).digest())


def whole(event: RewardClaimed | ValidatorFeeClaimed) -> int:
    """Return the lamports that left the vault. A revision with a treasury reports them in parts."""
    return event.amount + getattr(event, "treasury_fee", 0) + getattr(event, "referrer_fee", 0)


@dataclass
class Watch:
    """Checks the invariants after every transaction, compared with the state before it."""

    chain: Chain
    total: int = 0
    rounds: dict[int, Round] = field(default_factory=dict)
    vaults: dict[int, int] = field(default_factory=dict)
    paid: dict[int, int] = field(default_factory=dict)
    payees: set[tuple[int, Pubkey | str]] = field(default_factory=set)
    gifts: dict[int, int] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)
    rent: int = 0

    def start(self) -> None:
        for round_id in (0, 1):
            self.chain.known.add(self.chain.dialect.vault_address(round_id))
            self.chain.known.add(self.chain.dialect.round_address(round_id))
        self.rent = self.chain.svm.minimum_balance_for_rent_exemption(0)
        self.total = self.chain.total()
        self.observe()

    def observe(self) -> None:
        for round_id in (0, 1):
            if self.chain.svm.get_account(self.chain.dialect.round_address(round_id)) is not None:
                self.rounds[round_id] = self.chain.round(round_id)
            self.vaults[round_id] = self.chain.vault(round_id)

    def after(self, outcome: Outcome, step: Step) -> None:
        rounds, vaults = dict(self.rounds), dict(self.vaults)
        self.observe()
        assert self.chain.total() == self.total
        if outcome.error is not None:
            assert (self.rounds, self.vaults) == (rounds, vaults)
        elif step.action == "give":
            self.gifts[step.round_id] = self.gifts.get(step.round_id, 0) + 900_000 + step.number
        for event in outcome.events:
            if isinstance(event, RewardClaimed):
                self.pay(event.round_id, event.trainer, whole(event))
            elif isinstance(event, ValidatorFeeClaimed):
                self.pay(event.round_id, "fee", whole(event))
        for line in outcome.text_lines:
            if closed := CLOSED.fullmatch(line):
                self.returned[int(closed[1])] = self.returned.get(int(closed[1]), 0) + int(closed[2])
        for round_id, now in self.rounds.items():
            before = rounds.get(round_id)
            if before is not None and before.status is not now.status:
                if step.action == "abort":
                    assert (before.status in ABORTABLE, now.status) == (True, S.CANCELLED)
                else:
                    assert now.status in LIFE_CYCLE[before.status]
                if now.status is S.COMPLETED and step.action == "complete":
                    self.pay(round_id, "fee", now.validator_fee)
            self.check_money(round_id, now)

    def pay(self, round_id: int, payee: Pubkey | str, amount: int) -> None:
        assert (round_id, payee) not in self.payees, "paid twice"
        self.payees.add((round_id, payee))
        self.paid[round_id] = self.paid.get(round_id, 0) + amount

    def check_money(self, round_id: int, now: Round) -> None:
        vault, gifts = self.vaults[round_id], self.gifts.get(round_id, 0)
        paid = self.paid.get(round_id, 0)
        assert now.submissions_count <= now.trainers_count <= 10
        if now.status in (S.CANCELLED, S.EXPIRED):
            assert paid == 0
            assert vault <= gifts  # lamports sent to the vault after its end stay there
            return
        # Lamports sent before the creation count towards the vault's rent.
        returned = self.returned.get(round_id, 0)
        due = now.reward_amount + gifts - paid - returned
        assert due <= vault <= due + self.rent
        assert vault >= self.rent or returned
        assert paid <= now.reward_amount + gifts


@bounded(100)
@given(state=st.sampled_from(STATES), length=st.integers(5, 30), data=st.data())
def test_no_sequence_breaks_the_books(new_life: LifeFactory, state: str, length: int, data: st.DataObject) -> None:
    life: Life = new_life()
    people = {name: life.chain.wallet(name) for name in PEOPLE}
    getattr(life, state)()
    watch = Watch(life.chain)
    if state == "completed":
        watch.pay(0, "fee", life.chain.round(0).validator_fee)
    watch.start()
    for _ in range(length):
        step = data.draw(steps(life.chain.round(0).status, life.dialect.can_abort))
        life.chain.advance(step.seconds)
        actor = people[step.actor]
        instruction = ACTIONS[step.action](life.dialect, step, actor, people[step.other])
        watch.after(life.chain.send(instruction, actor), step)
    for round_id, found in watch.rounds.items():
        settle(life.chain, round_id, found)
        assert life.chain.vault(round_id) == 0
    assert life.chain.total() == watch.total


def settle(chain: Chain, round_id: int, found: Round) -> None:
    """Let time pass, and let all parties take their lamports. The creator gets the rest."""
    chain.advance(10 * WEEK)
    people = {name: chain.wallet(name) for name in PEOPLE}
    check = chain.dialect.check_round(round_id, creator=found.creator)
    for _ in range(2):  # the first check may end the training; the second then expires the validation
        chain.must(check, people["stranger"])
        chain.advance(10 * WEEK)
    if chain.round(round_id).status is not S.COMPLETED:
        return
    joined = []
    for someone in people.values():
        chain.send(chain.dialect.claim_validator_fee(round_id, validator=someone.pubkey()), someone)
        chain.send(chain.dialect.claim_reward(round_id, trainer=someone.pubkey()), someone)
        address = chain.dialect.submission_address(round_id, someone.pubkey())
        if chain.svm.get_account(address) is not None and chain.submission(round_id, someone).submitted:
            joined.append(readonly(address))
    chain.must(Instruction(check.program_id, bytes(check.data), [*check.accounts, *joined]), people["stranger"])


ANCHOR_CODES = {101, 102, 2000, 2001, 2006, 3001, 3002, 3003, 3005, 3007, 3008, 3010, 3012}
SYSTEM_CODES = {0, 1}
KNOWN_CODES = ANCHOR_CODES | SYSTEM_CODES | {code.value for code in MEANINGS}


def ends_in_order(outcome: Outcome) -> None:
    """Only success or an error of the protocol is allowed, never a crash or a violation that the runtime detects."""
    assert outcome.error is None or outcome.code in KNOWN_CODES, (outcome.error, outcome.logs)


@bounded(60)
@given(
    place=st.integers(min_value=0, max_value=len(INSTRUCTION_NAMES) - 1),
    data=st.binary(max_size=400),
    cut=st.integers(min_value=0, max_value=40),
    order=st.permutations(range(5)),
    flags=st.integers(min_value=0, max_value=1023),
)
def test_no_instruction_data_or_account_order_crashes_the_program(
    new_life: LifeFactory, revision: str, place: int, data: bytes, cut: int, order: list[int], flags: int
) -> None:
    names = instruction_names(revision)
    ready = ready_instruction(names[place % len(names)], new_life())
    chain = ready.life.chain
    chain.wallet("stranger")
    chain.known.update(meta.pubkey for meta in ready.instruction.accounts)
    total = chain.total()
    original = list(ready.instruction.accounts)
    signer = ready.signer.pubkey()
    metas = [
        AccountMeta(
            original[place % len(original)].pubkey,
            is_signer=original[place % len(original)].pubkey == signer,
            is_writable=bool(flags >> place & 1),
        )
        for place in order
    ]
    ends_in_order(ready.send(data=bytes(ready.instruction.data)[:cut] + data))
    ends_in_order(ready.send(accounts=metas))
    ends_in_order(ready.send(data=bytes(ready.instruction.data)[:16] + data, accounts=[*original, *metas]))
    assert chain.total() == total


@bounded(60)
@given(
    number=st.integers(min_value=1, max_value=len(INSTRUCTION_NAMES) - 1),  # all but the first, initialize
    place=st.integers(min_value=0, max_value=1),
    offset=st.integers(min_value=8, max_value=200),
    garbage=st.binary(max_size=120),
    length=st.integers(min_value=0, max_value=220),
)
def test_no_account_data_crashes_the_program(
    new_life: LifeFactory, revision: str, number: int, place: int, offset: int, garbage: bytes, length: int
) -> None:
    names = instruction_names(revision)
    ready = ready_instruction(names[min(number, len(names) - 1)], new_life())
    chain = ready.life.chain
    address: Pubkey = ready.instruction.accounts[place].pubkey
    account = chain.svm.get_account(address)
    if account is None or account.owner != ready.instruction.program_id:
        address = ready.instruction.accounts[0].pubkey
        account = chain.svm.get_account(address)
        assert account is not None
    data = bytes(account.data)
    changed = data[:offset] + garbage + data[offset + len(garbage) :]
    for bytes_there in (changed[: len(data)], changed[:length]):
        chain.svm.set_account(address, Account(10**9, bytes_there, account.owner))
        ends_in_order(ready.send())
