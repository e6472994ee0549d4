"""The reference, made from the code while the site is built, so that it says what the program does.

A page holds a line ``<!-- generated: NAME -->``. In its place comes what the function of that name returns, in the
page's own markup. What the code does not describe is an error here, so that nothing is documented by its name alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sqlite3
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PAGES = {
    "reference/commands": ("commands",),
    "reference/settings": ("settings",),
    "reference/groups": ("groups",),
    "reference/exit-codes": ("exit_codes",),
    "reference/events": ("daemon_events", "chain_events"),
    "reference/metrics": ("metrics",),
    "reference/journal": ("states", "journal"),
    "reference/results": ("result",),
    "explanation/protocol": ("revisions", "program_errors"),
}
"""Each page with what is generated in it. Another page holds none."""

_MARK = re.compile(r"^(?:<!-- generated: (\w+) -->|\.\. generated: (\w+))$", re.MULTILINE)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(value: object) -> str:
    """Text as code in Markdown; none where there is none."""
    return f"`{value}`" if str(value) else ""


def prose(text: str) -> str:
    """A docstring's words in Markdown: a name in its single backticks is code as it is."""
    return " ".join(text.replace("``", "`").split())


def summary(of: object) -> str:
    """The first paragraph of a docstring."""
    text = getattr(of, "__doc__", "") or ""
    found = prose(text.strip().partition("\n\n")[0])
    if not found or found.startswith(f"{getattr(of, '__name__', '')}("):  # what dataclass writes by itself
        raise ValueError(f"{of} has no docstring.")
    return found


