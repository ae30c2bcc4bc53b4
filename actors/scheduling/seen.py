"""What a scheduler last heard of its replicas, over all their lives.

It knows counters, nothing of leases. Invariant: a replica that starts anew counts from zero, and its totals go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.strategy import Role
from actors.work import Load


@dataclass(slots=True)
class Seen:
    """What a replica last said of its engine, and when; totals of earlier lives of the replica are added in."""

    alive: bool = False
    tokens: int = 0
    busy: float = 0.0
    past_tokens: int = 0
    past_busy: float = 0.0
    flops: int = 0
    past_flops: int = 0
    ended: int = 0
    cut_off: int = 0
    past_ended: int = 0
    past_cut_off: int = 0
    settled: int = 0
    noted: float = 0.0
    starved: float | None = None

    def die(self) -> None:
        """Its process ended: what it has counted is of an earlier life."""
        self.alive, self.starved = False, None
        self.past_tokens, self.tokens = self.past_tokens + self.tokens, 0
        self.past_busy, self.busy = self.past_busy + self.busy, 0.0
        self.past_flops, self.flops = self.past_flops + self.flops, 0
        self.past_ended, self.ended = self.past_ended + self.ended, 0
        self.past_cut_off, self.cut_off = self.past_cut_off + self.cut_off, 0


@dataclass(slots=True)
class Crew:
    """The replicas that solve tasks: the `roles` of their models by name, what was `seen` of each, and what those died of
    that will never be up again."""

    roles: dict[str, Role]
    seen: dict[str, Seen] = field(init=False)
    dead: dict[str, Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = {name: Seen() for name in self.roles}

    def serving(self, name: str) -> int:
        """How many there are of a replica's role."""
        return sum(role == self.roles[name] for role in self.roles.values())

    def asked(self, name: str) -> bool:
        """Whether a replica may be at work for tasks that others hold, so that it is looked at without one of its own."""
        return self.roles[name] == "reviser" and "policy" in self.roles.values()

    def forsaken(self, queued: Callable[[Role], int]) -> Exception | None:
        """What the replicas of a role died of that has tasks `queued`; None: some replica may take each of them."""
        for name, death in self.dead.items():
            role = self.roles[name]
            if all(one in self.dead for one, its in self.roles.items() if its == role) and queued(role):
                return death
        return None

    def loads(self) -> dict[Role, Load]:
        """What those of each role have done."""
        return {role: self._load(role) for role in dict.fromkeys(self.roles.values())}

    def _load(self, role: Role) -> Load:
        seen = [self.seen[name] for name, its in self.roles.items() if its == role]
        return Load(
            tokens=sum(s.tokens + s.past_tokens for s in seen),
            busy=sum(s.busy + s.past_busy for s in seen),
            replicas=sum(s.alive for s in seen),
            flops=sum(s.flops + s.past_flops for s in seen),
            ended=sum(s.ended + s.past_ended for s in seen),
            cut_off=sum(s.cut_off + s.past_cut_off for s in seen),
        )
