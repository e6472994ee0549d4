"""The program passes the checks of the real loader, which the test machine's direct deployment skips."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.sysvar import CLOCK, RENT
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from decloud_pl.chain.anchor import SYSTEM_PROGRAM_ID
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.localnet.program import REVISIONS, shared_object
from decloud_pl.localnet.program.build import COMPILER, compile_object
from decloud_pl.localnet.program.elf_object import read_object
from decloud_pl.localnet.program.link import link
from decloud_pl.localnet.program.syscalls import SYSCALLS

LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
BUFFER_HEADER, PROGRAM_SIZE, CHUNK = 37, 36, 900


class RefusedError(AssertionError):
    """A transaction that must succeed has failed."""


def run(svm: LiteSVM, instructions: Sequence[Instruction], *signers: Keypair) -> None:
    message = MessageV0.try_compile(signers[0].pubkey(), list(instructions), [], svm.latest_blockhash())
    result = svm.send_transaction(VersionedTransaction(message, list(signers)))
    svm.expire_blockhash()
    if isinstance(result, FailedTransactionMetadata):
        raise RefusedError("\n".join((str(result.err()), *result.meta().logs())))


def new_account(svm: LiteSVM, payer: Keypair, account: Keypair, size: int) -> Instruction:
    return create_account(
        CreateAccountParams(
            from_pubkey=payer.pubkey(),
            to_pubkey=account.pubkey(),
            lamports=svm.minimum_balance_for_rent_exemption(size),
            space=size,
            owner=LOADER,
        )
    )


def writable(address: Pubkey, *, signer: bool = False) -> AccountMeta:
    return AccountMeta(address, is_signer=signer, is_writable=True)


def readable(address: Pubkey, *, signer: bool = False) -> AccountMeta:
    return AccountMeta(address, is_signer=signer, is_writable=False)


def deploy(svm: LiteSVM, payer: Keypair, program: Keypair, elf: bytes) -> None:
    """Deploy like ``solana program deploy``: write a buffer piece by piece, then turn it into the program."""
    buffer = Keypair.from_seed(b"\2" * 32)
    initialize_buffer = Instruction(LOADER, struct.pack("<I", 0), [writable(buffer.pubkey()), readable(payer.pubkey())])
    run(svm, [new_account(svm, payer, buffer, BUFFER_HEADER + len(elf)), initialize_buffer], payer, buffer)
    for offset in range(0, len(elf), CHUNK):
        part = elf[offset : offset + CHUNK]
        metas = [writable(buffer.pubkey()), readable(payer.pubkey(), signer=True)]
        run(svm, [Instruction(LOADER, struct.pack("<IIQ", 1, offset, len(part)) + part, metas)], payer)
    data_address, _ = Pubkey.find_program_address([bytes(program.pubkey())], LOADER)
    metas = [
        writable(payer.pubkey(), signer=True),
        writable(data_address),
        writable(program.pubkey()),
        writable(buffer.pubkey()),
        readable(RENT),
        readable(CLOCK),
        readable(SYSTEM_PROGRAM_ID),
        readable(payer.pubkey(), signer=True),
    ]
    instruction = Instruction(LOADER, struct.pack("<IQ", 2, len(elf)), metas)
    run(svm, [new_account(svm, payer, program, PROGRAM_SIZE), instruction], payer, program)
    svm.warp_to_slot(svm.get_clock().slot + 2)  # a program can be called from the slot after its deployment


@pytest.fixture(params=["all features", "mainnet features"])
def svm(request: pytest.FixtureRequest) -> LiteSVM:
    return LiteSVM().with_mainnet_features().with_builtins() if "main" in request.param else LiteSVM()


@pytest.fixture
def payer(svm: LiteSVM) -> Keypair:
    payer = Keypair.from_seed(b"\1" * 32)
    svm.airdrop(payer.pubkey(), 10**12)
    return payer


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_upgradeable_loader_deploys_it(svm: LiteSVM, payer: Keypair, revision: str) -> None:
    program = Keypair.from_seed(b"\3" * 32)
    deploy(svm, payer, program, shared_object(revision))
    dialect = get_dialect(revision, program.pubkey())
    run(svm, [dialect.initialize(payer.pubkey())], payer)
    counter = svm.get_account(dialect.round_counter_address())
    assert counter is not None
    assert dialect.decode_round_counter(bytes(counter.data)).authority == payer.pubkey()


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")
def test_the_loader_knows_every_syscall_the_linker_lets_through(svm: LiteSVM, payer: Keypair, tmp_path: Path) -> None:
    """The loader rejects a call that it cannot resolve, even if the call is never reached."""
    calls = "".join(f"{name}(0, 0, 0, 0, 0);" for name in sorted(SYSCALLS - {"abort", "sol_panic_"}))
    declared = "".join(f"extern long {name}(long, long, long, long, long);" for name in sorted(SYSCALLS))
    source = tmp_path / "a.c"
    source.write_text(
        f"{declared} long entrypoint(long *n) {{ if (*n == 1234567) {{ {calls} sol_panic_(0, 0, 0, 0, 0); "
        "abort(0, 0, 0, 0, 0); } return 0; }"
    )
    elf = link([read_object("a.c", compile_object(source))])
    deploy(svm, payer, Keypair.from_seed(b"\3" * 32), elf)
    with pytest.raises(RefusedError, match=r"Unresolved symbol \(sol_log_dato\)"):
        deploy(svm, payer, Keypair.from_seed(b"\4" * 32), elf.replace(b"sol_log_data\0", b"sol_log_dato\0"))