def attributes(of: type) -> dict[str, str]:
    """What a docstring says under ``Attributes:``, by name."""
    _, _, section = (of.__doc__ or "").partition("Attributes:\n")
    section = section.partition("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if entry := re.match(r" {8}(\w+): (.*)", line):
            name = entry[1]
            found[name] = entry[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: prose(text) for name, text in found.items()}


# Settings -------------------------------------------------------------------------------------------------------------


def comments(path: Path) -> tuple[str, dict[str, str]]:
    """What a file of ``conf/`` says of itself in its first lines, and of each key, by its place in the file.

    A comment is about the key right below it.
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
    """What each setting does, by its place in the tree: the comment of ``conf/``, or what is written below."""
    from decloud_pl.config.names import groups, leaves
    from decloud_pl.config_dir import config_dir

    folder = config_dir()
    found = {place: text for place, text in comments(folder / "config.yaml")[1].items() if text}
    for group in groups():
        for file in sorted((folder / group).glob("*.yaml")):
            own = comments(file)[1].items()
            found = {f"{group}.{place}": text for place, text in own if text} | found
    if unknown := _ABOUT.keys() - leaves().keys():
        raise ValueError(f"There are no such settings: {unknown}.")
    return found | _ABOUT


_ABOUT = {
    "auto_claim": "Whether the daemon claims rewards. Without it `decloud-trainer claim` does.",
    "auto_train": "Whether the daemon trains the rounds that it joins. Without it `decloud-trainer train` does.",
    "base_model": "The model that an experiment begins with: a model package or a state dict. Empty: `model`, fresh.",
    "batch_size": "Samples of a step, of all devices and machines together.",
    "chain.max_compute_units": "The compute units that one transaction may ask for.",
    "chain.max_priority_lamports": "Lamports that one transaction may pay for priority.",
    "daemon.ray.connect_seconds": "Seconds after which a cluster that does not answer counts as out of reach.",
    "daemon.ray.cpus": "CPUs that a training takes of its machine, and its number of threads.",
    "daemon.ray.gpus": "GPUs that a training takes of its machine; 0.5 shares one.",
    "daemon.ray.wait_seconds": "Seconds after which a cluster without room counts as full.",
    "data.download": "Whether files that are missing are downloaded.",
    "data.folder": "The folder of the data sets.",
    "data.mirror": "A base URL that has the publishers' files as `{mirror}/{data set}/{file}`. Empty: the publishers.",
    "epochs": "Epochs of a training.",
    "fit.compile": "Whether the network runs through `torch.compile`. It pays on a GPU and for long trainings only.",
    "fit.data_memory_mb": "A data set that takes more megabytes than this is streamed instead of kept in memory.",
    "fit.data_workers": "Processes that stream a data set.",
    "home": "The folder of the journal, the rounds, the data sets and the embedded store. The environment sets it.",
    "learning_rate": "The optimizer's learning rate.",
    "max_batches": "Batches of an epoch; 0 means all.",
    "max_concurrent_rounds": "The rounds that may be joined, trained and submitted at a time.",
    "metrics.host": "The address on which `/metrics` and `/healthz` are served.",
    "metrics.port": "The port on which they are served; 0 means off.",
    "network.faucet": "Whether the daemon may ask the network for SOL. The local network gives it away.",
    "network.gateways": "IPFS gateways, tried in this order, from which models are fetched and updates are read back.",
    "network.gradient_rate": "η of the convention `gradient`.",
    "network.mappings": "What a data set's name means on this network. `mappings` counts more.",
    "network.name": "The name in messages.",
    "network.program_id": "The program's address.",
    "network.referrer": "From v1.1 on: who receives half of the treasury's fee. Empty: nobody.",
    "network.rpc_url": "The RPC endpoint.",
    "network.treasury": "From v1.1 on: who takes 2 % of each payment. Empty: the public program's treasury.",
    "network.ws_url": "The WebSocket endpoint. Empty: the RPC endpoint's host, one port up.",
    "notify.earned": "Whether a claimed reward is worth a message.",
    "notify.failed": "Whether a failed round is worth a message.",
    "rewards.max": "The most SOL that a round may offer; 0 means no limit.",
    "rewards.min": "The least SOL that a round must offer.",
    "rewards.sol_per_kwh": "SOL that a kilowatt-hour costs.",
    "rewards.watts": "Watts that this machine draws while it trains.",
    "round": "The round of `task=round`.",
    "seed": "Of the order of the batches and of fresh weights.",
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
    "wallet.kind": "The old way to choose the wallet; it counts where it is set.",
}
"""For settings whose comment in ``conf/`` is about several of them, or that have none."""


def _defaults() -> dict[str, Any]:
    """The value of each leaf where nothing is set."""
    from decloud_pl.config import Tree, compose
    from decloud_pl.config.layers import leaves_of

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
    """The words for the values that each setting takes, by its place."""
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
    """Every setting, in sections by the first word of its name."""
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
            about = f"{about} It counts for one run and is not kept.".strip()
        if not about:
            raise ValueError(f"{setting.path} has no comment in conf/ and no line in _ABOUT.")
        sections.setdefault("general" if top == "allow_packages" else top, []).append(
            ("<br>".join(filter(None, [f"`{setting.name}`{other}", *map(code, names)])), about, type_text, default_text)
        )
    parts = []
    first = ["general", "groups", "secrets"]
    for top in [*first, *sorted(sections.keys() - {*first})]:
        hint = hints.get(top)
        about = summary(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else _SECTIONS[top]
        parts.append(f"## {top}\n\n{about}\n\n" + table(_SETTING_HEADINGS, sections[top]))
    return "\n".join(parts)


_SECTIONS = {
    "general": "Of the daemon and of trainings.",
    "groups": "A group's choice is a file of `conf/GROUP/`, or of `conf/GROUP/` in your home folder.",
    "secrets": "A secret is never given on the command line and is never printed: `config --set NAME=-` asks for it.",
}
_SETTING_HEADINGS = ("setting, and its variables", "what it does", "values", "default")
_SECRETS = {
    "private_key": "The wallet's key: base58, or the JSON array of a key file.",
    "notify_urls": "Where messages go: addresses of Apprise, separated by commas.",
}
_ONE_RUN = ("home", "task", "round", "base_model", "experiment")


def _chosen(group: str) -> str:
    """The choice that config.yaml makes."""
    from yaml import safe_load

    from decloud_pl.config_dir import config_dir

    defaults = safe_load((config_dir() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return next((str(entry[group]) for entry in defaults if isinstance(entry, dict) and group in entry), "none")


def groups() -> str:
    """Every group of ``conf/`` with its choices: what each is, and its file."""
    from decloud_pl.config_dir import config_dir

    folder = config_dir()
    parts = []
    for path in sorted(one for one in folder.iterdir() if one.is_dir()):
        group = path.name
        if group not in _GROUPS:
            raise ValueError(f"The group {group} has no description in docs/_ext/generated.py.")
        parts.append(f"## {group}\n\n{_GROUPS[group]} By default `{group}={_chosen(group)}`.\n")
        for file in sorted(path.glob("*.yaml")):
            about = comments(file)[0]
            text = file.read_text(encoding="utf-8").rstrip()
            parts.append(f"### {group}={file.stem}\n\n{prose(about)}\n\n```yaml\n{text}\n```\n")
    return "\n".join(parts)


_GROUPS = {
    "callbacks": "Callbacks of the training, besides those of the round. Several: `callbacks=[ema,early_stopping]`.",
    "datamodule": "What makes batches of the data set.",
    "dataset": "The data set of an experiment, and what a round's name means.",
    "experiment": "Settings of a whole experiment.",
    "fit": "How a training uses this machine.",
    "logger": "Where metrics go besides the report folder of the round.",
    "model": "The model of an experiment that begins with fresh weights.",
    "module": "What trains the network.",
    "network": "The chain, the program on it and the gateways.",
    "optimizer": "What changes the weights.",
    "preset": "A filter for rounds. config.json counts more.",
    "rewards": "Which rewards are worth a round.",
    "scheduler": "How the learning rate changes during a training.",
    "storage": "Where updates are pinned.",
    "sweep": "A set of experiments.",
    "trainer": "The arguments of Lightning's Trainer.",
    "tune": "A search for the learning rate and the epochs before a training.",
    "update": "How an update is written, and when it is submitted.",
    "wallet": "Where the key comes from.",
}


# Commands -------------------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section of sphinx-click's for each command."""
    from decloud_pl.cli import NAME, Program

    parts = []
    for name in sorted(Program().commands):
        module = f"decloud_pl.cli.commands.{name.replace('-', '_')}"
        importlib.import_module(module)
        parts.append(f".. click:: {module}:run\n   :prog: {NAME} {name}\n   :nested: full\n")
    return "\n".join(parts)


def _literal_examples(app: Sphinx, context: object, lines: list[str]) -> None:  # noqa: ARG001 - an event's signature
    """Shows the examples at the end of a command's help as they are written."""
    if lines and lines[0].startswith("Examples:"):
        lines[:] = [".. rubric:: Examples", "", "::", "", *(f"   {line.strip()}" for line in lines[1:]), ""]


def exit_codes() -> str:
    """Every exit code, with the errors that lead to it."""
    from decloud_pl.cli import exit_codes as cli
    from decloud_pl.errors import DecloudError

    rows: dict[int, tuple[str, str]] = {
        0: ("", "The command did what it was asked for."),
        1: ("", "An unexpected failure: a defect of the program."),
        cli.EXIT_UNWELL: ("", "`doctor` found something that needs you."),
        cli.EXIT_INTERRUPTED: ("", "Ctrl-C."),
    }
    for error in _with_subclasses(DecloudError):
        if error is not DecloudError and "exit_code" in vars(error):
            family = [one for one in _with_subclasses(error) if one.exit_code == error.exit_code]
            names = ", ".join(code(one.__name__) for one in family)
            rows.setdefault(error.exit_code, (names, summary(error)))
    return table(("code", "meaning", "errors"), ((str(one), text, name) for one, (name, text) in sorted(rows.items())))


def _with_subclasses(of: type) -> Iterator[Any]:
    yield of
    for one in of.__subclasses__():
        yield from _with_subclasses(one)


# Events, metrics ------------------------------------------------------------------------------------------------------


def _members(of: Iterable[type]) -> str:
    rows = []
    for one in of:
        fields = ", ".join(f"`{entry.name}`: {_type(entry.type)}" for entry in dataclasses.fields(one))
        rows.append((code(one.__name__), summary(one), fields))
    return table(("event", "meaning", "fields"), rows)


def _type(hint: object) -> str:
    return str(hint if isinstance(hint, str) else getattr(hint, "__name__", hint))


def daemon_events() -> str:
    """What the daemon reports to whoever watches it."""
    from decloud_pl.rounds import events

    return _members(typing.get_args(events.DaemonEvent))


def chain_events() -> str:
    """What the program says of a round, for each revision that adds something."""
    from decloud_pl.chain import events

    parts = [_members([one for one in vars(events).values() if _is_event(one, events)])]
    for name, module in _revision_modules("events"):
        found = [one for one in vars(module).values() if _is_event(one, module)]
        if found:
            parts.append(f"Revision {name} adds or extends:\n\n{_members(found)}")
    return "\n\n".join(parts)


def _is_event(found: object, module: types.ModuleType) -> bool:
    return isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == module.__name__


def _revision_modules(name: str) -> Iterator[tuple[str, types.ModuleType]]:
    from decloud_pl.chain.dialects import names

    for revision in names():
        folder = revision.replace(".", "_")
        yield revision, importlib.import_module(f"decloud_pl.chain.dialects.{folder}.{name}")


def metrics() -> str:
    """What a daemon exposes that has had one of everything."""
    from prometheus_client.parser import text_string_to_metric_families

    from decloud_pl.chain.endpoints import RpcHealth
    from decloud_pl.journal.owner import Owner
    from decloud_pl.journal.record import RoundRecord, State
    from decloud_pl.journal.schema import JOURNAL_FILE
    from decloud_pl.journal.writer import Journal
    from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
    from decloud_pl.observers.prometheus import exposition
    from decloud_pl.observers.reports import METRICS_FILE, REPORTS_FOLDER
    from decloud_pl.rounds.events import Connected, Skipped

    owner = Owner("genesis", "program", "wallet")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        journal = Journal(home / JOURNAL_FILE, owner)
        journal.save(RoundRecord(0, State.TRAINING, "custom", "digits", "cid", 10))
        health = RpcHealth(requests=1, errors=0, heard_at=1.0)
        activity = Activity(home / ACTIVITY_FILE, owner=owner, facts={"convention": "delta"}, health=health)
        activity.report(Connected("wallet", 1))
        activity.report(Skipped(1, "a reason"))
        activity.heartbeat()
        report = home / REPORTS_FOLDER / owner.folder / "0"
        report.mkdir(parents=True)
        row = "time,stage,epoch,step,total_steps,loss,accuracy\n1,fit,0,1,4,0.5,\n"
        (report / METRICS_FILE).write_text(row, encoding="utf-8")
        families = list(text_string_to_metric_families(exposition(home).decode()))
        journal.close()
        activity.close()
    rows = []
    for family in families:
        (first, *_) = family.samples
        labels = " ".join(code(one) for one in first.labels)
        rows.append((code(first.name), family.documentation, family.type, labels))
    return table(("metric", "meaning", "type", "labels"), rows)


# Journal, results -----------------------------------------------------------------------------------------------------

_WHOSE = {
    "network": "The chain's genesis hash.",
    "program_id": "The program, base58.",
    "wallet": "The wallet's address, base58.",
    "round_id": "The round on chain.",
}
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "transitions": {
        "at": "Unix seconds.",
        "state": "The state that the round entered.",
        "reason": "Why, for people.",
    },
    "transactions": {
        "key": "What it is for, for example `join:42`: a step is not sent twice.",
        "signature": "The transaction's.",
        "blockhash": "The block that it refers to.",
        "last_valid_block_height": "After this block it can no longer land.",
        "wire": "The signed bytes, which may be sent again.",
        "outcome": "Whether it landed.",
        "fee": "Lamports.",
        "deposit": "Lamports of the rent of an account that it made.",
        "recorded_at": "Unix seconds.",
    },
    "uploads": {
        "store": "The storage.",
        "update_cid": "CID of the update on disk.",
        "state": "How far the upload is.",
        "cid": "The CID that the storage gave.",
    },
    "revisions": {
        "name": "The revision of the program that was found.",
        "evidence": "What shows it.",
        "at": "Unix seconds.",
    },
    "readings": {
        "validator": "Who scored the round, base58.",
        "convention": "How it read the updates; empty where the shares do not tell.",
        "note": "Why they do not tell, or by how much one convention fits better.",
        "at": "Unix seconds.",
    },
}
"""The columns that are no `RoundRecord`'s."""


