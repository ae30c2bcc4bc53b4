"""What tree searches share: a step is drawn and scored, the best leaf is completed, the leaves become a solution.

It knows nothing of how a search chooses its nodes. Invariant: a child is drawn at its parent's place and its own index,
so its draw depends on nothing else; an ended node has no children; a vote belongs to one leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from actors.work import Candidate, Models, PurseEmpty, Sampling, Solution
from orchestration.strategies.drawing import draw, score, together
from orchestration.strategies.selection import Aggregation, aggregate, voters
from orchestration.strategies.tree import Node, candidates_of, tokens_under


@dataclass(slots=True)
class Growth:
    """One search's models and how it draws; `refused` says that the purse ran empty."""

    models: Models
    sampling: Sampling
    aggregation: Aggregation
    refused: bool = False

    def value(self, node: Node) -> float:
        """The verifier's value in [0, 1]; 0 where it has scored nothing (there is no step yet)."""
        return aggregate(node.scores, self.aggregation) if node.scores else 0.0

    def rank(self, node: Node) -> tuple[bool, bool, float, tuple[int, ...]]:
        """Sort key, best first: cut off last, then unscored."""
        return node.finish == "length", not node.scores, -self.value(node), node.place

    async def children(self, parent: Node, width: int) -> list[Node]:
        """Draw and score the children 0 to width-1, all at once; those that the purse refused are left out."""
        drawn = await together(self.child(parent, index) for index in range(width))
        return [node for node in drawn if node is not None]

    async def child(self, parent: Node, index: int, *, one_step: bool = True) -> Node | None:
        """Draw the child `index`, and score it at once; None where the purse refused the draw.

        A step that fills the solution is cut off: nothing can follow it.
        """
        place, policy = (*parent.place, index), self.models.policy
        sample = await draw(policy, parent.token_ids, place, self.sampling, one_step=one_step)
        if sample is None:
            self.refused = True
            return None
        token_ids = parent.token_ids + sample.token_ids
        full = sample.finish == "stop" and len(token_ids) >= policy.max_tokens
        scores = await score(self.models.verifier, token_ids)
        if scores is None:
            self.refused = True
        finish = "length" if full else sample.finish
        return Node(parent, place, token_ids, parent.logprobs + sample.logprobs, finish, scores or ())

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
    ) -> Solution:
        """Make a solution of the leaves of a tree: candidates are the kept ones by place, then the dropped ones by place.

        If no finished one of `kept` can vote, finished ones of `dropped` are taken back; if there are none, unfinished
        ones of `kept` vote where an answer can be read. Raises PurseEmpty where nothing ended, and no answer can be read
        of what there is, because the purse was empty.
        """
        kept = sorted(kept, key=lambda node: node.place)
        leaves = [*kept, *sorted(dropped, key=lambda node: node.place)]
        candidates = await candidates_of(self.models, kept, leaves[len(kept) :])
        if not any(c.finish == "eos" for c in voters(candidates)):
            candidates = tuple(
                replace(c, kept=c.kept or (c.finish == "eos" and c.answer is not None)) for c in candidates
            )
        if self.refused and not voters(candidates) and all(c.finish == "stop" for c in candidates):
            raise PurseEmpty("the purse was empty before the first candidate")
        return Solution(
            answer=choose(candidates),
            candidates=candidates,
            generations=generations,
            kept_tokens=tokens_under(leaf for c, leaf in zip(candidates, leaves, strict=True) if c.kept),
        )
