"""The reference of events and metrics."""

from __future__ import annotations

import dataclasses
import tempfile
import types
import typing
from collections.abc import Iterable
from pathlib import Path

from generated.markdown import code, summary, table, type_name
from generated.protocol import revision_modules


def _members(of: Iterable[type]) -> str:
    rows = []
    for one in of:
        fields = ", ".join(f"`{entry.name}`: {type_name(entry.type)}" for entry in dataclasses.fields(one))
        rows.append((code(one.__name__), summary(one), fields))
    return table(("event", "meaning", "fields"), rows)


def daemon_events() -> str:
    """Return a table of the daemon's events."""
    from decloud_pl.rounds import events

    return _members(typing.get_args(events.DaemonEvent))


def chain_events() -> str:
    """Return a table of the on-chain program's events for each revision that adds some."""
    from decloud_pl.chain import events

    parts = [_members([one for one in vars(events).values() if _is_event(one, events)])]
    for name, module in revision_modules("events"):
        found = [one for one in vars(module).values() if _is_event(one, module)]
        if found:
            parts.append(f"Revision {name} adds or extends:\n\n{_members(found)}")
    return "\n\n".join(parts)


def _is_event(found: object, module: types.ModuleType) -> bool:
    return isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == module.__name__


def metrics() -> str:
    """Return a table of the metrics of a daemon with at least one of each."""
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
