"""The on-chain program of the local network, as C source and as the built shared object.

Where the protocol leaves a choice, a comment in the source says what was decided.
"""

from __future__ import annotations

from importlib.resources import files

SHARED_OBJECT = "federated_ai.so"


def shared_object() -> bytes:
    """The built program, ready for the loader (an sBPF version 0 ELF file).

    Raises:
        FileNotFoundError: the package was installed without it.
    """
    return files(__package__).joinpath(SHARED_OBJECT).read_bytes()
