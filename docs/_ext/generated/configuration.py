"""The reference of settings and groups, from `conf/` and the schema."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Annotated, Any

from generated.markdown import code, prose, summary, table


def comments(path: Path) -> tuple[str, dict[str, str]]:
    """Return the comment at the top of a file of ``conf/``, and the comments above its keys, by the key's place.

    A comment describes the key directly below it.
    """
    about: list[str] = []
    found: dict[str, str] = {}
    waiting: list[str] = []
    above: list[tuple[int, str]] = []
    is_head = True
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("#"):
            if not text.startswith("# @package"):
                (about if is_head else waiting).append(text.lstrip("# "))
            continue
        is_head = False
        entry = re.match(r"( *)([\w]+):", line)
        if not entry:
            waiting = []
            continue
        depth = len(entry[1])
        above = [one for one in above if one[0] < depth]
        place = ".".join([*(name for _, name in above), entry[2]])
        found[place] = " ".join(waiting)
        waiting = []
        above.append((depth, entry[2]))
    return " ".join(about), found


def _described() -> dict[str, str]:
    """Return each setting's description by its place in the tree: from the comments of ``conf/``, or from `_ABOUT`."""
    from decloud_pl.config.names import groups, leaves
    from decloud_pl.config_dir import config_dir

    folder = config_dir()
    found = {place: text for place, text in comments(folder / "config.yaml")[1].items() if text}
    for group in groups():
        for file in sorted((folder / group).glob("*.yaml")):
            own = comments(file)[1].items()
            found = {f"{group}.{place}": text for place, text in own if text} | found
    if unknown := _ABOUT.keys() - leaves().keys():
        raise ValueError(f"Unknown settings: {unknown}.")
    return found | _ABOUT


_ABOUT = {
    "auto_claim": "Whether the daemon claims rewards. Otherwise use `decloud-trainer claim`.",
    "auto_train": "Whether the daemon trains the rounds that it joins. Otherwise use `decloud-trainer train`.",
    "base_model": "An experiment's base model: a model package or a state dict. Empty: `model` with fresh weights.",
    "batch_size": "Samples per step, summed over all devices and machines.",
    "chain.max_compute_units": "The most compute units that one transaction may request.",
    "chain.max_priority_lamports": "The highest priority fee of one transaction, in lamports.",
    "daemon.ray.connect_seconds": "Seconds to wait for an answer of the cluster.",
    "daemon.ray.cpus": "CPUs of the machine for each training, and its number of threads.",
    "daemon.ray.gpus": "GPUs of the machine for each training; with 0.5, two trainings share one.",
    "daemon.ray.wait_seconds": "Seconds to wait for free CPUs and GPUs of the cluster.",
    "data.download": "Whether the program downloads missing files.",
    "data.folder": "The folder of the data sets.",
    "data.mirror": "A base URL that has the publishers' files as `{mirror}/{data set}/{file}`. Empty: the publishers.",
    "epochs": "Epochs of a training.",
    "fit.compile": "Whether to use `torch.compile`. It saves time only on a GPU and in long trainings.",
    "fit.data_memory_mb": "The program streams data sets that take more megabytes than this in memory. It joins no "
    "round if the held-out part takes more than this, and more than 2048, as input of the base model.",
    "fit.data_workers": "Processes that stream a data set.",
    "home": "The folder of the journal, the rounds, the data sets and the embedded store. Set it with `DECLOUD_HOME`.",
    "learning_rate": "The optimizer's learning rate.",
    "max_batches": "Batches of an epoch; 0 means all.",
    "max_concurrent_rounds": "The most rounds that the daemon joins, trains and submits at the same time.",
    "metrics.host": "The address of `/metrics` and `/healthz`.",
    "metrics.port": "The port of `/metrics` and `/healthz`; 0 means off.",
    "network.faucet": "Whether the daemon may request SOL from the network, as on the local network.",
    "network.gateways": "IPFS gateways to fetch models from and to read updates back from, in this order.",
    "network.gradient_rate": "η of the convention `gradient`.",
    "network.mappings": "The data sets for rounds' data set names on this network. `mappings` takes precedence.",
    "network.name": "The network's name in messages.",
    "network.program_id": "The program's address.",
    "network.referrer": "From v1.1 on: the address that receives half of the treasury's fee. Empty: none.",
    "network.rpc_url": "The RPC endpoint.",
    "network.treasury": "From v1.1 on: the address that receives 2 % of each payment. Empty: the public treasury.",
    "network.ws_url": "The WebSocket endpoint. Empty: the RPC endpoint's address; for HOST:PORT alone, its port + 1.",
    "notify.earned": "Whether to send a message for a claimed reward.",
    "notify.failed": "Whether to send a message for a failed round.",
    "rewards.max": "The most SOL that a round may offer; 0 means no limit.",
    "rewards.min": "The least SOL that a round must offer.",
    "rewards.sol_per_kwh": "The price of a kilowatt-hour in SOL.",
    "rewards.watts": "The power in watts that this machine uses while it trains.",
    "round": "The round of `task=round`.",
    "seed": "The random seed for the order of the batches and for fresh weights.",
    "storage.kind": "The provider. The choice of the group sets it.",
    "storage.path": "The folder of the embedded store.",
    "storage.pinata_api_url": "Pinata's API.",
    "storage.pinata_upload_url": "Pinata's API for uploads.",
    "task": "`daemon` finds and works on rounds. `round` works on one round. `experiment` trains without a chain.",
    "tune.max_seconds": "The most seconds that the search may take.",
    "tune.method": "`none`, or `probe` for a search. The choice of the group sets it.",
    "tune.share": "Share of the time until the deadline that the search may take.",
    "update.dtype": "The type of an update's entries. Half the size costs no measurable accuracy.",
    "wallet.keypair_path": "The key file.",
    "wallet.kind": "The old way to choose the wallet; it takes precedence over the group `wallet`.",
}
"""Descriptions of settings that share a comment in ``conf/`` or have none."""


