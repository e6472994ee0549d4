"""An in-process chain with one revision of the program, and a round in any state."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

import pytest
from solders.account import Account
from solders.clock import Clock
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from decloud_pl.chain.anchor import readonly
from decloud_pl.chain.dialects.v1_0 import V1_0
from decloud_pl.chain.dialects.v1_1 import V1_1
from decloud_pl.chain.dialects.v1_2 import V1_2
from decloud_pl.chain.events import Event
from decloud_pl.domain import Round, RoundCounter, Submission
from decloud_pl.localnet.program import NEWEST, REVISIONS, shared_object

MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
GRADIENT_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
START = 1_800_000_000
FEE_PER_SIGNATURE = 5000
REWARD = 1_000_000_007
DIALECTS: dict[str, type[V1_0]] = {"v1.0": V1_0, "v1.1": V1_1, "v1.2": V1_2}
TREASURY = V1_1().treasury
RENT_OF_NOTHING = 890_880
"""The lamports that an empty account must hold: 128 bytes at 6960 lamports each."""


def revisions(*names: str) -> pytest.MarkDecorator:
    """Run a test against these builds. Without it, a test runs against the newest build."""
    return pytest.mark.parametrize("revision", names, indirect=True, scope="session")


each_revision = revisions(*REVISIONS)

# The pattern that AnchorError.parse of @coral-xyz/anchor uses, in one expression.
_ANCHOR_ERROR = re.compile(
    r"Program log: AnchorError (?:occurred|caused by account: (?P<account>.*))\. Error Code: (?P<name>.*)\. "
    r"Error Number: (?P<number>\d*)\. Error Message: .*\."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one transaction. ``code`` is the custom error code, ``error`` the text of any error."""

    error: str | None
    code: int | None
    logs: tuple[str, ...]
    events: tuple[Event, ...]
    compute_units: int
    fee: int

    @property
    def text_lines(self) -> tuple[str, ...]:
        """The program's log lines, without the runtime's lines and without the instruction's name."""
        prefix = "Program log: "
        lines = [line.removeprefix(prefix) for line in self.logs if line.startswith(prefix)]
        return tuple(line for line in lines if not line.startswith("Instruction: "))

    @property
    def anchor_error(self) -> tuple[str | None, str, int] | None:
        """The account, name and number of the error, as an Anchor client parses them from the log."""
        for line in self.logs:
            found = _ANCHOR_ERROR.fullmatch(line)
            if found:
                return found["account"], found["name"], int(found["number"])
        return None


class Chain:
    """A virtual machine with one revision of the program. It keeps the wallets and addresses that tests have used."""

    def __init__(self, revision: str = NEWEST) -> None:
        self.svm = LiteSVM()
        self.dialect = DIALECTS[revision]()
        self.svm.add_program(self.dialect.program_id, shared_object(revision))
        self.svm.set_account(TREASURY, Account(RENT_OF_NOTHING, b"", Pubkey.default()))
        self.known: set[Pubkey] = {TREASURY, self.dialect.program_id}
        self.fees = 0
        self._wallets: dict[str, Keypair] = {}
        self.set_time(START)

    def wallet(self, name: str, lamports: int = 10**11) -> Keypair:
        """Return the wallet of this name. Its first use funds it."""
        if name not in self._wallets:
            self._wallets[name] = Keypair.from_seed(sha256(name.encode()).digest())
            self.svm.airdrop(self._wallets[name].pubkey(), lamports)
            self.known.add(self._wallets[name].pubkey())
        return self._wallets[name]

    def send(self, instructions: Instruction | Sequence[Instruction], *signers: Keypair) -> Outcome:
        """Sign and run one transaction. The first signer pays its fee."""
        batch = [instructions] if isinstance(instructions, Instruction) else list(instructions)
        self.known.update(meta.pubkey for item in batch for meta in item.accounts)
        message = MessageV0.try_compile(signers[0].pubkey(), batch, [], self.svm.latest_blockhash())
        result = self.svm.send_transaction(VersionedTransaction(message, list(signers)))
        self.svm.expire_blockhash()
        self.fees += FEE_PER_SIGNATURE * len(signers)
        failure = result if isinstance(result, FailedTransactionMetadata) else None
        metadata = result.meta() if isinstance(result, FailedTransactionMetadata) else result
        # An instruction's error is nested in the transaction's error, next to the instruction's index.
        cause = getattr(failure.err(), "err", failure.err()) if failure else None
        return Outcome(
            error=None if cause is None else str(cause),
            code=getattr(cause, "code", None),
            logs=tuple(metadata.logs()),
            events=tuple(self.dialect.events(metadata.logs())),
            compute_units=metadata.compute_units_consumed(),
            fee=FEE_PER_SIGNATURE * len(signers),
        )

    def must(self, instructions: Instruction | Sequence[Instruction], *signers: Keypair) -> Outcome:
        """Call `send` for a transaction that must succeed."""
        outcome = self.send(instructions, *signers)
        assert outcome.error is None, "\n".join((outcome.error, *outcome.logs))
        return outcome

    @property
    def now(self) -> int:
        return int(self.svm.get_clock().unix_timestamp)

    def set_time(self, unix_timestamp: int) -> None:
        clock = self.svm.get_clock()
        self.svm.set_clock(
            Clock(
                clock.slot + 1,
                clock.epoch_start_timestamp,
                clock.epoch,
                clock.leader_schedule_epoch,
                unix_timestamp,
            )
        )

    def advance(self, seconds: int) -> None:
        self.set_time(self.now + seconds)

    def balance(self, address: Pubkey) -> int:
        return self.svm.get_balance(address) or 0

    def total(self) -> int:
        """Return the lamports of all accounts that any transaction has named, plus the fees paid so far."""
        return sum(self.balance(address) for address in self.known) + self.fees

    def data(self, address: Pubkey) -> bytes:
        account = self.svm.get_account(address)
        assert account is not None
        return bytes(account.data)

    def round(self, round_id: int) -> Round:
        return self.dialect.decode_round(self.data(self.dialect.round_address(round_id)))

    def submission(self, round_id: int, trainer: Keypair) -> Submission:
        return self.dialect.decode_submission(self.data(self.dialect.submission_address(round_id, trainer.pubkey())))

    def counter(self) -> RoundCounter:
        return self.dialect.decode_round_counter(self.data(self.dialect.round_counter_address()))

    def vault(self, round_id: int) -> int:
        return self.balance(self.dialect.vault_address(round_id))


