"""How many sequences an engine should hold at once, told by how full its cache of keys and values is.

Begins with what fits for certain, grows while what it holds leaves room, and gives way as soon as the engine had to take a
sequence's cache away. A pure state machine that knows no engine. Invariant: `least` <= slots <= `most`.
"""

from __future__ import annotations

ROOMY = 0.6
"""Share of the cache in use below which more sequences are let in."""

FULL = 0.8
"""Share above which no more are: what is left keeps the prefixes of trees that wait for their verifier."""

GROWTH = 1.25
CUT = 0.75


class Admission:
    """Slots of an engine with room for `tokens` keys, for sequences of at most `context` tokens."""

    def __init__(self, tokens: int, context: int, most: int, least: int = 1) -> None:
        self._most, self._least = most, least
        self.slots = self._bounded(tokens // context)

    def observe(self, usage: float, held: int, preempted: int) -> None:
        """Take in one step of the engine: `usage` of its cache in [0, 1], sequences `held` (running or waiting), and how many
        lost their cache."""
        if preempted:
            # A sequence computed twice costs more than one that came later.
            self.slots = self._bounded(int(min(self.slots, held) * CUT))
        elif usage < ROOMY and held >= self.slots:
            self.slots = self._bounded(int(self.slots * GROWTH) + 1)
        elif usage > FULL and held < self.slots:
            self.slots = self._bounded(held)

    def _bounded(self, slots: int) -> int:
        return max(self._least, min(slots, self._most))
