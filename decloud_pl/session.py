"""A Python interface to a wallet's rounds: join a round, train with any code, publish the update, claim the reward.

It runs the daemon's own steps with the daemon's journal. So no update is lost or submitted twice, even if this
process is killed, and the daemon can take over at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.wallet import Wallet, create_wallet, load_wallet
from decloud_pl.config import Settings
from decloud_pl.daemon.account import WalletRounds
from decloud_pl.daemon.assemble import MAX_MODEL_BYTES
from decloud_pl.daemon.settings import RunningNetwork, settings_composer
from decloud_pl.domain import Round, Update, UpdateForm, format_sol
from decloud_pl.errors import UsageError, nearest
from decloud_pl.journal.record import RoundRecord
from decloud_pl.loop_thread import LoopThread
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.opening import open_base_model
from decloud_pl.own_memory import forbid_core_dumps
from decloud_pl.rounds.events import DaemonEvent, Training
from decloud_pl.rounds.round_files import fetch_base_model
from decloud_pl.rounds.stores import make_reader
from decloud_pl.rounds.wallets import open_wallet

T = TypeVar("T")

_BASE_PACKAGE = "base.safetensors"
_OWN_UPDATE = "trained.pt"
_WALLET_FILE = "wallet.json"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed reward: the round, the wallet's share of the trainers' pool in basis points, and the lamports."""

    round_id: int
    contribution_bps: int
    lamports: int

    def __str__(self) -> str:
        return f"Round {self.round_id}: {self.contribution_bps / 100:g} % of the pool, {format_sol(self.lamports)}"


