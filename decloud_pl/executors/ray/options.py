"""How a training is placed on a Ray cluster and followed, as the processes that take part hand it on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from decloud_pl.settings.schema import RayConfig


@dataclass(frozen=True)
class RayOptions:
    """How a training is placed and followed. Seconds; shown in process lists, so nothing here is secret.

    Attributes:
        ray: the user's choice of the cluster, and of what a training gets there.
        connect_seconds: until the cluster counts as out of reach.
        wait_seconds: until a cluster without room is said to have none.
        call_seconds: until a machine that does not answer counts as lost.
        lease_seconds: after which a worker ends that nobody asks for news.
        grace: from asking a training to stop until it is killed; its checkpoint comes back meanwhile.
        hang_seconds: a worker that says nothing for so long is ended.
        checkpoint_seconds: between looks for a new checkpoint to bring back.
        chunk_bytes: of a file that travel at a time.
        command: the worker, with its folder as last argument; None for the real one.
    """

    ray: RayConfig = field(default_factory=RayConfig)
    connect_seconds: float = 30.0
    wait_seconds: float = 60.0
    call_seconds: float = 120.0
    lease_seconds: float = 120.0
    grace: float = 30.0
    hang_seconds: float = 900.0
    checkpoint_seconds: float = 30.0
    chunk_bytes: int = 16 << 20
    command: tuple[str, ...] | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RayOptions:
        fields = json.loads(text)
        command = fields["command"]
        fields |= {"ray": RayConfig(**fields["ray"]), "command": None if command is None else tuple(command)}
        return cls(**fields)

    @property
    def wanted(self) -> str:
        """What a training takes of a machine, for people."""
        cpus = f"{self.ray.cpus} CPU{'' if self.ray.cpus == 1 else 's'}"
        gpus = self.ray.gpus
        return f"{cpus} and {gpus:g} GPU{'' if gpus == 1 else 's'}" if gpus else cpus