def _defaults() -> dict[str, Any]:
    """Return the default of each leaf."""
    from decloud_pl.config import Tree, compose
    from decloud_pl.config.group_files import leaves_of

    settings = compose()
    return dict(leaves_of({entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(Tree)}))


def _shown(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, float):
        return code(f"{value:g}")
    if isinstance(value, (list, tuple)):
        return code(f"[{', '.join(f'{one:g}' if isinstance(one, float) else str(one) for one in value)}]")
    if isinstance(value, dict):
        return code("{" + ", ".join(f"{key}: {one}" for key, one in value.items()) + "}")
    return code(value)


def _ranges() -> dict[str, list[str]]:
    """Return the description of each setting's valid values, by its place."""
    from decloud_pl.config.names import storages
    from decloud_pl.config.schema import Tree

    found: dict[str, list[str]] = {}

    def walk(node: type, above: str) -> None:
        for name, hint in typing.get_type_hints(node, include_extras=True).items():
            place = f"{above}{name}"
            if typing.get_origin(hint) is Annotated:
                found[place] = [one.words for one in typing.get_args(hint)[1:]]
            inner = hint if isinstance(hint, type) else None
            if inner is not None and dataclasses.is_dataclass(inner):
                walk(inner, f"{place}.")

    walk(Tree, "")
    walk(storages(None).schema(), "storage.")
    return found