class Life:
    """Round 0 of a fresh chain and its participants. Each method advances the round by one step."""

    def __init__(self, chain: Chain, trainers: int = 2, reward: int = REWARD) -> None:
        self.chain = chain
        self.dialect = chain.dialect
        self.creator = chain.wallet("creator")
        self.validator = chain.wallet("validator")
        self.trainers = [chain.wallet(f"trainer {number}") for number in range(trainers)]
        self.reward = reward

    # The instructions, each as its legitimate sender would send it

    def initialize(self) -> Instruction:
        return self.dialect.initialize(self.creator.pubkey())

    def create(self, round_id: int = 0, cid: str = MODEL_CID, reward: int | None = None) -> Instruction:
        amount = self.reward if reward is None else reward
        return self.dialect.create_round(
            round_id,
            creator=self.creator.pubkey(),
            model_cid=cid,
            dataset="fashionmnist",
            reward_amount=amount,
        )

    def cancel(self) -> Instruction:
        return self.dialect.cancel_round(0, creator=self.creator.pubkey())

    def claim(self) -> Instruction:
        return self.dialect.claim_round(0, validator=self.validator.pubkey())

    def join(self, trainer: Keypair) -> Instruction:
        return self.dialect.join_round(0, trainer=trainer.pubkey())

    def start(self, baseline: int = 1234) -> Instruction:
        return self.dialect.start_training(0, validator=self.validator.pubkey(), baseline_score=baseline)

    def submit(self, trainer: Keypair, cid: str = GRADIENT_CID) -> Instruction:
        return self.dialect.submit_gradients(0, trainer=trainer.pubkey(), gradient_cid=cid)

    def contribute(self, trainer: Keypair, bps: int) -> Instruction:
        return self.dialect.set_contribution(
            0, validator=self.validator.pubkey(), trainer=trainer.pubkey(), contribution_bps=bps
        )

    def complete(self) -> Instruction:
        return self.dialect.complete_validation(0, validator=self.validator.pubkey())

    def finalize(self, *results: tuple[Keypair, int]) -> Instruction:
        pairs = [(trainer.pubkey(), bps) for trainer, bps in results]
        return self.dialect.finalize_round(0, validator=self.validator.pubkey(), results=pairs)

    def reward_claim(self, trainer: Keypair) -> Instruction:
        return self.dialect.claim_reward(0, trainer=trainer.pubkey())

    def fee_claim(self) -> Instruction:
        return self.dialect.claim_validator_fee(0, validator=self.validator.pubkey())

    def check(self) -> Instruction:
        return self.dialect.check_round(0, creator=self.creator.pubkey())

    def close(self, *trainers: Keypair) -> Instruction:
        """Return check_round with the submissions of these trainers after its accounts."""
        check = self.check()
        submissions = [self.dialect.submission_address(0, trainer.pubkey()) for trainer in trainers]
        return Instruction(check.program_id, bytes(check.data), [*check.accounts, *map(readonly, submissions)])

    def abort(self) -> Instruction:
        return self.dialect.abort_round(0, creator=self.creator.pubkey(), validator=self.validator.pubkey())

    def net(self, lamports: int) -> int:
        """Return the lamports that the recipient gets of a payment, after the treasury's fee."""
        return lamports - lamports * self.dialect.treasury_fee_bps // 10_000

    # The states

    def posted(self) -> Life:
        self.chain.must(self.initialize(), self.creator)
        self.chain.must(self.create(), self.creator)
        return self

    def open(self) -> Life:
        self.posted().chain.must(self.claim(), self.validator)
        return self

    def joined(self) -> Life:
        self.open()
        for trainer in self.trainers:
            self.chain.must(self.join(trainer), trainer)
        return self

    def training(self) -> Life:
        self.joined().chain.must(self.start(), self.validator)
        return self

    def validating(self) -> Life:
        self.training()
        for trainer in self.trainers:
            self.chain.must(self.submit(trainer), trainer)
        return self

    def completed(self, *shares: int) -> Life:
        self.validating()
        for trainer, bps in zip(self.trainers, shares or (6000, 4000), strict=False):
            self.chain.must(self.contribute(trainer, bps), self.validator)
        self.chain.must(self.complete(), self.validator)
        return self

    def finalized(self) -> Life:
        self.validating()
        first, second = self.trainers
        self.chain.must(self.finalize((first, 6000), (second, 4000)), self.validator)
        return self


