"""What the user lets the daemon do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from decloud_pl.data.entry import Entry
from decloud_pl.rounds.select import Criteria

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Policy:
    """The user's wishes, and the daemon's own times.

    Attributes:
        criteria: which rounds to join.
        resolve: from the chain's data set name to the one to train on; raises `DatasetError`.
        prepare: sees to it that the files of a data set are here; raises `DatasetNotReady` while they are not.
        entry: what is declared of a data set to train on; None where only its files describe it.
        auto_train: False joins rounds and leaves their training to the user.
        auto_claim: False leaves rewards in their vaults.
        force: submits updates that are withheld, too.
        poll_interval: seconds between looks at the chain while the WebSocket is away.
        only_round: restricts the daemon to one round.
        stop_after: stops after so many rounds have ended, and never joins more.
        faucet: an empty wallet asks the network for lamports.
        patience: seconds for which a reason not to join that passes by itself is not reported.
        reconcile_interval: seconds between comparisons of everything on chain with the journal.
        on_downloaded: takes what to call, from any thread, when a download that `prepare` began has ended.
        wait_for_endpoint: waits at the start for an endpoint that is away until it is stopped.
        stop_seconds: how long what is under way may take to come to an end when the daemon stops.
    """

    criteria: Criteria
    resolve: Callable[[str], str]
    entry: Callable[[str], Entry | None] = lambda _: None
    auto_train: bool = True
    auto_claim: bool = True
    force: bool = False
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
        """Whether the daemon is to end by itself, when certain rounds have."""
        return self.only_round is not None or self.stop_after is not None
