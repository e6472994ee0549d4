"""The available storage providers. Each is described in a file ``conf/storage/NAME.yaml``.

A provider consists of such a file and one module with a `decloud_pl.store.Store`. The file is either part of this
package or in the user's own ``conf/storage``::

    kind: archive
    archive_url: https://archive.example      # adds the setting storage.archive_url with the type of this default
    providers:
      archive:
        about: the archive of our group
        store:                                # if there are `logins`, the class also gets an argument `secrets`
          _target_: our_package.archive.ArchiveStore
          url: ${storage.archive_url}
          timeout: ${storage.timeout}
        logins:
          - archive_token: {asks: Token of the archive, variables: [ARCHIVE_TOKEN]}
        asks:
          archive_url: Address of the archive

The description is not part of the module, because the program reads it before it imports the module:

1. It reads the descriptions, which contain the names of the secrets.
2. With these names, it can read config.json and the environment, which contain the setting ``allow_packages``.
3. It imports a module of the user only if ``allow_packages`` contains the module's package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache, partial
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from decloud_pl.errors import ConfigError, first_line, nearest
from decloud_pl.ranges import ABOVE_ZERO, MULTIADDR, URL
from decloud_pl.redact import looks_secret

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUP = "storage"
_RECIPE = "Follow the recipe in CONTRIBUTING.md."
_TYPES: Mapping[type, Any] = {bool: bool, int: int, float: float, str: str, list: list[str]}


@dataclass
class StorageConfig:
    """Where finished updates are pinned. Providers add their own settings; see `Registry.schema`."""

    kind: str = "embedded"
    # Tried in this order if the storage above does not accept an update.
    fallback: list[str] = field(default_factory=list)
    # Seconds that a store or a gateway may be silent.
    timeout: Annotated[float, ABOVE_ZERO] = 60.0
    # Seconds that an update may take to become readable through a gateway before the next storage is tried.
    read_back_seconds: Annotated[float, ABOVE_ZERO] = 120.0


_COMMON = ("defaults", *(entry.name for entry in fields(StorageConfig)))
"""The keys that a provider's file may have besides its own settings."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of a provider.

    Attributes:
        name: its name in config.json. The environment variable ``DECLOUD_NAME`` can always hold the secret, too.
        asks: the prompt with which ``decloud-trainer setup`` asks for it.
        variables: further environment variables that can hold the secret.
    """

    name: str
    asks: str
    variables: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """One storage provider.

    Attributes:
        name: its name in ``storage=`` and ``storage.fallback``, and the name of its stores.
        about: a description in one line.
        store: the configuration node from which its store is built.
        serves_others: whether other machines can fetch its files. If not, the provider is refused on a public network,
            unless its own setting ``allow_NAME`` is true.
        logins: groups of secrets; one complete group is enough. The store gets all secrets that are set.
        asks: the provider's own settings that ``setup`` asks for, each with its prompt.
        place: its position in lists of providers. The provider with the lowest number comes first.
    """

    name: str
    about: str
    store: Mapping[str, Any]
    serves_others: bool = True
    logins: Sequence[Sequence[Secret]] = ()
    asks: Mapping[str, str] = field(default_factory=dict)
    place: int = 100

    @classmethod
    def of(cls, name: str, facts: Any) -> Provider:
        """Create a provider from the node ``storage.providers.NAME``.

        Raises:
            ConfigError: a key is missing or unknown.
        """
        try:
            given = dict(facts)
            logins = tuple(_login(one) for one in given.pop("logins", ()))
            return cls(name, logins=logins, **given)
        except (TypeError, ValueError, AttributeError) as error:
            reason = first_line(error).replace("Provider.__init__() ", "")
            raise ConfigError(f"The description of the storage {name!r} is invalid: {reason}.", fix=_RECIPE) from error

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(secret for login in self.logins for secret in login)


@dataclass(frozen=True, eq=False)
class Registry:
    """The providers whose descriptions were found in some configuration folders.

    Attributes:
        nodes: maps each provider's name to its node under ``storage.providers``, with interpolations unresolved. The
            order is that of `Provider.place`.
        settings: the defaults of the settings that the providers add, by the name of the setting.
        secrets: the providers' secrets, by the name of the secret.
    """

    nodes: Mapping[str, Any]
    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret]

    @property
    def variables(self) -> dict[str, str]:
        return {variable: secret.name for secret in self.secrets.values() for variable in secret.variables}

    def schema(self) -> type[StorageConfig]:
        """Return a subclass of `StorageConfig` with a field for each setting that a provider adds."""
        added: list[Any] = []
        for name, default in self.settings.items():
            added.append((name, _type_of(default), field(default_factory=partial(deepcopy, default))))
        return make_dataclass(StorageConfig.__name__, added, bases=(StorageConfig,))

    def node(self) -> DictConfig:
        """Return the node ``storage`` for Hydra's ConfigStore: each setting's type and default, and the providers."""
        from omegaconf import OmegaConf, open_dict

        made = cast("DictConfig", OmegaConf.structured(self.schema()))
        with open_dict(made):
            made.providers = self.nodes
        return made


def take_providers(storage: DictConfig) -> dict[str, Provider]:
    """Remove the providers from the composed node ``storage``; return them by name, with interpolations resolved.

    Raises:
        ConfigError: as `Provider.of`.
        OmegaConfBaseException: a provider refers to a key that does not exist.
    """
    from omegaconf import OmegaConf, open_dict

    nodes = cast(dict[str, Any], OmegaConf.to_container(storage.providers, resolve=True))
    with open_dict(storage):
        del storage["providers"]
    return {name: Provider.of(name, node) for name, node in nodes.items()}


def registry(folders: Iterable[Path]) -> Registry:
    """Read the files ``storage/*.yaml`` in several folders. If two files have the same name, only the first is read.

    Raises:
        ConfigError: a file cannot be read, or the description in it is invalid.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / GROUP).glob("*.yaml")):
            found.setdefault(path.stem, path)
    try:
        return _read(tuple((path, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in found.values()))
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read: {error.strerror}.", fix="Check its permissions."
        ) from error


def unknown(kind: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a storage name that no provider has."""
    return ConfigError(f"Unknown storage {kind!r}.", fix=nearest(kind, list(known)))


def _type_of(default: Any) -> Any:
    """Return the type of a provider's setting, judged by its default. URLs and multiaddrs have types of their own."""
    text = default if isinstance(default, str) else ""
    if text.startswith(("http://", "https://")):
        return Annotated[str, URL]
    return Annotated[str, MULTIADDR] if text.startswith(("/ip4/", "/dns")) else _TYPES.get(type(default), Any)


@cache
def _read(files: tuple[tuple[Path, int, int], ...]) -> Registry:
    """Read the files, given as (path, modification time, size). A changed file is read again despite the cache."""
    providers: dict[str, tuple[Provider, Any]] = {}
    settings: dict[str, Any] = {}
    for path, _, _ in files:
        tree = _tree(path)
        if "providers" not in tree:
            continue  # another preset for a provider that is described in another file
        nodes = tree.pop("providers")
        name = path.stem
        if not isinstance(nodes, dict) or list(nodes) != [name] or tree.get("kind") != name:
            raise ConfigError(
                f"{path} must describe the storage {name!r}, because that is the file's name.",
                fix=f"Write `kind: {name}`, and list only {name} under `providers`.",
            )
        providers[name] = Provider.of(name, nodes[name]), nodes[name]
        own = {key: value for key, value in tree.items() if key not in _COMMON}
        if wrong := [key for key in own if not str(key).isidentifier() or iskeyword(key)]:
            raise ConfigError(
                f"{path}: {wrong[0]!r} is not a valid name for a setting.", fix="Use letters, digits and underscores."
            )
        settings |= {key: value for key, value in own.items() if key not in settings}
    ordered = sorted(providers.items(), key=lambda item: (item[1][0].place, item[0]))
    secrets = {secret.name: secret for _, (provider, _) in ordered for secret in provider.secrets}
    return Registry({name: node for name, (_, node) in ordered}, settings, secrets)


def _tree(path: Path) -> dict[str, Any]:
    from yaml import MarkedYAMLError, YAMLError, safe_load

    try:
        tree = safe_load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        where = f"{path}, line {mark.line + 1}," if mark else f"{path}"
        problem = f": {error.problem}" if isinstance(error, MarkedYAMLError) else ""
        raise ConfigError(f"{where} is not valid YAML{problem}.", fix="Correct the file.") from error
    return tree if isinstance(tree, dict) else {}


def _login(facts: Any) -> tuple[Secret, ...]:
    login = tuple(Secret(name, fact["asks"], tuple(fact.get("variables", ()))) for name, fact in facts.items())
    for secret in login:
        for word in (secret.name, *secret.variables):
            # A training inherits every variable whose name does not look like a secret.
            if not looks_secret(word):
                raise ValueError(
                    f"{word} is a secret, so its name must end in _token or _key, for example {word}_token"
                )
    return login
