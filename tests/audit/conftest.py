"""Rounds with real models and real updates, and a validator that pays as the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from decloud_pl.audit.look import Auditor
from decloud_pl.build import build
from decloud_pl.config import compose
from decloud_pl.data.source import Source
from decloud_pl.domain import RoundStatus
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.oracle import Oracle, Samples, shares
from decloud_pl.models import package
from decloud_pl.models.make import make_spec
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.train.fit.encoding import encoder_for
from tests.localnet.agents import conftest as agents
from tests.localnet.agents.conftest import RATE, State, Town

town = agents.town

Pay = Callable[[Mapping[str, int]], Mapping[str, int]]
"""Turns the fair shares, by trainer, into those that the validator pays."""


@dataclass(frozen=True)
class Models:
    """A base model of the digits, and updates that were trained from it.

    Attributes:
        base: the model package.
        updates: the files, from the strongest to one that makes the model worse.
        baseline: the score of the base model on the test split, in basis points.
        oracle: scores an update as the network's validator does. It shares no code with the audit.
    """

    base: Path
    updates: tuple[Path, ...]
    baseline: int
    oracle: Oracle

    def shares(self, files: Mapping[str, Path]) -> dict[str, int]:
        """Return the fair shares of updates, by the same names."""

        def correct(path: Path) -> int:
            return self.oracle.with_submission(torch.load(path, weights_only=True), "delta", RATE)

        return shares(self.oracle.baseline(), {name: correct(path) for name, path in files.items()})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, _session_home: None) -> Models:
    """Models that train within a second."""
    folder = tmp_path_factory.mktemp("models")
    spec = make_spec("mlp", {"num_classes": 10, "image_size": 8, "hidden": 48, "layers": 1}, {"size": 8})
    catalog = make_catalog(compose([]))
    source: Source = build(catalog.resolve("digits").node(catalog.data))
    split, encoder = source.load("train"), encoder_for(spec.input)
    rows, labels = encoder.batch(encoder.pack(split)), torch.from_numpy(split.labels)
    torch.manual_seed(5)
    start = spec.network()

    def fit(state: State, steps: int, seed: int, wrong: int = 0) -> State:
        torch.manual_seed(seed)
        network = spec.network()
        network.load_state_dict(state)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
        for _ in range(steps):
            chosen = torch.randint(len(labels), (64,))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(rows[chosen]), (labels[chosen] + wrong) % 10)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return {name: tensor.clone() for name, tensor in network.state_dict().items()}

    base = fit({name: tensor.clone() for name, tensor in start.state_dict().items()}, 8, 1)
    package.save(folder / "base.safetensors", spec, base)
    updates = []
    for number, (steps, wrong) in enumerate([(120, 0), (40, 0), (20, 0), (10, 0), (40, 3)]):
        trained = fit(base, steps, 10 + number, wrong)
        path = folder / f"update-{number}.pt"
        torch.save({name: trained[name] - base[name] for name in base}, path)
        updates.append(path)
    test = Samples.of(source.load("test"), spec.input)
    oracle = Oracle(spec, base, test)
    baseline = round(oracle.baseline() / len(test.labels) * 10_000)
    return Models(folder / "base.safetensors", tuple(updates), baseline, oracle)


async def _unknown() -> bool:
    return False


@dataclass
class Market:
    """A town with a validator that scores with the network's own oracle and then pays as it likes."""

    town: Town
    models: Models
    validators: dict[str, Actor] = field(default_factory=dict)

    def put(self, path: Path) -> str:
        return self.town.network.store.put(path).cid

    async def complete(
        self, updates: Sequence[Path], pay: Pay, *, validator: str = "v", wait: int = 0, trainers: Sequence[Actor] = ()
    ) -> int:
        """Run a round to its end; trainers submit the updates in order, and the validator scores after ``wait`` s."""
        town, dialect = self.town, self.town.dialect
        actor = self.validators.setdefault(validator, town.actor())
        me = actor.wallet.address
        number = await town.post(self.put(self.models.base), reward=10**7)
        await town.send(actor, dialect.claim_round(number, validator=me))
        joined = [*trainers]
        for trainer in joined:
            await town.send(trainer, dialect.join_round(number, trainer=trainer.wallet.address))
        joined += [await town.join(number) for _ in updates[len(joined) :]]
        start = dialect.start_training(number, validator=me, baseline_score=self.models.baseline)
        await town.send(actor, start)
        files = {}
        for trainer, path in zip(joined, updates, strict=True):
            await town.submit(trainer, number, self.put(path))
            files[str(trainer.wallet.address)] = path
        town.clock.advance(wait)
        submitted = [str(entry.trainer) for entry in await town.chain.round_submissions(number)]
        in_order = {name: files[name] for name in submitted}
        paid = pay(self.models.shares(in_order))
        for entry in await town.chain.round_submissions(number):
            if share := paid[str(entry.trainer)]:
                score = dialect.set_contribution(number, validator=me, trainer=entry.trainer, contribution_bps=share)
                await actor.send(score, f"score:{number}:{entry.trainer}", _unknown)
        await town.send(actor, dialect.complete_validation(number, validator=me))
        assert await town.status(number) is RoundStatus.COMPLETED
        return number

    def auditor(self) -> Auditor:
        return Auditor(
            network="net",
            chain=self.town.chain,
            reader=GatewayReader([self.town.network.endpoints.gateway_url]),
            catalog=lambda: make_catalog(compose([])),
            convention=lambda _: "delta",
            gradient_rate=RATE,
            max_bytes=1 << 24,
        )


@pytest.fixture
def market(town: Town, models: Models) -> Market:
    return Market(town, models)
