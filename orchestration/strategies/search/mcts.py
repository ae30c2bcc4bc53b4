"""Monte Carlo tree search over steps, with the verifier's values and no rollouts.

PUCT as in AlphaZero (Silver et al. 2018); for language models as "MCTS-Rollout" of Feng et al. (2023, arXiv 2309.17179)
and `vanila_mcts` of OpenR: a descent begins at the root, and ends with a solution. At a node that has no continuations
yet, M next steps are drawn and scored; then the descent goes to the continuation with the largest

    Q + U,  Q = (value + ends) / (1 + visits),  U = c * (1/M) * sqrt(1 + visits of all siblings) / (1 + visits)

where `value` is the verifier's, and `ends` sums the values of the solutions that descents through it ended with (0 where
one was cut off). Descents in flight are visits that end with 0 until they have ended (virtual loss). The prior is 1/M
for all, for they are samples of the policy already. Best-of-N weighted over all finished candidates decides, those that
no descent ended with included.

Where this departs from the released code: every descent ends with something new, for it goes only where something is left to
be drawn; equal continuations are two draws, as everywhere; no noise is added at the root.

It costs at most N generations by the paper's accounting: no more than N steps are drawn at any depth, as in beam search.
Descents fork at any depth, so there are N/M of them or more. It knows nothing of tokens but their count. Invariant: the tree
follows from the parameters and the draws, never from when answers arrive; a place is drawn once, and first steps are those of
`beam`; an ended node is never extended; a vote belongs to one draw.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, together, whole_samples
from orchestration.strategies.search.growth import Growth
from orchestration.strategies.search.tree import Node
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_not_negative,
    check_temperature,
    check_top_p,
    check_width,
    width_of,
)


@dataclass(frozen=True, slots=True)
class Mcts:
    """`n` generations, `width` continuations of each node (M above); `exploration` is c.

    `width` is a divisor of `n`, anything above `n` (one descent), or "sqrt": the divisor of `n` nearest to its square root
    by ratio. `parallel` descents are in flight at once: they begin together and the next ones after all of them have
    ended, so it changes the tree. `rounds` is the greatest depth in steps. `aggregation` makes a node's value of its step
    scores. `n` = 1 is one whole sample.

    If nothing finished, unfinished solutions vote where an answer can be read. When the purse runs empty, no further step
    is drawn; if nothing is finished by then, the best node is completed by one plain sample, should the purse still allow
    it.
    """

    by_steps: ClassVar[bool] = True
    n: int
    width: int | str = 4
    exploration: float = 1.0
    parallel: int = 4
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("mcts.n", self.n)
        check_width("mcts.width", self.n, self.width)
        object.__setattr__(self, "exploration", check_not_negative("mcts.exploration", self.exploration))
        check_count("mcts.parallel", self.parallel)
        check_count("mcts.rounds", self.rounds)
        check_choice("mcts.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("mcts.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("mcts.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("mcts", self, always=("n", "width", "parallel"))

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def continuations(self) -> int:
        """Steps drawn from each node that is expanded."""
        return width_of(self.n, self.width)

    @property
    def sequences(self) -> int:
        return min(self.parallel * self.continuations, self.n)

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        return forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs as many generations as steps were drawn at the depth where most were: n, or less where the whole tree ended
        before, or the purse ran empty.

        All leaves of the tree are candidates: those that ended by place, then (kept false) those that could go on. Raises
        PurseEmpty where nothing was completed nor cut off, and no answer can be read of what there is.
        """
        sampling = Sampling(self.temperature, self.top_p)
        if self.n == 1:
            sample = await whole_samples(models, 1, sampling, with_scores=True)
            return solution_of(sample, weighted(sample, self.aggregation))
        growth = Growth(models, sampling, self.aggregation)
        search = _Search(growth, self.continuations, self.exploration, self.rounds)
        root = _Branch(Node(), 0.0, closed=False)
        while not root.closed and not growth.refused:
            # A descent draws at most `width` steps at each depth.
            room = (self.n - search.most_drawn) // self.continuations
            if not room:
                break
            await search.descend(root, min(self.parallel, room))
        leaves = await growth.complete([branch.node for branch in root.leaves() if branch is not root])
        ended = [node for node in leaves if not node.live] or leaves
        dropped = [node for node in leaves if node not in set(ended)]
        return await growth.conclude(
            ended, dropped, search.most_drawn, lambda c: weighted(c, self.aggregation)
        )


