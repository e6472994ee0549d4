"""The committed program matches the sources, and a build that fails gives the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from decloud_pl.errors import ConfigError, LocalnetError
from decloud_pl.localnet.program import NEWEST, REVISIONS, file_name, shared_object
from decloud_pl.localnet.program.build import COMPILER, SOURCE, build, compile_object, main
from decloud_pl.localnet.program.elf_object import read_object
from decloud_pl.localnet.program.link import link
from decloud_pl.localnet.program.names import header

needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed, so nothing can be rebuilt"
)


@needs_compiler
def test_another_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    copied = tmp_path / "somewhere else"
    copied.mkdir()
    for source in [*SOURCE.glob("*.c"), *SOURCE.glob("*.h")]:
        (copied / source.name).write_bytes(source.read_bytes())
    assert build(NEWEST, copied) == shared_object(NEWEST)


def test_the_committed_names_are_the_dialects() -> None:
    assert (SOURCE / "names.h").read_text() == header()


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_program_names_nothing_of_the_machine_it_was_built_on(revision: str) -> None:
    for trace in (b"/home", b"/root", b"/work", b"/tmp", b"clang", b".c\0"):
        assert trace not in shared_object(revision)


def test_every_revision_has_a_program_of_its_own() -> None:
    assert len({shared_object(revision) for revision in REVISIONS}) == len(REVISIONS)


def test_a_revision_that_the_program_is_not_built_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not support the dialect 'v1\.3'\. Did you mean 'v1\."):
        shared_object("v1.3")


@needs_compiler
def test_check_accepts_the_committed_programs_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [SOURCE / file_name(revision) for revision in REVISIONS]
    before = [path.stat().st_mtime_ns for path in paths]
    assert main(["--check"]) == 0, "run python -m decloud_pl.localnet.program.build"
    assert capsys.readouterr().out.count("matches the sources") == len(REVISIONS)
    assert [path.stat().st_mtime_ns for path in paths] == before


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder with all programs."""
    for revision in REVISIONS:
        (tmp_path / file_name(revision)).write_bytes(shared_object(revision))
    return tmp_path


@needs_compiler
def test_check_refuses_another_program(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (built / file_name(NEWEST)).write_bytes(shared_object(NEWEST)[:-1])
    assert main(["--check", "--output", str(built)]) == 12
    assert f"{file_name(NEWEST)} does not match the sources. Run `python -m" in capsys.readouterr().err


@needs_compiler
def test_check_refuses_a_missing_program(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (built / file_name(NEWEST)).unlink()
    assert main(["--check", "--output", str(built)]) == 12
    assert "does not exist" in capsys.readouterr().err


@needs_compiler
def test_the_build_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "decloud_pl.localnet.program.build", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [f"{tmp_path / file_name(revision)}: {len(shared_object(revision))} bytes." for revision in REVISIONS]
    assert done.stdout.splitlines() == said
    assert all((tmp_path / file_name(revision)).read_bytes() == shared_object(revision) for revision in REVISIONS)


@needs_compiler
def test_sources_compiled_without_a_revision_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "revision.h").write_bytes((SOURCE / "revision.h").read_bytes())
    with pytest.raises(LocalnetError, match=r"could not compile a\.c"):
        compiled(tmp_path, '#include "revision.h"')
    assert "Compile with -DREVISION=" in capfd.readouterr().err


def test_a_missing_compiler_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int x;")
    with pytest.raises(LocalnetError, match="The compiler clang-of-nobody is not installed") as caught:
        build(NEWEST, tmp_path, "clang-of-nobody")
    assert "apt install" in caught.value.fix


def compiled(tmp_path: Path, text: str, name: str = "a.c") -> bytes:
    source = tmp_path / name
    source.write_text(text)
    return compile_object(source)


@needs_compiler
def test_a_mistake_in_the_source_is_the_compilers_to_explain(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalnetError, match=r"could not compile a\.c"):
        compiled(tmp_path, "int f(void) { return y; }")
    assert "use of undeclared identifier 'y'" in capfd.readouterr().err


# C that a program must not contain, and the linker's error for it.
REFUSED = {
    "a misspelt syscall": (
        "extern long sol_log(const char *, long); long entrypoint(void) { return sol_log(0, 0); }",
        r"a\.c calls sol_log, which is neither defined nor a syscall\. Did you mean sol_log_",
    ),
    "an unknown function": (
        "extern long nonsense(void); long entrypoint(void) { return nonsense(); }",
        "calls nonsense, which is neither defined nor a syscall. Define it",
    ),
    "writable data": (
        "long count = 1; long entrypoint(void) { return ++count; }",
        r"8 bytes in the writable section \.data",
    ),
    "zeroed data": (
        "long count; long entrypoint(void) { return ++count; }",
        r"8 bytes in the writable section \.bss",
    ),
    "a table of pointers": (
        'const char *const names[] = {"a", "b"}; long entrypoint(long *n) { return *names[*n]; }',
        "pointer",
    ),
    "an unknown variable": (
        "extern const long answer; long entrypoint(void) { return answer; }",
        "uses answer, which no object defines",
    ),
    "a function pointer": (
        "long entrypoint(long (**f)(void)) { return (*f)(); }",
        "calls through a function pointer",
    ),
    "a function's address": (
        "static long f(void) { return 1; } long entrypoint(long *out) { *out = (long)f; return 0; }",
        "takes the address of the function",
    ),
    "no entry": ("long other(void) { return 0; }", "No object defines the entry function entrypoint"),
    "a redefined syscall": (
        "long sol_log_(void) { return 0; } long entrypoint(void) { return 0; }",
        "defines sol_log_, which already exists",
    ),
}


@needs_compiler
@pytest.mark.parametrize("case", REFUSED)
def test_the_linker_refuses(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    item = read_object("a.c", compiled(tmp_path, text))
    with pytest.raises(LocalnetError, match=message) as caught:
        link([item])
    assert caught.value.fix


@needs_compiler
def test_the_linker_refuses_32_bit_arithmetic(tmp_path: Path) -> None:
    """Code for a newer machine also loads, but computes wrong numbers."""
    source, output = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text("unsigned entrypoint(unsigned *p) { return p[0] * p[1] > 7u ? p[0] / 3u : p[1]; }")
    subprocess.run([COMPILER, "-target", "bpf", "-mcpu=v3", "-O2", "-c", str(source), "-o", str(output)], check=True)
    with pytest.raises(LocalnetError, match="32-bit arithmetic") as caught:
        link([read_object("a.c", output.read_bytes())])
    assert "-mcpu=v2" in caught.value.fix


@needs_compiler
def test_the_linker_refuses_two_functions_of_one_name(tmp_path: Path) -> None:
    item = read_object("a.c", compiled(tmp_path, "long entrypoint(void) { return 0; }"))
    with pytest.raises(LocalnetError, match="defines entrypoint, which already exists"):
        link([item, item])


@needs_compiler
def test_a_damaged_object_is_refused(tmp_path: Path) -> None:
    good = compiled(tmp_path, "long entrypoint(void) { return 0; }")
    for length in range(64, len(good), 7):
        with pytest.raises(LocalnetError, match="cannot be read as an object file"):
            read_object("a.o", good[:length])


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"int x;" * 20, b"\x7fELF\x01\x01" + bytes(80)])
def test_what_is_not_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(LocalnetError, match="is not a 64-bit little-endian ELF file"):
        read_object("a.o", data)