def journal() -> str:
    """Every table of the journal with its columns."""
    from decloud_pl.journal.record import RoundRecord
    from decloud_pl.journal.schema import open_to_read

    db = open_to_read(Path("no-journal-here"))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    parts = [f"### {name}\n\n{table(('column', 'meaning'), _columns(db, name, RoundRecord))}" for name in tables]
    db.close()
    return "\n".join(parts)


def _columns(db: sqlite3.Connection, name: str, record: type) -> Iterator[tuple[str, str]]:
    known = {**_WHOSE, **(attributes(record) if name == "rounds" else _COLUMNS[name])}
    for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (name,)):
        yield code(column), known[column]


def states() -> str:
    """Every state of a round."""
    from decloud_pl.journal.record import State

    if missing := {state.value for state in State} ^ _STATES.keys():
        raise ValueError(f"These states are described, or there, alone: {missing}.")
    return table(
        ("state", "meaning", "final", "counts against `max_concurrent_rounds`"),
        (
            (code(state.value), _STATES[state.value], "yes" if state.is_final else "", "yes" * state.occupies_slot)
            for state in State
        ),
    )


_STATES = {
    "seen": "The round fits; nothing has been sent for it.",
    "joining": "The transaction that joins is being sent.",
    "waiting": "Joined. The validator has not started the training.",
    "overdue": "Joined, and the validator has not started the training by the join deadline.",
    "training": "The training runs, or waits for its next attempt.",
    "withheld": "The update is finished and was not published, because it is not expected to gain.",
    "publishing": "The update is being pinned and read back.",
    "submitting": "The transaction that submits the CID is being sent.",
    "submitted": "The CID is on chain. The validator has not completed the round.",
    "claiming": "The transaction that claims the reward is being sent.",
    "claimed": "The reward is in the wallet.",
    "unrewarded": "The round is completed, and this update's share is nothing.",
    "missed": "A deadline passed.",
    "expired": "The program ended the round for want of a validator, of trainers or of submissions.",
    "cancelled": "The creator cancelled the round.",
    "aborted": "The validator gave the round up (v1.2).",
    "failed": "The round cannot be finished by this trainer.",
}


