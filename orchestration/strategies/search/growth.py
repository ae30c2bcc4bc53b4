"""What tree searches share: a step is drawn and scored, the best leaf is completed, the leaves become a solution.

It knows nothing of how a search chooses its nodes. Where it looks ahead, steps are drawn after a node, at temperature 0,
to value it: at place (), so that they depend on their prefix alone and equal prefixes share them. Invariant: a child is
drawn at its parent's place and its own index, so its draw depends on nothing else; an ended node has no children; a vote
belongs to one leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from actors.strategy import Candidate, Models, PurseEmpty, Sampling, Solution
from orchestration.strategies.drawing import check_count_of_scores, draw, score, together
from orchestration.strategies.search.tree import Node, candidates_of, tokens_under
from orchestration.strategies.selection import Aggregation, aggregate, voters

_GREEDY = Sampling(temperature=0.0)


@dataclass(slots=True)
class Growth:
    """One search's models and how it draws; a node is valued up to `ahead` steps after it, `refused` says that the purse
    ran empty.
    """

    models: Models
    sampling: Sampling
    aggregation: Aggregation
    refused: bool = False
    ahead: int = 0

    def value(self, node: Node) -> float:
        """The verifier's value in [0, 1]; 0 where it has scored nothing (there is no step yet)."""
        scores = node.scores + node.ahead
        return aggregate(scores, self.aggregation) if scores else 0.0

    def rank(self, node: Node) -> tuple[bool, bool, float, tuple[int, ...]]:
        """Sort key, best first: cut off last, then unscored."""
        scored = bool(node.scores or node.ahead)
        return node.finish == "length", not scored, -self.value(node), node.place

    async def children(self, parent: Node, width: int, first: int = 0) -> list[Node]:
        """Draw and score `width` children from index `first` on, all at once; those that the purse refused are left out."""
        # A purse that cannot pay all first steps is not spent on looking ahead: it may just pay for one solution.
        wait = self.ahead > 0 and parent.parent is None
        grow = self.step if wait else self.child
        drawn = await together(grow(parent, index) for index in range(first, first + width))
        nodes = [node for node in drawn if node is not None]
        if wait:
            await together(self.assess(node) for node in nodes)
        return nodes

    async def child(self, parent: Node, index: int, *, one_step: bool = True) -> Node | None:
        """Draw the child `index`, and score it at once; None where the purse refused the draw."""
        node = await self.step(parent, index, one_step=one_step)
        if node is not None:
            await self.assess(node)
        return node

    async def step(self, parent: Node, index: int, *, one_step: bool = True) -> Node | None:
        """Draw the child `index`, unscored; None where the purse refused it.

        A step that fills the solution is cut off: nothing can follow it.
        """
        place, policy = (*parent.place, index), self.models.policy
        sample = await draw(policy, parent.token_ids, place, self.sampling, one_step=one_step)
        if sample is None:
            self.refused = True
            return None
        token_ids = parent.token_ids + sample.token_ids
        full = sample.finish == "stop" and len(token_ids) >= policy.max_tokens
        finish = "length" if full else sample.finish
        return Node(parent, place, token_ids, parent.logprobs + sample.logprobs, finish)

    async def assess(self, node: Node) -> None:
        """Score the steps of a node, and with them those that follow it where the search looks ahead."""
        solution = await self._look_ahead(node) if node.live else node.token_ids
        scores = await score(self.models.verifier, solution)
        if scores is None:
            self.refused = True
            return
        ends = self.models.reader.step_ends
        check_count_of_scores(scores, ends(solution))
        own = len(ends(node.token_ids))
        node.scores, node.ahead = scores[:own], scores[own:]

    async def _look_ahead(self, node: Node) -> tuple[int, ...]:
        """The node's solution, with up to `ahead` further steps at temperature 0."""
        solution, policy = node.token_ids, self.models.policy
        for _ in range(self.ahead):
            if self.refused or len(solution) >= policy.max_tokens:
                break
            step = await draw(policy, solution, (), _GREEDY, one_step=True)
            if step is None:
                self.refused = True
                break
            solution += step.token_ids
            if step.finish != "stop":
                break
        return solution

    async def complete(self, leaves: Sequence[Node]) -> list[Node]:
        """Where the purse ran empty and none of the leaves is finished, complete the best live one by one plain sample.

        A refused round had the worst cases of all siblings reserved at once; what they left may be enough for one.
        """
        best = min((node for node in leaves if node.live), key=self.rank, default=None)
        if not self.refused or best is None or any(node.finish == "eos" for node in leaves):
            return list(leaves)
        completed = await self.child(best, 0, one_step=False)
        return [completed if completed and node is best else node for node in leaves]

    async def conclude(
        self,
        kept: Iterable[Node],
        dropped: Iterable[Node],
        generations: int,
        choose: Callable[[Sequence[Candidate]], str | None],
        copies: Iterable[Node] = (),
    ) -> Solution:
        """Make a solution of the leaves of a tree: candidates are the kept ones by place, then the dropped ones by place.

        If no finished one of `kept` can vote, finished ones of `dropped` are taken back; if there are none, unfinished
        ones of `kept` vote where an answer can be read. `copies` are dropped ones that never vote. Raises PurseEmpty
        where nothing ended, and no answer can be read of what there is, because the purse was empty.
        """
        kept, copies = sorted(kept, key=lambda node: node.place), set(copies)
        leaves = [*kept, *sorted([*dropped, *copies], key=lambda node: node.place)]
        candidates = await candidates_of(self.models, kept, leaves[len(kept) :])
        if not any(c.finish == "eos" for c in voters(candidates)):
            candidates = tuple(
                replace(c, kept=c.kept or (c.finish == "eos" and c.answer is not None and leaf not in copies))
                for c, leaf in zip(candidates, leaves, strict=True)
            )
        if self.refused and not voters(candidates) and all(c.finish == "stop" for c in candidates):
            raise PurseEmpty("the purse was empty before the first candidate")
        return Solution(
            answer=choose(candidates),
            candidates=candidates,
            generations=generations,
            kept_tokens=tokens_under(leaf for c, leaf in zip(candidates, leaves, strict=True) if c.kept),
        )