def test_an_object_for_another_machine_is_refused() -> None:
    with pytest.raises(LocalnetError, match="is not a BPF object file"):
        read_object("a.o", shared_object(NEWEST))


FIRST = """
extern unsigned long twice(unsigned long), sol_get_stack_height(void);
static const char table[3][8] = {"one", "two", "three"};
static __attribute__((noinline)) unsigned long letter(unsigned long i) { return table[i % 3][i % 5]; }
unsigned long entrypoint(unsigned long *input) {
  if (sol_get_stack_height() != 1) return 1;
  return twice(letter(input[0] + 2)) + 6000;
}
"""
SECOND = """
extern void sol_log_(const char *, unsigned long);
unsigned long twice(unsigned long n) { sol_log_("twice", 5); return n < 1000 ? 2 * n : n; }
"""


def error_of(program: bytes) -> tuple[str, list[str]]:
    """Run a program without accounts or arguments; return its error and its log."""
    svm, payer, address = LiteSVM(), Keypair.from_seed(bytes(32)), Pubkey(b"\1" * 32)
    svm.airdrop(payer.pubkey(), 10**9)
    svm.add_program(address, program)
    call = Instruction(address, b"", [])
    message = MessageV0.try_compile(payer.pubkey(), [call], [], svm.latest_blockhash())
    result = svm.send_transaction(VersionedTransaction(message, [payer]))
    assert isinstance(result, FailedTransactionMetadata)
    return str(result.err()), result.meta().logs()


@needs_compiler
def test_objects_call_each_other_and_read_their_constants(tmp_path: Path) -> None:
    sources = (("b.c", FIRST), ("a.c", SECOND))
    error, logs = error_of(link([read_object(name, compiled(tmp_path, text, name)) for name, text in sources]))
    assert str(2 * ord("r") + 6000) in error
    assert "Program log: twice" in logs


@needs_compiler
def test_a_program_without_constants_and_syscalls_runs(tmp_path: Path) -> None:
    error, _ = error_of(link([read_object("a.c", compiled(tmp_path, "long entrypoint(void) { return 77; }"))]))
    assert "77" in error
