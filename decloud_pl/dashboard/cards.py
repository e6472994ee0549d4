"""The figures at the top of a page. To add a figure, add a card here and, for a new value, a field in `views`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nicegui import ui

from decloud_pl.dashboard.formats import percent, points, size, sol, span, stamp
from decloud_pl.dashboard.frame import Frame
from decloud_pl.dashboard.tables import Text
from decloud_pl.dashboard.views import OneRound, Overview
from decloud_pl.journal.audits import Audit


@dataclass(frozen=True, slots=True)
class Card:
    """A figure with its name and details.

    ``links`` maps the text of each link to a round state. The link opens the list of the rounds in that state.
    """

    name: str
    value: str
    detail: str = ""
    mood: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


def overview_cards(now: Overview) -> list[Card]:
    daemon, load = now.daemon, now.load
    alive = daemon is not None and daemon.alive
    if daemon is None:
        seen = "never started with this folder"
    else:
        seen = f"since {stamp(daemon.started_at)}" if alive else f"last active {stamp(daemon.heartbeat_at)}"
    heard = f"{span(now.silence)} ago" if alive and now.silence is not None else "–"
    failed = "–" if daemon is None else f"{daemon.rpc_errors} of {daemon.rpc_requests} requests failed"
    machine = f"memory {load.memory_percent:.0f} %, {size(load.disk_free)} free on disk"
    if load.daemon_memory:
        plural = "es" if load.daemon_processes != 1 else ""
        machine += f", daemon {size(load.daemon_memory)} in {load.daemon_processes} process{plural}"
    states = {f"{count} {state}": state for state, count in sorted(now.states.items())}
    return [
        Card("Daemon", "running" if alive else "not running", seen, "good" if alive else "muted"),
        Card("Earned today", sol(now.earned_today), f"{sol(now.earned)} in total"),
        Card("Wallet", sol(daemon.balance if daemon is not None else None), f"fees and deposits {sol(now.spent)}"),
        Card("Last chain contact", heard, failed),
        Card("Rounds", str(sum(now.states.values())), "" if states else "none yet", links=states),
        Card("This machine", f"{load.cpu_percent:.0f} % CPU", machine),
    ]


def round_cards(now: OneRound) -> list[Card]:
    entry, last = now.active.entry, now.active.last
    share = "" if entry.contribution_bps is None else f"share {entry.contribution_bps / 100:g} %, "
    gain = f"gain {points(entry.gain)} points"
    if entry.gain_low is not None and entry.gain_high is not None:
        gain += f"; a validator should measure {points(entry.gain_low)} to {points(entry.gain_high)} (95 %)"
    state = entry.reason or ""
    if entry.state == "training" and last is not None:
        state = f"{last.step}/{last.total_steps} steps"
    accuracy = f"{percent(entry.accuracy_before)} → {percent(entry.accuracy_after)}"
    return [
        Card("State", entry.state, state, f"state-{entry.state}"),
        Card("Reward of the round", sol(entry.reward_amount), f"{share}earned {sol(entry.earned)}"),
        Card("Held-out accuracy", accuracy, gain),
        Card("Time left", span(now.active.seconds_left), f"trained in {span(entry.train_seconds)}"),
        _audit_card(now.audit),
    ]


def _audit_card(audit: Audit | None) -> Card:
    if audit is None:
        return Card("Payment", "not audited", "the daemon audits completed rounds")
    detail = audit.note
    if audit.paid_bps is not None and audit.fair_bps is not None:
        noise = (audit.noise_bps or 0) / 100
        detail = f"paid {audit.paid_bps / 100:g} %, fair {audit.fair_bps / 100:g} % ± {noise:g} %"
    return Card("Payment", audit.verdict, detail, "state-failed" if audit.verdict == "unfair" else "")


class Cards:
    """Draws the cards once, and then updates only the cards that have changed."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._list = ui.element("dl").classes("cards")
        self._shown: list[Card] = []
        self._places: list[tuple[Text, Text]] = []

    def show(self, cards: Sequence[Card]) -> None:
        """Show cards. Every call must pass cards with the same names in the same order."""
        if not self._places:
            self._places = [self._make(card) for card in cards]
        before: Sequence[Card | None] = self._shown or [None] * len(cards)
        for (value, detail), old, card in zip(self._places, before, cards, strict=True):
            if old != card:
                value.text = card.value
                value.classes(replace=card.mood)
                self._explain(detail, card)
        self._shown = list(cards)

    def _make(self, card: Card) -> tuple[Text, Text]:
        with self._list, ui.element("div").classes("card"):
            Text("dt", card.name)
            return Text("dd"), Text("dd").classes("small")

    def _explain(self, place: Text, card: Card) -> None:
        place.text = card.detail
        place.clear()
        with place:
            for index, (words, state) in enumerate(card.links.items()):
                if index:
                    Text("span", ", ")
                ui.link(words, self._frame.link("/rounds", state=state))
