"""The user's rules for the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from decloud_pl.data.entry import Entry
from decloud_pl.rounds.select import Criteria

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Policy:
    """The user's rules, and the daemon's intervals.

    Attributes:
        criteria: which rounds to join.
        resolve: maps the chain's data set name to the data set to train on; raises `DatasetError` if there is none.
        prepare: starts the download of a data set if needed; raises `DatasetNotReady` until the files are on this
            machine.
        entry: returns the declaration of a data set; None if only the user's files describe the data set.
        auto_train: if False, the daemon joins rounds and leaves their training to the user.
        auto_claim: if False, the daemon leaves rewards in their vaults.
        force: submit withheld updates, too.
        submit_late: wait until shortly before the deadline to submit a published update; if False, submit it at once.
        poll_interval: seconds between polls of the chain while the WebSocket is disconnected.
        only_round: the only round to work on; None for all rounds.
        stop_after: the daemon stops after this many rounds have ended, and joins no more than this many.
        faucet: if the wallet cannot pay for a round, request an airdrop from the network before the join.
        patience: how many seconds a temporary reason for not joining a round must last before it is reported.
        reconcile_interval: seconds between full comparisons of the chain with the journal.
        on_downloaded: registers a callback for the end of each download that `prepare` starts. Any thread may call it.
        wait_for_endpoint: when the daemon starts, retry until an RPC endpoint answers.
        stop_seconds: the most seconds that running steps may take when the daemon stops.
    """

    criteria: Criteria
    resolve: Callable[[str], str]
    entry: Callable[[str], Entry | None] = lambda _: None
    auto_train: bool = True
    auto_claim: bool = True
    force: bool = False
    submit_late: bool = False
    poll_interval: float = 5.0
    patience: float = 60.0
    only_round: int | None = None
    stop_after: int | None = None
    faucet: bool = False
    reconcile_interval: float = 3600.0
    stop_seconds: float = 90.0
    prepare: Callable[[str], None] = lambda _: None
    on_downloaded: Callable[[Callable[[], object]], None] = lambda _: None
    wait_for_endpoint: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether the daemon stops on its own: when ``only_round`` or ``stop_after`` rounds have ended."""
        return self.only_round is not None or self.stop_after is not None
