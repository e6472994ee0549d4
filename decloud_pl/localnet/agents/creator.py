"""The creator: posts rounds, and takes back the rewards of rounds that expire."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from decloud_pl.domain import RoundStatus
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.localnet.agents.offers import Offer
from decloud_pl.store.embedded import EmbeddedStore

_COSTS = 1_000_000_000
"""In lamports. More than the rent and the fees of a round."""

MODEL_FORMATS = ("state_dict", "package")
"""The format of the public creators, and this project's own format. Rounds alternate between them."""


@dataclass
class Creator:
    """Keeps ``open_rounds`` rounds open until it has posted ``limit`` rounds (0 for no limit).

    Attributes:
        models: folder of the base models; each base model is created once.
        reward: lamports per round.
        offers: the kinds of rounds to post, in rotation.
        posted: the IDs of the rounds posted since the start of the local network. An upgrade of the program replaces
            the creator. The new creator gets the same set, so the earlier rounds count towards ``limit``.
    """

    actor: Actor
    store: EmbeddedStore
    bench: Bench
    models: Path
    reward: int
    offers: tuple[Offer, ...]
    open_rounds: int = 1
    limit: int = 0
    posted: set[int] = field(default_factory=set)

    async def step(self) -> None:
        chain, me = self.actor.chain, self.actor.wallet.address
        mine = [round_ for round_ in await chain.rounds() if round_.creator == me]
        unfinished = [round_ for round_ in mine if round_.status not in self.actor.dialect.final_statuses]
        now = await chain.rpc.clock()
        for round_ in unfinished:
            await self.actor.check_if_overdue(round_, now)
        # The validator never completes a round without a valid submission. Such a round must not block the next one.
        going_on = [it for it in unfinished if it.status is not RoundStatus.VALIDATING or now <= it.submit_deadline]
        if len(going_on) < self.open_rounds and (not self.limit or len(self.posted) < self.limit):
            await self._post()

    async def _post(self) -> None:
        me = self.actor.wallet.address
        counter = await self.actor.chain.counter()
        round_id = 0 if counter is None else counter.count
        turn, place = divmod(round_id, len(self.offers))
        offer = self.offers[place]
        model_cid = await self._model_cid(offer, MODEL_FORMATS[turn % len(MODEL_FORMATS)])
        instruction = self.actor.dialect.create_round(
            round_id, creator=me, model_cid=model_cid, dataset=offer.dataset, reward_amount=self.reward
        )
        await self.actor.keep_funded(self.reward + _COSTS)
        await self.actor.send_on_round(round_id, instruction, f"create:{round_id}", lambda posted: posted.creator == me)
        self.posted.add(round_id)

    async def _model_cid(self, offer: Offer, model_format: str) -> str:
        if offer.architecture != "simple_cnn":
            model_format = "package"  # only simple_cnn is recognised from a bare state dict
        path = self.models / f"{offer.architecture}-{offer.classes}.{model_format}"
        if not path.exists():
            await self.bench.make_base_model(
                path, architecture=offer.architecture, model_format=model_format, classes=offer.classes
            )
        return self.store.put(path).cid
