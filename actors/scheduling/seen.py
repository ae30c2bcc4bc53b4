"""What a scheduler last heard of a replica, over all its lives.

It knows counters, nothing of leases. Invariant: a replica that starts anew counts from zero, and its totals go on.
"""

from __future__ import annotations

from dataclasses import dataclass


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
