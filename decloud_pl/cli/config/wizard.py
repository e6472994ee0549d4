"""The questions of the command ``setup``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import fill

from click import confirm

from decloud_pl.chain.solana_cli import absolute
from decloud_pl.chain.wallet import Wallet, create_wallet, load_wallet, parse_key
from decloud_pl.cli.config.dataset_names import check_names
from decloud_pl.cli.config.session import check_values
from decloud_pl.cli.config.shown import show
from decloud_pl.cli.ui.output import PIPED_WIDTH, to_display
from decloud_pl.cli.ui.prompt import ask, ask_hidden, checked_secret, choose, named
from decloud_pl.config import Settings
from decloud_pl.config.file import ConfigFile
from decloud_pl.config.layers import Sources, sources_of
from decloud_pl.config.load import Composed, composed
from decloud_pl.config.names import choices, find, names_of, secret_names
from decloud_pl.config.schema import default_home
from decloud_pl.config.values import Value, from_text
from decloud_pl.config_dir import conf_folders
from decloud_pl.errors import ConfigError, DecloudError, StoreRejected, UsageError
from decloud_pl.secrets import IN_KEYRING, keyring_get, keyring_is_usable, keyring_set
from decloud_pl.store.registry import Provider

_KEYPAIR = "keypair"
_WALLETS = (
    ("file", "a key file in the format of the Solana CLI"),
    ("paste", "paste a private key, to be saved in config.json or the system keyring"),
    ("later", "set DECLOUD_PRIVATE_KEY when you start the trainer"),
)


class Wizard:
    """Collects changes to the saved settings, and writes them after the last answer."""

    def __init__(self) -> None:
        self._home = default_home()
        self._file = ConfigFile(self._home)
        self._values = self._file.read()
        self._before = dict(self._values)
        self._composed: list[Composed] = []

    def run(self) -> None:
        """Ask all questions, then save the answers."""
        print("Press Enter to keep the value in brackets. Your answers are saved after the last question.")
        names = choices("network", *conf_folders(self._home))
        self._keep("network", choose("Which network?", [(name, _about(name)) for name in names], self._now("network")))
        address = self._wallet()
        self._datasets()
        self._ask("min_reward", "Minimum reward of a round, in SOL")
        self._ask("max_reward", "Maximum reward, 0 for no limit")
        self._ask("epochs", "Epochs per training (auto: as many as fit before the deadline)", unset="auto")
        self._ask("max_concurrent_rounds", "Rounds at the same time")
        self._storage()
        self._offer_keyring()
        self._write()
        print(f"\nSaved in {self._file.path}.")
        if address is not None:
            print(f"Your address is {address}. The wallet needs about 0.003 SOL to join a round.")
        print("Check your settings with `decloud-trainer doctor`, then run `decloud-trainer start`.")

    def _now(self, name: str) -> str:
        return to_display(self._shown(self._values)[name], find(name, self._home).kind)

    def _shown(self, values: dict[str, Value]) -> dict[str, Value]:
        return {entry.name: entry.value for entry in show(self._compose(values))}

    def _compose(self, values: Mapping[str, Value], environ: Mapping[str, str] | None = None) -> Composed:
        """Return the settings in force with the given values. They are kept, because composing takes 0.2 s."""
        given = sources_of(values, self._home, environ)
        found = next((one for one in self._composed if self._plain(one.sources) == self._plain(given)), None)
        if found is None:
            found = composed(given)
            self._composed.append(found)
        return replace(found, settings=replace(found.settings, secrets=given.secrets), sources=given)

    def _plain(self, given: Sources) -> Sources:
        """Return the sources without the secrets, which are not part of the composed tree."""
        secrets = secret_names(self._home)
        return replace(given, assignments={name: one for name, one in given.assignments.items() if name not in secrets})

    def _keep(self, name: str, value: Value) -> None:
        """Store an answer. An answer equal to the default is not stored, so that a preset can still set the value."""
        others = {key: kept for key, kept in self._values.items() if key != name}
        if name not in self._before and value == self._shown({}).get(name) == self._shown(others).get(name):
            self._values.pop(name, None)
        else:
            self._values[name] = value

    def _datasets(self) -> None:
        from decloud_pl.rounds.planner import make_catalog

        settings = self._settings()
        names = list(dict.fromkeys([*settings.all_mappings(), *make_catalog(settings).names()]))
        listed = "  ".join(f"{number} {name}" for number, name in enumerate(names, 1))
        print(f"\nWhich data sets?\n{fill(listed, PIPED_WIDTH, initial_indent='  ', subsequent_indent='  ')}")

        def read(answer: str) -> str:
            parts = (part.strip() for part in answer.split(","))
            return "" if answer.lower() == "any" else ",".join(named(part, names) for part in parts)

        self._ask("datasets", "Names or numbers, separated by commas (any: all)", otherwise="any", read=read)

    def _ask(
        self, name: str, question: str, *, otherwise: str = "", unset: str = "", read: Callable[[str], str] = str
    ) -> None:
        """Ask for a setting, and store the answer.

        Args:
            name: the name of the setting.
            question: the text of the question.
            otherwise: the answer to offer if the setting is empty.
            unset: the answer that removes the setting from the saved settings. It is offered if the setting is not
                saved. All other answers are stored, even the setting's default, because a saved default can have
                another effect than a setting that is not saved. If ``unset`` is empty, `_keep` decides what is stored.
            read: converts an answer to the setting's text.
        """
        setting = find(name, self._home)

        def check(answer: str) -> None:
            before = dict(self._values)
            try:
                for other in names_of(name, before) if unset else ():
                    del self._values[other]
                if not unset:
                    self._keep(name, from_text(setting, read(answer), name))
                elif answer != unset:
                    self._values[name] = from_text(setting, read(answer), name)
                check_names(self._compose(self._values).settings)
            except DecloudError:
                self._values = before
                raise

        offered = unset if unset and not names_of(name, self._values) else self._now(name) or otherwise
        ask(question, offered, check)

    def _wallet(self) -> str | None:
        has_key, current = "private_key" in self._values, self._now("wallet")
        kept = [] if current == _KEYPAIR else [("keep", f"the current choice, wallet={current}")]
        default = "keep" if kept else "paste" if has_key else "file"
        is_in_file = self._values.get("private_key", IN_KEYRING) != IN_KEYRING
        while True:
            how = choose("Which wallet?", [*kept, *_WALLETS], default)
            if how != "file" or not is_in_file or _has_copy("removes"):
                break
        if how == "keep":
            return None
        self._keep("wallet", _KEYPAIR)  # the only wallet that uses the following answers
        self._values.pop("wallet.kind", None)
        if how == "later":
            return None
        if how == "paste":
            return str(self._pasted(may_keep=has_key).address)
        self._values.pop("private_key", None)
        return str(ask("Key file", self._now("keypair_path"), self._key_file).address)

    def _pasted(self, *, may_keep: bool) -> Wallet:
        def check(answer: str) -> Wallet:
            wallet = parse_key(answer, "Your answer")
            if may_keep and answer.strip() != self._values["private_key"] and not _has_copy("replaces"):
                raise UsageError("The saved private key stays.", fix="Press Enter to keep it.")
            self._values["private_key"] = checked_secret("private_key", answer)
            return wallet

        def keep() -> Wallet:
            secrets = sources_of(self._values, self._home).secrets
            return parse_key(secrets.get("private_key") or "", "private_key in config.json")

        question = "Private key (hidden; Enter keeps the current one)" if may_keep else "Private key (hidden)"
        return ask_hidden(question, check, keep=keep if may_keep else None)

    def _key_file(self, answer: str) -> Wallet:
        path = Path(answer).expanduser()
        if not path.exists():
            if not confirm(f"{path} does not exist. Create a new key there", default=True):
                raise UsageError(f"The key file {path} does not exist.", fix="Enter another path.")
            wallet = create_wallet(path)
            print(f"  Created {path}. Keep a backup: anyone with this file controls the wallet.")
        else:
            wallet = load_wallet(keypair_path=path, environ={})
        self._keep("keypair_path", absolute(answer))
        return wallet

    def _storage(self) -> None:
        while True:
            settings, default = self._settings(), self._now("storage")
            providers = settings.providers
            offered = {name: one.about for name, one in providers.items()}
            offered.setdefault(default, "your own settings")
            if default in providers and not providers[default].serves_others and settings.network.name != "local":
                # Other machines could not fetch the updates from this store.
                default = next((name for name, one in providers.items() if one.serves_others), default)
            choice = choose("Where are your updates stored?", list(offered.items()), default)
            self._keep("storage", choice)
            before = dict(self._values)
            try:
                if choice in providers:
                    self._login(providers[choice])
                    for name, words in providers[choice].asks.items():
                        self._ask(f"storage.{name}", words)
                print(f"  {self._try_storage(choice)}")
            except DecloudError as error:
                print(f"  {error}")
                given = self._take_back_secrets(before)
                if confirm("Choose again", default=True):
                    continue
                if given and isinstance(error, StoreRejected):
                    names = " ".join(f"--set {name}=-" for name in given)
                    print(f"  The refused login is not saved. Set it later with: decloud-trainer config {names}")
                else:
                    self._values |= given
                    print("  Your answers are kept. Test the storage later with `decloud-trainer storage test`.")
            return

    def _take_back_secrets(self, before: dict[str, Value]) -> dict[str, Value]:
        """Reset all secrets to their values in ``before``. Return the discarded values by the names of the secrets."""
        names = secret_names(self._home)
        given = {name: one for name, one in self._values.items() if name in names and before.get(name) != one}
        for name in given:
            if name in before:
                self._values[name] = before[name]
            else:
                del self._values[name]
        return given

    def _login(self, provider: Provider) -> None:
        """Ask for the first of a provider's logins; if the user skips it, ask for the next one."""
        given = sources_of(self._values, self._home, os.environ).assignments
        kept = any(secret.name in given for secret in provider.secrets)
        for (first, *rest), others in pairwise([*provider.logins, ()]):
            instead = f"; Enter to use {' and '.join(one.asks for one in others)} instead" if others else ""
            later = "; Enter keeps the current login" if kept else instead
            keep = (lambda: "") if later else None
            answer = ask_hidden(f"{first.asks} (hidden{later})", partial(checked_secret, first.name), keep=keep)
            if answer:
                self._values[first.name] = answer
                for secret in rest:
                    check = partial(checked_secret, secret.name)
                    self._values[secret.name] = ask_hidden(f"{secret.asks} (hidden)", check)
            if answer or kept:
                return

    def _try_storage(self, choice: str) -> str:
        """Check the login of the chosen storage, and return the line to print about it.

        Credentials in the environment take precedence over those that the user entered.
        """
        from decloud_pl.rounds.stores import make_store

        print("  Checking the storage…")
        settings = self._settings()
        return make_store(choice if choice in settings.providers else settings.storage.kind, settings).check()

    def _settings(self) -> Settings:
        return self._compose(self._values, os.environ).settings

    def _offer_keyring(self) -> None:
        """Move new secrets to the system keyring if it is usable and the user agrees."""
        new = [
            name
            for name in secret_names(self._home)
            if self._values.get(name) not in (None, IN_KEYRING, self._before.get(name))
        ]
        if not new or not keyring_is_usable():
            return
        if confirm(f"\nSave {' and '.join(new)} in the system keyring instead of config.json", default=True):
            for name in new:
                try:
                    old = keyring_get(name, str(self._home))
                    is_replaced = name == "private_key" and old not in (None, self._values[name])
                    was_asked = self._before.get(name) == IN_KEYRING
                    if is_replaced and not was_asked and not _has_copy("replaces"):
                        continue
                    keyring_set(name, str(self._home), str(self._values[name]))
                except ConfigError as error:
                    print(f"  {error}")
                    return
                self._values[name] = IN_KEYRING

    def _write(self) -> None:
        changed = {name: value for name, value in self._values.items() if self._before.get(name) != value}
        gone = [name for name in self._before if name not in self._values]

        def apply(values: dict[str, Value]) -> None:
            values.update(changed)
            for name in gone:
                values.pop(name, None)
            check_values(self._compose(values).settings)

        self._file.edit(apply)
        for name in gone:
            if self._before[name] == IN_KEYRING:  # it may be the only copy of a key
                print(f"  {name} stays in the system keyring. It is no longer used.")


def _has_copy(change: str) -> bool:
    return confirm(f"This {change} the private key that was saved earlier. Do you have a copy of it", default=False)


def _about(network: str) -> str:
    about = {
        "local": "the local network of `decloud-trainer localnet`",
        "devnet": "Solana's public test network",
        "mainnet": "Solana's main network, with real SOL",
        "solana-cli": "the network that `solana config get` shows",
    }
    return about.get(network, "your own")