def result() -> str:
    """Every key of an experiment's ``result.json``."""
    from decloud_pl.experiment.results import Result

    known = attributes(Result) | {
        "gain": summary(Result.gain),
        "format": "The version of this document.",
    }
    keys = [entry.name for entry in dataclasses.fields(Result)]
    types_ = {entry.name: _type(entry.type) for entry in dataclasses.fields(Result)}
    rows = [(code(key), known[key], code(types_.get(key, "float | None"))) for key in [*keys, "gain"]]
    return table(("key", "meaning", "type"), rows)


# The protocol's revisions ---------------------------------------------------------------------------------------------


def revisions() -> str:
    """Each revision that the program knows."""
    from decloud_pl.chain.dialects import get_dialect, names

    rows = []
    for name in names():
        dialect = get_dialect(name)
        rows.append((name, dialect.reading.convention, str(len(dialect.datasets))))
    return table(("revision", "how its public validator reads updates", "data set names"), rows)


def program_errors() -> str:
    """Each error code of the program, with the revision that adds it."""
    rows: dict[int, tuple[str, str, str]] = {}
    for revision, module in _revision_modules("errors"):
        for one, meaning in module.MEANINGS.items():
            rows.setdefault(int(one), (code(one.name), f"{meaning[:1].upper()}{meaning[1:]}.", revision))
    return table(("code", "name", "meaning", "since"), ((str(one), *row) for one, row in sorted(rows.items())))


# Sphinx ---------------------------------------------------------------------------------------------------------------


def filled(text: str) -> str:
    """A page's source with what is generated in place of its marks."""
    return _MARK.sub(lambda mark: _made()[mark[1] or mark[2]](), text)


def _made() -> Mapping[str, Callable[[], str]]:
    return {name: globals()[name] for names in PAGES.values() for name in names}


def _read(app: Sphinx, docname: str, source: list[str]) -> None:  # noqa: ARG001 - an event's signature
    wanted = list(PAGES.get(docname, ()))
    found = [mark[1] or mark[2] for mark in _MARK.finditer(source[0])]
    if found != wanted:
        raise ValueError(f"{docname} has marks for {found}, not for {wanted}.")
    if wanted:
        source[0] = filled(source[0])


def _outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:  # noqa: ARG001
    return [page for page in PAGES if page in env.found_docs]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    app.connect("sphinx-click-process-epilog", _literal_examples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