@dataclass(eq=False, slots=True)
class _Branch:
    """A node and what is known of it: `value` is the verifier's (0 if it was cut off), `visits` descents through it ended
    with values that sum to `total`; `closed` says that nothing more can be drawn under it.
    """

    node: Node
    value: float
    closed: bool
    children: list[_Branch] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0

    def leaves(self) -> Iterator[_Branch]:
        """The branches without children, by place."""
        stack = [self]
        while stack:
            branch = stack.pop()
            stack += reversed(branch.children)
            if not branch.children:
                yield branch


@dataclass(slots=True)
class _Search:
    """One tree in the making; `drawn` counts its steps by depth."""

    growth: Growth
    width: int
    exploration: float
    rounds: int
    drawn: Counter[int] = field(default_factory=Counter)

    @property
    def most_drawn(self) -> int:
        return max(self.drawn.values(), default=0)

    async def descend(self, branch: _Branch, count: int) -> list[float]:
        """Send `count` descents on from an open branch; return the values of their ends, in the order of places.

        They part here by one rule, and those that part have nothing in common from then on: none waits for another but
        where it ends. There are fewer ends than descents where fewer new ones can be reached, or the purse ran empty.
        """
        new = not branch.children
        if new:
            await self._expand(branch)
            if self.growth.refused:
                return []
        sent = self._part(branch.children, count, new=new)
        groups = await together(self._follow(child, number) for child, number in sent)
        ends = [end for group in groups for end in group]
        branch.visits += len(ends)
        branch.total += math.fsum(ends)
        branch.closed = all(child.closed for child in branch.children)
        return ends

    async def _follow(self, child: _Branch, count: int) -> list[float]:
        if not child.closed:
            return await self.descend(child, count)
        child.visits, child.total = 1, child.value if child.node.finish == "eos" else 0.0
        return [child.total]

    async def _expand(self, branch: _Branch) -> None:
        nodes = await self.growth.children(branch.node, self.width)
        depth = len(branch.node.place) + 1
        self.drawn[depth] += len(nodes)
        branch.children = [
            _Branch(
                node,
                0.0 if node.finish == "length" else self.growth.value(node),
                closed=not node.live or depth == self.rounds,
            )
            for node in nodes
        ]

    def _part(self, children: list[_Branch], count: int, *, new: bool) -> list[tuple[_Branch, int]]:
        """Choose a child for each of `count` descents, one after another; return how many go to each, by place.

        An open child takes any number of them, a closed one a single one, and only where it is `new`: then it is the end of
        that descent.
        """
        sent = dict.fromkeys(children, 0)
        for _ in range(count):
            free = [child for child in children if not child.closed or (new and not sent[child])]
            if not free:
                break
            siblings = 1 + sum(child.visits + sent[child] for child in children)
            bonus = self.exploration * math.sqrt(siblings) / len(children)
            # Of equals, max takes the smaller place.
            sent[max(free, key=lambda c: puct(c.value, c.total, c.visits, sent[c], bonus))] += 1
        return [(child, number) for child, number in sent.items() if number]


def puct(value: float, total: float, visits: int, flying: int, bonus: float) -> float:
    """The worth of a continuation: its mean, with the verifier's value as one visit and descents in flight as lost, and
    `bonus` shared by as many.
    """
    return (value + total + bonus) / (1 + visits + flying)