def settings() -> str:
    """Return every setting, in sections by the first word of its name."""
    from decloud_pl.config.layers import variable_of
    from decloud_pl.config.names import ALIASES, KINDS, leaves, settings_by_name, storages
    from decloud_pl.config.schema import Tree

    described, defaults, ranges = _described(), _defaults(), _ranges()
    hints = typing.get_type_hints(Tree)
    registry = storages(None)
    variables: dict[str, list[str]] = {}
    for variable, secret in registry.variables.items():
        variables.setdefault(secret, []).append(variable)
    kept = settings_by_name()
    every = {**kept, **{place: one for place, one in leaves().items() if one.name not in kept}}
    sections: dict[str, list[tuple[str, ...]]] = {}
    for setting in every.values():
        top, _, _ = setting.path.partition(".")
        kind = KINDS[setting.kind][0]
        words = ranges.get(setting.path, [])
        default = defaults.get(setting.path)
        about = described.get(setting.path, "")
        if setting.kind == "secret":
            top, about = "secrets", _SECRETS.get(setting.name) or f"{registry.secrets[setting.name].asks}."
        elif setting.kind == "choice":
            top, default = "groups", _chosen(setting.path)
            about = f"{_GROUPS[setting.path]} [Its choices](groups.md#{setting.path})."
        elif setting.path == "allow_packages":
            about, default = "Packages of your own that the configuration may name.", []
        elif "." not in setting.path:
            top = "general"
        default_text = _shown(default)
        if setting.path in ALIASES:
            default_text = f"that of `{ALIASES[setting.path]}`"
        environment = variable_of(setting.name) if setting.name in kept else ""
        names = [environment, *variables.get(setting.name, [])]
        other = "" if setting.path == setting.name or setting.kind == "secret" else f" (also `{setting.path}`)"
        type_text = kind if not words else f"{kind}: {', '.join(words)}" if kind not in words else kind
        if setting.path in _ONE_RUN:
            about = f"{about} It applies to one run and cannot be saved.".strip()
        if not about:
            raise ValueError(f"{setting.path} has no comment in conf/ and no line in _ABOUT.")
        sections.setdefault("general" if top == "allow_packages" else top, []).append(
            (
                "<br>".join(filter(None, [f"`{setting.name}`{other}", *map(code, names)])),
                about,
                "<br>".join(filter(None, [default_text, type_text])),
            )
        )
    parts = []
    first = ["general", "groups", "secrets"]
    for top in [*first, *sorted(sections.keys() - {*first})]:
        hint = hints.get(top)
        about = summary(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else _SECTIONS[top]
        parts.append(f"## {top}\n\n{about}\n\n" + table(_SETTING_HEADINGS, sections[top]))
    return "\n".join(parts)


_SECTIONS = {
    "general": "Settings of the daemon and of trainings.",
    "groups": "A choice of a group is a file in `conf/GROUP/` of the package or of your home folder.",
    "secrets": "`config --set NAME=-` prompts for a secret. The program never prints it and refuses it as an override.",
}
_SETTING_HEADINGS = ("setting, and its variables", "what it does", "default and values")
_SECRETS = {
    "private_key": "The wallet's key: base58, or the JSON array of a key file.",
    "notify_urls": "Apprise addresses that receive messages, separated by commas.",
}
_ONE_RUN = ("home", "task", "round", "base_model", "experiment")


def _chosen(group: str) -> str:
    """Return the choice in config.yaml."""
    from yaml import safe_load

    from decloud_pl.config_dir import config_dir

    defaults = safe_load((config_dir() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return next((str(entry[group]) for entry in defaults if isinstance(entry, dict) and group in entry), "none")


def groups() -> str:
    """Return every group of ``conf/`` with its choices and their files."""
    from decloud_pl.config_dir import config_dir

    folders = {path.name: path for path in sorted(config_dir().iterdir()) if path.is_dir()}
    if wrong := folders.keys() ^ _GROUPS.keys():
        raise ValueError(f"_GROUPS in {Path(__file__).name} does not fit conf/: {wrong}.")
    parts = []
    for group, path in folders.items():
        parts.append(f"## {group}\n\n{_GROUPS[group]} By default `{group}={_chosen(group)}`.\n")
        for file in sorted(path.glob("*.yaml")):
            about = comments(file)[0]
            text = file.read_text(encoding="utf-8").rstrip()
            parts.append(f"### {group}={file.stem}\n\n{prose(about)}\n\n```yaml\n{text}\n```\n")
    return "\n".join(parts)


_GROUPS = {
    "callbacks": "Callbacks of the training, besides those of the round. Several: `callbacks=[ema,early_stopping]`.",
    "datamodule": "The data module, which makes batches of the data set.",
    "dataset": "The data sets for experiments and rounds.",
    "experiment": "Settings of a whole experiment.",
    "fit": "How a training uses this machine.",
    "logger": "A logger for metrics, in addition to the round's report folder.",
    "model": "The model of an experiment that begins with fresh weights.",
    "module": "The LightningModule that trains the network.",
    "network": "The chain, the program on it and the gateways.",
    "optimizer": "The optimizer of the weights.",
    "preset": "A filter for rounds. config.json takes precedence.",
    "recipe": "Values of a training that belong together. `auto` chooses one for the time until the deadline.",
    "rewards": "The rewards of the rounds to join.",
    "scheduler": "How the learning rate changes during a training.",
    "storage": "The storage that publishes updates.",
    "sweep": "A set of experiments.",
    "trainer": "The arguments of Lightning's Trainer.",
    "tune": "A search for the learning rate and the epochs before a training.",
    "update": "The form of an update, and the conditions to submit it.",
    "wallet": "The source of the key.",
}
