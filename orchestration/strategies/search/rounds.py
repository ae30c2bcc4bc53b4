"""Search in rounds against the verifier: what beam search, lookahead search and verifier trees have in common.

A search draws first steps and values each as soon as it is there; the best take the places of the round; new steps are
drawn from those that can go on; and so on until none can, or the rounds are over. Several searches may stand side by
side, waiting for each other at no round, and vote together. It knows nothing of tokens but their equality, and of the
three methods but their `Rules`. Invariant: a place is drawn at most once; a finished node is never extended nor cloned,
and a vote always belongs to one draw.

Where the paper is silent, in all three:
- What becomes of a solution that finishes before the others is a choice. With `finished` = "vote" it leaves the
  competition and votes in the end, and its share of the N generations is spent: of N continuations a round there are left
  as many as solutions have not ended, and of N/M places so many that each has M continuations, the last of them what is
  left; these are shared as evenly as can be, the better ones first. A solution that was cut off has ended, too: it was one
  of N. With "compete" it keeps its place and its value: it competes for the places of every round; where it gets one, the
  M continuations of that place are not drawn; where it gets none, it loses its vote. When no survivor can go on, all
  finished nodes of that pool vote, those without a place too.
- Equal values rank by place. A node cut off by the token limit ranks behind all others, whatever its value.
- If nothing of the last pools can vote, finished nodes that were dropped on the way are taken back; if there are none,
  unfinished ones vote where an answer can be read.
- When the purse runs empty, no further round begins; if nothing is finished by then, the best node is completed by one
  plain sample, should the purse still allow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from actors.strategy import Models, Sampling, Solution
from orchestration.strategies.drawing import solution_of, together, whole_samples
from orchestration.strategies.search.growth import Growth
from orchestration.strategies.search.tree import Node
from orchestration.strategies.selection import Aggregation, weighted

Finished = Literal["compete", "vote"]
"""What becomes of a solution that finishes before the others."""

FINISHED: tuple[Finished, ...] = get_args(Finished)


@dataclass(frozen=True, slots=True)
class Rules:
    """How one search goes: `places` are competed for in every round, and each is worth `width` continuations.

    `rounds` counts rounds of scoring, that of the first steps included. Each survivor is drawn on by `every` - 1 steps
    before it branches; of the nodes of a round with equal tokens only one goes on if `merge`; a node is valued by what
    follows it in up to `ahead` further steps at temperature 0; what ends early goes on competing, or votes, as `finished`
    says.
    """

    places: int
    width: int
    rounds: int
    aggregation: Aggregation
    sampling: Sampling
    every: int = 1
    merge: bool = False
    ahead: int = 0
    finished: Finished = "compete"


async def search(models: Models, rules: Rules, roots: Sequence[range]) -> Solution:
    """Run one search for each range of first steps, all at once, and let their finished nodes vote, weighted.

    Costs one generation, and one more for each step that is looked ahead, for every first step drawn. Where there is
    but one first step nothing can be chosen: it is one whole sample. All leaves of the trees are candidates: the last
    pools by place, then (kept false) the dropped ones by place. What was drawn to look ahead is a valuation and no
    candidate. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what there is.
    """
    if sum(len(first) for first in roots) == 1:
        sample = await whole_samples(models, 1, rules.sampling, with_scores=True)
        return solution_of(sample, weighted(sample, rules.aggregation))

    def growth(refused: bool) -> Growth:
        return Growth(models, rules.sampling, rules.aggregation, refused, rules.ahead)

    searches = [_Search(growth(refused=False), rules) for _ in roots]
    begun = await together(one.run(first) for one, first in zip(searches, roots, strict=True))
    forest = growth(refused=any(one.growth.refused for one in searches))
    pool = [node for one in searches for node in one.pool]
    dropped = [node for one in searches for node in one.dropped]
    if not any(node.finish == "eos" for node in dropped):
        pool = await forest.complete(pool)
    return await forest.conclude(
        pool,
        dropped,
        sum(begun) * (1 + rules.ahead),
        lambda candidates: weighted(candidates, rules.aggregation),
        copies=(node for one in searches for node in one.copies),
    )


@dataclass(slots=True)
class _Search:
    """Where one search stands: `pool` has its leaves, `dropped` lost a round, `copies` are equal to another node of their
    round.
    """

    growth: Growth
    rules: Rules
    pool: list[Node] = field(default_factory=list)
    dropped: list[Node] = field(default_factory=list)
    copies: list[Node] = field(default_factory=list)

    async def run(self, first: range) -> int:
        """Search from the first steps of these indices; return how many of them the purse allowed."""
        begun = await self.growth.children(Node(), len(first), first.start)
        self._compete(begun)
        for _ in range(self.rules.rounds - 1):
            parents = [] if self.growth.refused else self._select()
            if not parents:
                break
            groups = await together(self._branch(parent, width) for parent, width in self._shares(parents))
            self._compete(node for group in groups for node in group)
        return len(begun)

    def _compete(self, grown: Iterable[Node]) -> None:
        """Add the nodes of a round to the pool; where equal ones are merged, only the best ranked of them."""
        nodes = list(grown)
        if self.rules.merge:
            first: dict[tuple[int, ...], Node] = {}
            for node in sorted(nodes, key=self.growth.rank):
                first.setdefault(node.token_ids, node)
            self.copies += [node for node in nodes if first[node.token_ids] is not node]
            nodes = list(first.values())
        self.pool += nodes

    def _select(self) -> list[Node]:
        """Drop what loses this round from the pool; take out and return the survivors that go on, best first."""
        ranked = sorted(self.pool, key=self.growth.rank)
        live = [node for node in ranked if node.live]
        ended = [node for node in ranked if not node.live]
        if self.rules.finished == "vote":
            places = -(-self._left(ended) // self.rules.width)
            parents = live[:places]
        else:
            best = ranked[: self.rules.places]
            parents = [node for node in best if node.live]
            # Where nothing more is drawn, being finished is enough to vote.
            if parents:
                self.dropped += [node for node in ranked[self.rules.places :] if not node.live]
                ended = [node for node in best if not node.live]
        self.dropped += live[len(parents) :]
        self.pool = ended
        return parents

    def _left(self, ended: Sequence[Node]) -> int:
        """How many continuations are left to those that go on, where these have ended and are not dropped."""
        worth = 1 if self.rules.finished == "vote" else self.rules.width
        return self.rules.width * self.rules.places - worth * len(ended)

    def _shares(self, parents: Sequence[Node]) -> list[tuple[Node, int]]:
        """Share the continuations that are left as evenly as can be; the better ones get one more.

        That is `width` for each parent or less, or more where copies left fewer nodes than places.
        """
        each, more = divmod(self._left(self.pool), len(parents))
        return [(node, each + (rank < more)) for rank, node in enumerate(parents)]

    async def _branch(self, parent: Node, width: int) -> list[Node]:
        """Draw a survivor on and return its children; where it ended before, or all were refused, it is a leaf again."""
        leaf, refused = parent, False
        for _ in range(self.rules.every - 1):
            if not leaf.live:
                break
            step = await self.growth.step(leaf, 0)
            if step is None:
                refused = True
                break
            leaf = step
        children = [] if refused or not leaf.live else await self.growth.children(leaf, width)
        if not children and leaf is not parent:
            await self.growth.assess(leaf)
        return children or [leaf]
