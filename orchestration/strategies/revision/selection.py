"""How one answer is chosen among chains of attempts (paper section 6.1 and appendix I).

With a verifier it is hierarchical: within each chain best-of-N weighted, and of the solutions with the answer that wins
there the one of the largest value; then best-of-N weighted among these. A majority is taken over all attempts at once, for
few votes within a chain say little. Who may vote, and ties, are as in `selection`. It knows nothing of how attempts were
drawn.
Invariant: with one chain the hierarchical choice is the flat one, and with one attempt in each too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from actors.strategy import Candidate
from orchestration.strategies.selection import (
    Aggregation,
    aggregate,
    majority,
    same_answers,
    voters,
    weighted,
)

Select = Literal["hierarchical", "weighted", "majority"]
SELECTS: tuple[Select, ...] = get_args(Select)


def select(chains: Sequence[Sequence[Candidate]], how: Select, aggregation: Aggregation) -> str | None:
    """The answer of these chains; None where no attempt may vote."""
    if how == "hierarchical":
        return weighted(winners(chains, aggregation), aggregation)
    flat = [attempt for chain in chains for attempt in chain]
    return weighted(flat, aggregation) if how == "weighted" else majority(flat)


def chains_in(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Candidates as the chains that they are: the next attempt after another one shares no step with it. What began none is
    a chain of one."""
    found: dict[int, list[Candidate]] = {}
    for one in sorted(candidates, key=lambda one: one.index):
        follows = one.parent >= 0 and one.depth == 0 and one.parent in found
        chain = found[one.parent] if follows else []
        chain.append(one)
        found[one.index] = chain
    return list({id(chain): chain for chain in found.values()}.values())


def winners(chains: Iterable[Sequence[Candidate]], aggregation: Aggregation) -> list[Candidate]:
    """Of each chain the attempt that stands for it: the one of the largest value among those that agree with the chain's
    answer, the first of equals."""
    found = (_winner(chain, aggregation) for chain in chains)
    return [one for one in found if one is not None]


def _winner(chain: Sequence[Candidate], aggregation: Aggregation) -> Candidate | None:
    answer, electorate = weighted(chain, aggregation), voters(chain)
    if answer is None:
        return None
    electorate = [one for one in electorate if one.scores] or electorate
    wanted, *classes = same_answers([answer, *(one.answer or "" for one in electorate)])
    agreeing = [one for one, same in zip(electorate, classes, strict=True) if same == wanted]
    return max(
        agreeing, key=lambda one: (aggregate(one.scores, aggregation) if one.scores else 0.0, -one.index)
    )
