"""Detects which revision of the program runs at an address.

The detection sends no transaction. It uses this evidence, the strongest first:

1. Simulated instructions. An Anchor program returns 101 (InstructionFallbackNotFound) for an unknown instruction and
   3005 (AccountNotEnoughKeys) if accounts are missing. So the names of the instructions and the lengths of their
   account lists distinguish the revisions.
2. The IDL on chain, if the authors of the program have published it.
3. The account lists of confirmed payments.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import LAYOUT_ERRORS, SYSTEM_PROGRAM_ID, discriminator
from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect, names
from decloud_pl.chain.idl import idl_account_counts, idl_address
from decloud_pl.errors import ChainError, DecodeError, RpcRejected

if TYPE_CHECKING:
    from decloud_pl.chain.dialect import Dialect, NetworkDialect
    from decloud_pl.chain.rpc import RpcClient
    from decloud_pl.domain import Round, Submission

UNDECIDED = "v1.x"
"""The name while several revisions are possible. Joining, training and submitting work the same in all of them."""
UNKNOWN = "unknown"
_OTHERS = {"V2": "submit_gradient"}
"""Programs that are not supported, each with an instruction that no revision of v1 has."""
_NO_ARGUMENTS = 102
_NOT_ENOUGH_KEYS = 3005
_NO_EVIDENCE = (3001, 3002, 3003, 3007, 3012)
"""The program could not open an account. So the result does not show whether the rest of the list is right."""
_LOADER_PREFIXES = ("BPFLoader", "LoaderV")
_LATEST_ROUNDS = 16
_SIGNATURES, _TRANSACTIONS = 50, 12
_ABLE_TO_PAY = 910_000
"""Lamports: the rent-exempt minimum of an empty account and the fee for two signatures."""
_V2_COUNTER = 17
"""Size of the round counter of V2 in bytes; it has no authority."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The detected revision.

    Attributes:
        name: the name of a dialect, `UNDECIDED`, `UNKNOWN`, or the name of a program that is not supported.
        evidence: the reason for the decision, as a clause that can follow a colon.
        at: the time of the decision, in Unix seconds.
    """

    name: str
    evidence: str
    at: float

    @property
    def is_decided(self) -> bool:
        """Whether the revision is certain. Only then can the trainer claim rewards."""
        return self.name in names()

    @property
    def is_supported(self) -> bool:
        """Whether the program runs a supported revision, decided or not. Only then can the trainer join rounds."""
        return self.is_decided or self.name == UNDECIDED

    def __str__(self) -> str:
        if self.name == UNDECIDED:
            return f"{self.name}, undecided: {self.evidence}"
        return f"{self.name}: {self.evidence}" if self.is_decided else f"{self.name}, not supported: {self.evidence}"


async def detect(rpc: RpcClient, program_id: Pubkey, *, payer: Pubkey | None, now: float) -> Revision:
    """Detect which revision runs at an address.

    Args:
        rpc: the client of the network.
        program_id: the address of the program.
        payer: the wallet that pays in simulations. If it is None or has too few lamports, another account is used.
        now: the current time in Unix seconds.

    Raises:
        ChainError: no endpoint answers.
    """
    known = {name: get_dialect(name, program_id) for name in names()}
    name, evidence = await _Detector(rpc, known, payer).detect()
    return Revision(name, evidence, now)


class CurrentDialect:
    """A `Dialect` that delegates to the dialect of the revision detected last.

    While the revision is undecided, it delegates to the latest supported revision, because all revisions are the same
    up to the claim of a reward.

    Args:
        make: returns the dialect for the name of a revision.
        revision: the current revision.
    """

    def __init__(self, make: Callable[[str], Dialect], revision: Revision) -> None:
        self._make = make
        self.revision = revision

    @property
    def revision(self) -> Revision:
        """The current revision."""
        return self._revision

    @revision.setter
    def revision(self, revision: Revision) -> None:
        self._revision = revision
        self._name = revision.name if revision.is_decided else names()[-1]
        self._dialect = self._make(self._name)

    def candidates(self) -> list[Dialect]:
        """Return the dialects of all supported revisions: the current one, then the others, the latest first."""
        return [self._dialect, *(self._make(name) for name in reversed(names()) if name != self._name)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dialect, name)


class _NoSimulation(Exception):
    """The endpoint could not show by simulation whether the program would accept an instruction."""


class _Detector:
    def __init__(self, rpc: RpcClient, known: Mapping[str, NetworkDialect], payer: Pubkey | None) -> None:
        self._rpc = rpc
        self._known = known
        # All revisions have the same accounts.
        self._any = next(iter(known.values()))
        self._chain = ChainClient(rpc, self._any)
        treasuries = [getattr(dialect, "treasury", None) for dialect in known.values()]
        self._payers = [address for address in (payer, *treasuries) if address is not None]
        self._payer = SYSTEM_PROGRAM_ID
        self._counter = ""

    async def detect(self) -> tuple[str, str]:
        program = await self._rpc.account(self._any.program_id)
        if program is None or not str(program.owner).startswith(_LOADER_PREFIXES):
            return UNKNOWN, f"there is no program at {self._any.program_id}"
        round_, submission = await self._latest()
        candidates, evidence, is_simulated = list(self._known), "", False
        if await self._find_payer():
            with contextlib.suppress(_NoSimulation):
                candidates, evidence, is_sure = await self._simulated(round_, submission)
                if is_sure:
                    return candidates[0], evidence
                is_simulated = True
        if self._counter:
            return next(iter(_OTHERS)), self._counter
        possible = candidates
        for source in (self._published, self._paid):
            names_, seen = await source()
            if names_ is None:
                continue
            fitting = [name for name in possible if name in names_]
            if not fitting:
                if is_simulated:
                    continue  # an upgrade came after this evidence
                return UNKNOWN, seen
            left = [name for name in candidates if name in fitting]
            if not left:
                return UNDECIDED, "its published IDL and its latest payments contradict each other"
            candidates, evidence = left, seen
        if len(candidates) == 1:
            return candidates[0], evidence
        return UNDECIDED, f"the chain does not show yet which of {', '.join(candidates)} runs"

    async def _latest(self) -> tuple[Round | None, Submission | None]:
        """Return the latest round that has a validator and trainers, and one submission of that round.

        If there is no such round, return the latest round that has a validator, without a submission. A value that was
        not found is None.
        """
        try:
            counter = await self._chain.counter()
        except DecodeError:
            account = await self._rpc.account(self._any.round_counter_address())
            if account is not None and account.owner == self._any.program_id and len(account.data) == _V2_COUNTER:
                self._counter = f"its round counter has {_V2_COUNTER} bytes"
            return None, None
        if counter is None:
            return None, None
        self._payers.append(counter.authority)
        first = max(0, counter.count - _LATEST_ROUNDS)
        rounds = await self._chain.rounds_by_id(range(first, counter.count))
        claimed = [round_ for round_ in reversed(rounds.values()) if round_.validator is not None]
        for round_ in reversed(rounds.values()):
            self._payers += [round_.creator, *([round_.validator] if round_.validator else [])]
        joined = next((round_ for round_ in claimed if round_.trainers_count), None)
        submissions: list[Submission] = []
        if joined is not None:
            with contextlib.suppress(RpcRejected):  # many providers do not list accounts
                submissions = await self._chain.round_submissions(joined.id)
        return joined or next(iter(claimed), None), next(iter(submissions), None)

    async def _find_payer(self) -> bool:
        """Choose an account with enough lamports to pay in simulations, and return whether one exists."""
        candidates = list(dict.fromkeys(self._payers))
        for address, account in zip(candidates, await self._rpc.accounts(candidates), strict=True):
            if account is not None and account.owner == SYSTEM_PROGRAM_ID and account.lamports >= _ABLE_TO_PAY:
                self._payer = address
                return True
        return False

    async def _simulated(self, round_: Round | None, submission: Submission | None) -> tuple[list[str], str, bool]:
        """Simulate instructions to find out which revisions fit the program.

        Returns:
            The names of the fitting revisions, the evidence for them, and whether the result is final.
        """
        if not await self._has("join_round"):
            for name, instruction in _OTHERS.items():
                if await self._has(instruction):
                    return [name], f"the program has the instruction {instruction}", True
            return [UNKNOWN], "the program does not have the instruction join_round", True
        every = [frozenset(dialect.account_counts) for dialect in self._known.values()]
        optional = sorted(frozenset[str]().union(*every) - every[0].intersection(*every))
        has = {name for name in optional if await self._has(name)}
        fitting = [name for name, dialect in self._known.items() if has == set(dialect.account_counts) & set(optional)]
        if not fitting:
            shown = ", ".join(sorted(has)) or "none"
            return [UNKNOWN], f"the program has {shown} of {', '.join(optional)}, unlike every supported revision", True
        shown = f"the program has {', '.join(sorted(has)) or f'no {optional[0]}' if optional else 'join_round'}"
        if round_ is None:
            return fitting, shown, False
        rejected = 0
        for name in fitting:
            fits = await self._fits(self._known[name], round_, submission)
            if fits:
                count = self._known[name].account_counts["claim_reward"]
                return [name], f"{shown}, and a claim needs {count} accounts", True
            rejected += fits is False
        if rejected == len(fitting):
            return [UNKNOWN], f"{shown}, but its payments need other accounts than those of {', '.join(fitting)}", True
        return fitting, shown, False

    async def _has(self, instruction: str) -> bool:
        data = discriminator("global", instruction) + borsh.u64(0)
        # Anchor decodes the arguments first. They are too short if the instruction takes more than one number.
        return await self._code(Instruction(self._any.program_id, data, [])) in (_NOT_ENOUGH_KEYS, _NO_ARGUMENTS)

    async def _fits(self, dialect: NetworkDialect, round_: Round, submission: Submission | None) -> bool | None:
        """Return whether a dialect's payment instructions list exactly the accounts that the program takes.

        The payment instructions are ``claim_reward`` and ``complete_validation``. Return None if simulations of them
        do not show the accounts.
        """
        forms = [dialect.complete_validation(round_.id, validator=round_.validator or round_.creator)]
        if submission is not None:
            forms.insert(0, dialect.claim_reward(round_.id, trainer=submission.trainer))
        for form in forms:
            full = await self._code(form)
            if full in LAYOUT_ERRORS:
                return False
            if full in _NO_EVIDENCE:
                continue
            short = await self._code(Instruction(form.program_id, form.data, form.accounts[:-1]))
            return short == _NOT_ENOUGH_KEYS
        return None

    async def _code(self, instruction: Instruction) -> int:
        """Simulate an instruction and return its custom error code: 0 for success, −1 for an error without such a code.

        Raises:
            _NoSimulation: the endpoint does not simulate, the payer cannot pay, or the program does not run because
                it is being upgraded.
        """
        from solders.transaction_status import (
            InstructionErrorCustom,
            InstructionErrorFieldless,
            TransactionErrorInstructionError,
        )

        from decloud_pl.chain.send import unsigned

        blockhash, _ = await self._rpc.latest_blockhash()
        try:
            result = await self._rpc.simulate(unsigned(self._payer, [instruction], blockhash))
        except RpcRejected as error:
            raise _NoSimulation from error
        if result.error is None:
            return 0
        if not isinstance(result.error, TransactionErrorInstructionError):
            raise _NoSimulation
        inner = result.error.err
        if inner == InstructionErrorFieldless.UnsupportedProgramId:
            raise _NoSimulation  # a program does not run in the slot of its upgrade
        return inner.code if isinstance(inner, InstructionErrorCustom) else -1

    async def _published(self) -> tuple[set[str] | None, str]:
        """Return the names of the dialects that match the IDL on chain, and the evidence.

        The names are None if there is no readable IDL.
        """
        account = await self._rpc.account(idl_address(self._any.program_id))
        if account is None or account.owner != self._any.program_id:
            return None, ""
        try:
            counts = await asyncio.to_thread(idl_account_counts, account.data)
        except DecodeError:
            return None, ""
        fitting = {
            name
            for name, dialect in self._known.items()
            if all(counts.get(instruction) == count for instruction, count in dialect.account_counts.items())
        }
        # A revision may contain all instructions of another one, so the one with the most instructions matches.
        most = max((len(self._known[name].account_counts) for name in fitting), default=0)
        return {name for name in fitting if len(self._known[name].account_counts) == most}, "its published IDL"

    async def _paid(self) -> tuple[set[str] | None, str]:
        """Return the names of the dialects that match a recent transaction, and the evidence.

        This uses the first transaction that matches some dialects but not all. If there is none, the names are None.
        """
        try:
            program = self._any.program_id
            sent = await self._rpc.transactions(program, signatures=_SIGNATURES, most=_TRANSACTIONS)
        except ChainError:
            return None, ""
        for instruction in (one for each in sent for one in each.instructions if one.program_id == program):
            fitting = self._fitting(instruction)
            if fitting:
                return fitting, f"the account list of a confirmed transaction ({len(instruction.accounts)} accounts)"
        return None, ""

    def _fitting(self, instruction: Instruction) -> set[str]:
        """Return the names of the dialects that match a sent instruction's name and number of accounts.

        If all dialects match, return an empty set, because the instruction then does not distinguish them.
        """
        fitting = {
            name
            for name, dialect in self._known.items()
            for called, count in dialect.account_counts.items()
            if count == len(instruction.accounts) and instruction.data[:8] == discriminator("global", called)
        }
        return fitting if len(fitting) < len(self._known) else set()