class Session:
    """A context manager that connects a wallet to a network and gives access to its rounds.

    The session's event loop runs in a separate thread, so the same code works in a script and in a notebook.

    Args:
        network: a running `LocalNetwork`, the name of a network (``devnet``), or settings from `load_settings`.
        home: the folder of the journal and the rounds. The default is the home of the settings; for a `LocalNetwork`,
            it is the folder ``session`` in the network's folder.
        wallet: a wallet or the path of its key file. The default is the wallet of the settings; for a `LocalNetwork`,
            it is a new wallet in ``home`` that the network funds.
        overrides: further settings, for example ``update.dtype=float32``.

    Raises:
        ConfigError: a setting is invalid.
        UsageError: ``network`` has a type that is not supported.
    """

    def __init__(
        self,
        network: RunningNetwork | Settings | str,
        *,
        home: str | Path | None = None,
        wallet: Wallet | str | Path | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        self._is_local = not isinstance(network, (Settings, str))
        compose_settings = settings_composer(network, None if home is None else Path(home).expanduser().absolute())
        self._connection = _Connection(compose_settings, tuple(overrides))
        self._wallet = wallet

    def __enter__(self) -> Session:
        """Open the wallet and the connection.

        Raises:
            WalletError: the wallet is missing or unusable.
            JournalLocked: a daemon or another session uses this home.
            ChainError: the network does not answer.
        """
        forbid_core_dumps()  # not hide_memory(), because this process may train
        self._connection.open(self._open_wallet(), fill=self._is_local)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def address(self) -> str:
        """The wallet's address."""
        return str(self._connection.account.wallet.address)

    @property
    def events(self) -> list[DaemonEvent]:
        """All events that the steps have reported so far, in order."""
        return list(self._connection.events)

    def balance(self) -> int:
        """Return the wallet's balance in lamports."""
        return self._connection.run(lambda account: account.balance())

    def round(self, round_id: int) -> SessionRound:
        """Return a round of the network, even if this wallet has not joined it.

        Raises:
            RoundError: the round does not exist.
        """
        return SessionRound(self._connection, self._connection.run(lambda account: account.round(round_id)))

    def join(self, round_id: int) -> SessionRound:
        """Join a round, unless this wallet has joined it already. Joining does not require the data set's files.

        Raises:
            RoundError: the round does not exist or accepts no trainers, or joining failed.
        """
        self._connection.run(lambda account: account.join(round_id))
        return self.round(round_id)

    def join_next(self, dataset: str | None = None, *, timeout: float = 300.0) -> SessionRound:
        """Return a joined round that still needs this wallet's update. If there is none, join a new round.

        A new round must satisfy the settings' limits for rewards, validators and creators.

        Args:
            dataset: the name of the data set on chain; None for the data sets in the setting ``datasets``.
            timeout: the most seconds to wait for a suitable round.

        Raises:
            UsageError: the network does not have the data set.
            RoundError: no suitable round was open in time, or joining failed.
        """
        known = get_dialect(self._connection.settings.network.assumed_dialect).datasets
        if dataset is not None and dataset not in known:
            raise UsageError(f"The network has no data set {dataset!r}.", fix=nearest(dataset, known))
        return self.join(self._connection.run(lambda account: account.next_round(dataset, seconds=timeout)))

    def _open_wallet(self) -> Wallet:
        if isinstance(self._wallet, Wallet):
            return self._wallet
        if self._wallet is not None:
            return load_wallet(keypair_path=Path(self._wallet).expanduser(), environ={})
        if not self._is_local:
            settings = self._connection.settings
            return open_wallet(settings.wallet, settings.secrets, settings.allow_packages)
        path = self._connection.settings.home_path / _WALLET_FILE
        return load_wallet(keypair_path=path, environ={}) if path.exists() else create_wallet(path)


class SessionRound:
    """A round in a session. `Session.round`, `Session.join` and `Session.join_next` return it.

    It has the methods of a `RoundPublisher`, so `DeltaCallback` can submit an update through it.

    Attributes:
        id: the round's number.
        dataset: the name of the round's data set on chain.
        reward: the lamports that the validator and the trainers receive together, after the treasury's share.
        model_cid: the base model's CID.
    """

    def __init__(self, connection: _Connection, round_: Round) -> None:
        self._connection = connection
        self.id = round_.id
        self.dataset = round_.dataset
        self.reward = round_.net_reward
        self.model_cid = round_.model_cid

    def __repr__(self) -> str:
        return f"<round {self.id}: {format_sol(self.reward)} for {self.dataset}>"

    @property
    def folder(self) -> Path:
        """The folder with the base model, ``update.pt`` and the worker's log; it exists until the round ends."""
        return self._connection.account.folder(self.id)

    @property
    def progress(self) -> list[Training]:
        """The steps, losses and accuracies that `train` has reported so far."""
        events = list(self._connection.events)
        return [event for event in events if isinstance(event, Training) and event.round_id == self.id]

    @property
    def update_form(self) -> UpdateForm:
        """The file to write the update to, and the convention and encoding in which to write its entries."""
        settings, choice = self._connection.settings, self._connection.run(lambda account: account.convention(self.id))
        convention = settings.written_convention(choice.convention)
        return UpdateForm(
            self.folder / _OWN_UPDATE, convention, settings.network.gradient_rate, settings.update.encoding
        )

    def base_model(self) -> BaseModel:
        """Fetch the base model, verify it against its CID and open it in quarantine. Its files are in `folder`.

        Raises:
            StoreError: the model was not found, is too large, or does not match its CID.
            UntrustedFileRejected: the quarantine refused the file.
        """
        settings = self._connection.settings
        reader = make_reader(settings.network, settings.storage, settings.home_path)
        path = fetch_base_model(self.folder, self.model_cid, reader, max_bytes=MAX_MODEL_BYTES)
        return open_base_model(path, self.folder / _BASE_PACKAGE)

    def publish(self, update: Update) -> str:
        """Pin an update, read it back, wait until the validator starts the training, and submit the update.

        A second call, even in another process with the same home, resumes where the first one stopped. A call
        with a different update replaces the earlier update unless the earlier one was submitted already.

        Returns:
            The CID that was submitted on chain.

        Raises:
            RoundError: this wallet has not joined the round, the round accepts no more updates, or another update was
                submitted already.
            TrainingError: the update's file is missing or damaged.
        """
        return self._connection.run(lambda account: account.publish(self.id, update))

    def train(self, overrides: Sequence[str] = ()) -> RoundRecord:
        """Train in a child process as the daemon does, then pin and submit the update.

        Args:
            overrides: settings of this training, for example ``epochs=2``.

        Raises:
            RoundError: this wallet has not joined the round, the update was withheld, or a step failed permanently.
        """
        settings = self._connection.settings_with(overrides)
        return self._connection.run(lambda account: account.train(self.id, settings))

    def claim(self, *, timeout: float | None = None) -> Claim:
        """Submit a pending update, wait for the validator's scores and claim the reward.

        Args:
            timeout: seconds to wait for the scores; None waits until the round ends.

        Raises:
            RoundError: no update was submitted, the reward is zero, or the timeout expired.
        """
        share, lamports = self._connection.run(lambda account: account.claim(self.id, seconds=timeout))
        return Claim(self.id, share, lamports)


class _Connection:
    """The state that a session and its rounds share. `account` and `run` work only while the session is open."""

    def __init__(self, compose_settings: Callable[[Sequence[str]], Settings], overrides: Sequence[str]) -> None:
        self._compose = compose_settings
        self._overrides = overrides
        self.settings = compose_settings(overrides)
        self.events: list[DaemonEvent] = []
        self._opened: tuple[LoopThread, WalletRounds] | None = None

    def report(self, event: DaemonEvent) -> None:
        """Add an event to ``events``. The steps of a round call this."""
        self.events.append(event)

    def settings_with(self, overrides: Sequence[str]) -> Settings:
        """Return the session's settings with ``overrides`` added."""
        return self._compose((*self._overrides, *overrides)) if overrides else self.settings

    @property
    def account(self) -> WalletRounds:
        """The object that takes the steps of the wallet's rounds. It exists only while the session is open."""
        return self._open()[1]

    def run(self, work: Callable[[WalletRounds], Coroutine[Any, Any, T]]) -> T:
        """Call ``work`` with `account`, run the returned coroutine in the session's thread, and return its result."""
        thread, account = self._open()
        return thread.run(work(account))

    def open(self, wallet: Wallet, *, fill: bool) -> None:
        if self._opened is not None:
            raise UsageError("The session is already open.", fix="Leave its `with` block first.")
        self._opened = LoopThread("session"), WalletRounds(self.settings, wallet, self)
        try:
            self.run(lambda account: account.open())
            if fill:
                self.run(lambda account: account.fill())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        thread, account = self._open()
        self._opened = None
        try:
            thread.run(account.aclose())
        finally:
            thread.close()

    def _open(self) -> tuple[LoopThread, WalletRounds]:
        if self._opened is None:
            raise UsageError("The session is not open.", fix="Use it inside `with Session(...) as session:`.")
        return self._opened
