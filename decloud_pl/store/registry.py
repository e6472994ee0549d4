"""The storage providers there are: what ``conf/storage/NAME.yaml`` says of each, read before any of their code runs.

A provider is one module with a `decloud_pl.store.Store` and one such file, among the built-in ones or in the user's own
``conf/storage``::

    kind: archive
    archive_url: https://archive.example      # a setting of its own, storage.archive_url, of its default's type
    providers:
      archive:
        about: the archive of our group
        store:                                # what is built; it gets `secrets` besides where there are any
          _target_: our_package.archive.ArchiveStore
          url: ${storage.archive_url}
          timeout: ${storage.timeout}
        logins:
          - archive_token: {asks: Token of the archive, variables: [ARCHIVE_TOKEN]}
        asks:
          archive_url: Address of the archive

The facts are in a file and not in the module because config.json and the environment, which may hold a provider's
secrets, are read before it is known which packages the user allows.
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
_RECIPE = "Write it as the recipe in CONTRIBUTING.md says."
_TYPES: Mapping[type, Any] = {bool: bool, int: int, float: float, str: str, list: list[str]}


@dataclass
class StorageConfig:
    """Where finished updates are pinned. Providers add settings of their own; see `Registry.schema`."""

    kind: str = "embedded"
    # Tried in this order when the storage above does not take an update.
    fallback: list[str] = field(default_factory=list)
    # Seconds that a store or a gateway may be silent.
    timeout: Annotated[float, ABOVE_ZERO] = 60.0
    # Seconds that an update may take to become readable through a gateway before the next storage is tried.
    read_back_seconds: Annotated[float, ABOVE_ZERO] = 120.0


_COMMON = ("defaults", *(entry.name for entry in fields(StorageConfig)))
"""What a provider's file may hold besides settings of its own."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of a provider's: its name in config.json, the words that ask for it, and environment variables.

    ``DECLOUD_`` and the name is a variable besides, for every secret.
    """

    name: str
    asks: str
    variables: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """One storage provider.

    Attributes:
        name: what ``storage=`` and ``storage.fallback`` call it, and the name of its stores.
        about: one line about it.
        store: the node that its store is built from.
        serves_others: whether others can fetch what it keeps. A provider for this machine only is refused on a public
            network, unless its own setting ``allow_NAME`` is true.
        logins: secrets that are given together; any one of these groups suffices. The store gets all that are set.
        asks: its own settings that ``setup`` asks for, with the words for each.
        place: in the list of all; the lowest comes first.
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
        """From the node ``storage.providers.NAME``.

        Raises:
            ConfigError: something is missing or is not a fact of a provider's.
        """
        try:
            given = dict(facts)
            logins = tuple(_login(one) for one in given.pop("logins", ()))
            return cls(name, logins=logins, **given)
        except (TypeError, ValueError, AttributeError) as error:
            reason = first_line(error).replace("Provider.__init__() ", "")
            raise ConfigError(f"The storage {name!r} is not described well: {reason}.", fix=_RECIPE) from error

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(secret for login in self.logins for secret in login)


@dataclass(frozen=True, eq=False)
class Registry:
    """The providers that some folders describe.

    ``nodes`` is what the tree holds as ``storage.providers``, unresolved, in the order of the list; ``settings`` are
    the providers' own by name, with their defaults; ``variables`` name the secret of each environment variable.
    """

    nodes: Mapping[str, Any]
    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret]

    @property
    def variables(self) -> dict[str, str]:
        return {variable: secret.name for secret in self.secrets.values() for variable in secret.variables}

    def schema(self) -> type[StorageConfig]:
        """`StorageConfig` with the providers' own settings."""
        added: list[Any] = []
        for name, default in self.settings.items():
            added.append((name, _type_of(default), field(default_factory=partial(deepcopy, default))))
        return make_dataclass(StorageConfig.__name__, added, bases=(StorageConfig,))

    def node(self) -> DictConfig:
        """What Hydra's ConfigStore needs to know of ``storage``: names, types, defaults, and the providers."""
        from omegaconf import OmegaConf, open_dict

        made = cast("DictConfig", OmegaConf.structured(self.schema()))
        with open_dict(made):
            made.providers = self.nodes
        return made


def take_providers(storage: DictConfig) -> dict[str, Provider]:
    """Takes the providers out of the composed ``storage``, with everything in them that refers to settings.

    Raises:
        ConfigError: as `Provider.of`.
        OmegaConfBaseException: one refers to something that is not there.
    """
    from omegaconf import OmegaConf, open_dict

    nodes = cast(dict[str, Any], OmegaConf.to_container(storage.providers, resolve=True))
    with open_dict(storage):
        del storage["providers"]
    return {name: Provider.of(name, node) for name, node in nodes.items()}


def registry(folders: Iterable[Path]) -> Registry:
    """What the group ``storage`` of some folders says; of two files with one name the first counts.

    Raises:
        ConfigError: a file cannot be read, or does not describe its provider as it must.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / GROUP).glob("*.yaml")):
            found.setdefault(path.stem, path)
    try:
        return _read(tuple((path, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in found.values()))
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.", fix="Check its mode.") from error


def unknown(kind: str, known: Iterable[str]) -> ConfigError:
    """The refusal of a storage that nobody provides."""
    return ConfigError(f"There is no storage {kind!r}.", fix=nearest(kind, list(known)))


def _type_of(default: Any) -> Any:
    """The type of a provider's setting: its default's, and what its default is the address of."""
    text = default if isinstance(default, str) else ""
    if text.startswith(("http://", "https://")):
        return Annotated[str, URL]
    return Annotated[str, MULTIADDR] if text.startswith(("/ip4/", "/dns")) else _TYPES.get(type(default), Any)


@cache
def _read(files: tuple[tuple[Path, int, int], ...]) -> Registry:
    """The files' sizes and times are there so that a changed file is read again."""
    providers: dict[str, tuple[Provider, Any]] = {}
    settings: dict[str, Any] = {}
    for path, _, _ in files:
        tree = _tree(path)
        if "providers" not in tree:
            continue  # another choice of settings for a provider that is described elsewhere
        nodes = tree.pop("providers")
        name = path.stem
        if not isinstance(nodes, dict) or list(nodes) != [name] or tree.get("kind") != name:
            raise ConfigError(
                f"{path} describes another storage than its name says.",
                fix=f"Write kind: {name}, and only {name} below providers.",
            )
        providers[name] = Provider.of(name, nodes[name]), nodes[name]
        own = {key: value for key, value in tree.items() if key not in _COMMON}
        if wrong := [key for key in own if not str(key).isidentifier() or iskeyword(key)]:
            raise ConfigError(f"{path}: {wrong[0]!r} cannot be a setting.", fix="Use letters, digits and underscores.")
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
        raise ConfigError(f"{where} is not YAML.", fix="Correct the file.") from error
    return tree if isinstance(tree, dict) else {}


def _login(facts: Any) -> tuple[Secret, ...]:
    login = tuple(Secret(name, fact["asks"], tuple(fact.get("variables", ()))) for name, fact in facts.items())
    for secret in login:
        for word in (secret.name, *secret.variables):
            # Trainings run without any variable that looks like a secret; another one they would inherit.
            if not looks_secret(word):
                raise ValueError(f"the secret {word} needs a name like {word}_token or {word}_key")
    return login