@dataclass(frozen=True)
class Ready:
    """An instruction that would succeed if ``signer`` sent it now."""

    life: Life
    instruction: Instruction
    signer: Keypair

    def send(self, *, data: bytes | None = None, accounts: Sequence[AccountMeta] | None = None) -> Outcome:
        """Send it, with its data or its accounts replaced.

        A stranger pays the fee, so that the signer's flags come from the instruction only.
        """
        original = self.instruction
        changed = Instruction(
            original.program_id,
            bytes(original.data) if data is None else data,
            original.accounts if accounts is None else accounts,
        )
        needed = any(meta.is_signer and meta.pubkey == self.signer.pubkey() for meta in changed.accounts)
        signers = (self.signer,) if needed else ()
        return self.life.chain.send(changed, self.life.chain.wallet("stranger"), *signers)


def _ready_instructions() -> dict[str, Callable[[Life], tuple[Life, Instruction, Keypair]]]:
    return {
        "initialize": lambda life: (life, life.initialize(), life.creator),
        "create_round": lambda life: (life.posted(), life.create(1), life.creator),
        "cancel_round": lambda life: (life.posted(), life.cancel(), life.creator),
        "claim_round": lambda life: (life.posted(), life.claim(), life.validator),
        "join_round": lambda life: (life.open(), life.join(life.trainers[0]), life.trainers[0]),
        "start_training": lambda life: (life.joined(), life.start(), life.validator),
        "submit_gradients": lambda life: (life.training(), life.submit(life.trainers[0]), life.trainers[0]),
        "set_contribution": lambda life: (
            life.validating(),
            life.contribute(life.trainers[0], 5000),
            life.validator,
        ),
        "complete_validation": lambda life: (life.validating(), life.complete(), life.validator),
        "finalize_round": lambda life: (
            life.validating(),
            life.finalize((life.trainers[0], 6000), (life.trainers[1], 4000)),
            life.validator,
        ),
        "claim_reward": lambda life: (
            life.completed(),
            life.reward_claim(life.trainers[0]),
            life.trainers[0],
        ),
        "claim_validator_fee": lambda life: (life.finalized(), life.fee_claim(), life.validator),
        "check_round": lambda life: (life.posted(), life.check(), life.creator),
        "abort_round": lambda life: (life.training(), life.abort(), life.validator),
    }


INSTRUCTION_NAMES = tuple(_ready_instructions())


def instruction_names(revision: str) -> tuple[str, ...]:
    """Return the instructions of one revision."""
    return INSTRUCTION_NAMES if DIALECTS[revision]().can_abort else INSTRUCTION_NAMES[:-1]


def ready_instruction(name: str, life: Life) -> Ready:
    """Advance a fresh life to a state in which this instruction succeeds."""
    return Ready(*_ready_instructions()[name](life))


ReadyFactory: TypeAlias = Callable[[str], Ready]
LifeFactory: TypeAlias = Callable[..., Life]


@pytest.fixture(scope="session")
def revision(request: pytest.FixtureRequest) -> str:
    """The build under test."""
    return str(getattr(request, "param", NEWEST))


@pytest.fixture
def chain(revision: str) -> Chain:
    return Chain(revision)


@pytest.fixture(scope="session")
def new_life(revision: str) -> LifeFactory:
    """A function that makes a round on its own chain."""
    return lambda **options: Life(Chain(revision), **options)


@pytest.fixture
def life(new_life: LifeFactory) -> Life:
    return new_life()


@pytest.fixture
def ready(new_life: LifeFactory) -> ReadyFactory:
    return lambda name: ready_instruction(name, new_life())


@pytest.fixture(params=INSTRUCTION_NAMES)
def each_ready(request: pytest.FixtureRequest, ready: ReadyFactory) -> tuple[str, Ready]:
    """Each instruction of the newest revision in turn, ready to be sent."""
    return request.param, ready(request.param)
