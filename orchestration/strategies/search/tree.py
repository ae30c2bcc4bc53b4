"""A tree of drawn steps, and its leaves as candidates that it can be drawn again from.

It knows nothing of how a search chooses its nodes, nor of the purse. Invariant: each leaf is one candidate,
each node's tokens are counted once, and a candidate's parent has a smaller index than itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.engines.base import Finish
from actors.strategy import Candidate, Models
from orchestration.strategies.drawing import check_count_of_scores, step_logprobs, together


@dataclass(eq=False, slots=True)
class Node:
    """One drawn step, holding the solution up to and including it; `scores` is empty where nothing was
    scored, `ahead` are those of steps that were drawn after it to value it, and are no part of it.

    `place` is the path of child indices from the root; the root itself has no parent and holds nothing.
    """

    parent: Node | None = None
    place: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish: Finish = "stop"
    scores: tuple[float, ...] = ()
    ahead: tuple[float, ...] = ()

    @property
    def live(self) -> bool:
        """Whether it can go on: neither finished nor cut off."""
        return self.finish == "stop"

    @property
    def own_tokens(self) -> int:
        """Tokens drawn for this node alone."""
        return len(self.token_ids) - (len(self.parent.token_ids) if self.parent else 0)

    def path(self) -> list[Node]:
        """This node and its ancestors without the root, deepest first."""
        nodes = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes


def tokens_under(leaves: Iterable[Node]) -> int:
    """Return the tokens of all distinct nodes that these leaves stand on."""
    nodes = {id(node): node for leaf in leaves for node in leaf.path()}
    return sum(node.own_tokens for node in nodes.values())


async def candidates_of(
    models: Models, kept: Sequence[Node], dropped: Sequence[Node]
) -> tuple[Candidate, ...]:
    """Make candidates of the leaves: those kept first, then those dropped, in the order given.

    `parent` is the candidate of smallest index among those that share the longest path of nodes with it (-1:
    none does), `depth` the number of non-empty steps shared. Answers are read except of dropped leaves that
    are unfinished. Raises ValueError where the verifier gave another number of scores than there are steps.
    """
    leaves = [*kept, *dropped]
    answers = await together(
        _answer(models, leaf, readable=index < len(kept) or leaf.finish == "eos")
        for index, leaf in enumerate(leaves)
    )
    candidates = []
    first_through: dict[int, int] = {}
    for index, (leaf, answer) in enumerate(zip(leaves, answers, strict=True)):
        path = leaf.path()
        shared = next((node for node in path if id(node) in first_through), None)
        step_ends = models.reader.step_ends(leaf.token_ids)
        check_count_of_scores(leaf.scores, step_ends)
        candidates.append(
            Candidate(
                index=index,
                token_ids=leaf.token_ids,
                step_ends=step_ends,
                logprobs=step_logprobs(leaf.logprobs, step_ends, len(leaf.token_ids)),
                scores=leaf.scores,
                finish=leaf.finish,
                answer=answer,
                kept=index < len(kept),
                parent=first_through[id(shared)] if shared else -1,
                depth=len(models.reader.step_ends(shared.token_ids)) if shared else 0,
            )
        )
        for node in path:
            first_through.setdefault(id(node), index)
    return tuple(candidates)


async def _answer(models: Models, leaf: Node, *, readable: bool) -> str | None:
    return await models.reader.answer(leaf.token_ids) if readable else None
