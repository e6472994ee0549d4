"""Check which of the daemon's RPC methods each endpoint supports."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from solders.hash import Hash
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.refusals import ASKED_AGAIN_AFTER, Refusal
from decloud_pl.chain.rpc import CLOCK_SYSVAR, HISTORY, RpcClient
from decloud_pl.errors import ChainError, DecodeError, RpcRejected

_WITHOUT: Mapping[str, str] = {
    "getProgramAccounts": "without it the daemon finds its joins only in the latest 10,000 rounds",
    HISTORY: "without it the daemon finds only transactions of the last minutes",
    "getRecentPrioritizationFees": "without it transactions pay no priority fee",
    "getSignaturesForAddress": "without it the daemon detects the program's revision only by simulation",
    "getTransaction": "without it the daemon detects the program's revision only by simulation",
}
"""The optional RPC methods, each with what the daemon cannot do if all endpoints refuse it."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Which of the daemon's RPC methods one endpoint refuses.

    Attributes:
        host: the endpoint's host and port.
        refused: the methods that the endpoint refuses.
        failure: why the endpoint could not be queried; "" if it could.
    """

    host: str
    refused: tuple[Refusal, ...]
    failure: str = ""

    @property
    def words(self) -> str:
        """One line for the user with the endpoint, the methods that it refuses, and its failure."""
        again = f"retrying in {ASKED_AGAIN_AFTER / 60:.0f} min"
        parts = [f"{refusal.method}: refused ({refusal.said}), {again}" for refusal in self.refused]
        if self.failure:
            parts.append(self.failure.rstrip("."))
        return f"{self.host}: {'; '.join(parts) or 'supports all methods of the daemon'}"


async def abilities(rpc: RpcClient, host: str, dialect: Dialect, wallet: Pubkey | None) -> Abilities:
    """Call all RPC methods of the daemon on one endpoint, and return which of them it refuses.

    The methods that simulate or send a transaction get one without a signature, so the chain cannot execute it.

    Args:
        rpc: a client that uses only this endpoint.
        host: the endpoint's host and port, for messages.
        dialect: the program's dialect.
        wallet: the wallet whose balance and submissions are queried. None means that the address of the round counter
            is queried instead.
    """
    program, somebody = dialect.program_id, wallet or dialect.round_counter_address()
    unsigned = VersionedTransaction.populate(
        MessageV0.try_compile(somebody, [], [], Hash.default()), [Signature.default()]
    )
    probes: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: rpc.account(CLOCK_SYSVAR),
        lambda: rpc.accounts([CLOCK_SYSVAR]),
        lambda: rpc.balance(somebody),
        lambda: rpc.program_accounts(program, dialect.submissions_filter(somebody)),
        rpc.latest_blockhash,
        rpc.block_height,
        lambda: rpc.rent_exempt_minimum(dialect.submission_size),
        lambda: rpc.priority_fees([somebody]),
        lambda: rpc.signature_statuses([Signature.default()]),
        lambda: rpc.transactions(program, signatures=1, most=1),
        lambda: rpc.simulate(unsigned),
        lambda: rpc.send_raw(bytes(unsigned)),
    )
    failure = ""
    for probe in probes:
        try:
            with contextlib.suppress(RpcRejected, DecodeError):
                await probe()
        except ChainError as error:
            failure = error.message
            break
    return Abilities(host, tuple(rpc.refused), failure)


def lacks(found: Sequence[Abilities]) -> tuple[list[str], list[str]]:
    """Return the methods that every endpoint refuses, ignoring endpoints that could not be queried.

    Returns:
        Two lists. The first has the names of the refused methods that the daemon requires. The second has, for each
        refused optional method, a sentence about what the daemon cannot do without the method.
    """
    answering = [{refusal.method for refusal in one.refused} for one in found if not one.failure]
    everywhere = set.intersection(*answering) if answering else set()
    return (
        sorted(everywhere - _WITHOUT.keys()),
        sorted({words for method, words in _WITHOUT.items() if method in everywhere}),
    )
