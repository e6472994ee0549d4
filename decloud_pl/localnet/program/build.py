"""Build the program, once per revision: ``python -m decloud_pl.localnet.program.build [--check] [--output FOLDER]``.

The same sources and the same compiler give the same bytes. The built file does not depend on the machine, the folder or
the time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from decloud_pl.errors import DecloudError, LocalnetError
from decloud_pl.localnet.program import REVISIONS, file_name
from decloud_pl.localnet.program.elf_object import read_object
from decloud_pl.localnet.program.link import link
from decloud_pl.localnet.program.names import header

SOURCE = Path(__file__).parent
NAMES = SOURCE / "names.h"
COMPILER = "clang-19"
FLAGS = (
    "-target", "bpf",
    "-mcpu=v2",  # v3 code also loads, but computes wrong 32-bit results
    "-O2", "-std=c11",
    "-ffreestanding", "-fno-builtin",  # without a C library, a loop must not become a call of memcpy
    "-fno-jump-tables",
    "-mllvm", "-bpf-stack-size=4096",
    "-Wall", "-Wextra", "-Werror",
)  # fmt: skip


def compile_object(source: Path, compiler: str = COMPILER, *arguments: str) -> bytes:
    """Compile one C file to a BPF object.

    Raises:
        LocalnetError: the compiler is missing or rejects the source. The compiler's messages go to standard error.
    """
    if shutil.which(compiler) is None:
        raise LocalnetError(
            f"The compiler {compiler} is not installed.",
            fix="Install it (Debian: apt install clang-19). Only the build needs it.",
        )
    with TemporaryDirectory() as folder:
        output = Path(folder, "out.o")
        # A path relative to the source's folder, so that messages and symbols contain no path of this machine.
        command = [compiler, *FLAGS, *arguments, "-c", source.name, "-o", str(output)]
        if subprocess.run(command, cwd=source.parent, check=False).returncode != 0:
            raise LocalnetError(f"{compiler} could not compile {source.name}.", fix="See its messages above.")
        return output.read_bytes()


def build(dialect: str, folder: Path = SOURCE, compiler: str = COMPILER) -> bytes:
    """Compile all C files of a folder, in alphabetical order, and link them into the program of one revision.

    Raises:
        LocalnetError: see `compile_object` and `link`.
    """
    revision = "-DREVISION=" + dialect.removeprefix("v").replace(".", "")  # -DREVISION=12 for v1.2
    sources = sorted(folder.glob("*.c"))
    return link([read_object(source.name, compile_object(source, compiler, revision)) for source in sources])


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the programs, or with ``--check`` compare the existing files with a new build. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the existing programs; write nothing")
    parser.add_argument("--output", type=Path, default=SOURCE, help="the folder to write to, or to compare with")
    options = parser.parse_args(arguments)
    try:
        if not options.check and not _names_are_current():
            NAMES.write_text(header(), encoding="ascii")
        for dialect in REVISIONS:
            output: Path = options.output / file_name(dialect)
            if options.check:
                _check(dialect, output)
                print(f"{output} matches the sources.")
            else:
                size = output.write_bytes(build(dialect))
                print(f"{output}: {size} bytes.")
    except DecloudError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _names_are_current() -> bool:
    return NAMES.is_file() and NAMES.read_text(encoding="ascii") == header()


def _check(dialect: str, output: Path) -> None:
    fix = "Run `python -m decloud_pl.localnet.program.build` and commit the result."
    if not _names_are_current():
        raise LocalnetError("names.h does not match the constants that are defined in Python.", fix=fix)
    if not output.is_file():
        raise LocalnetError(f"{output} does not exist.", fix=fix)
    if output.read_bytes() != build(dialect):
        raise LocalnetError(f"{output} does not match the sources.", fix=fix)


if __name__ == "__main__":
    sys.exit(main())
