"""The vote behind an answer, as people read it: which answers had votes, how many, and of what weight.

It knows candidates and strategies' own settings, nothing of runs on disk. Who votes, what a vote weighs and which answers are
one ballot is asked of `selection`. Invariant: whoever has no vote there is counted in no ballot here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.strategy import Candidate, Described
from orchestration.strategies.choice import Rule, chooser_of
from orchestration.strategies.revision.selection import chains_in, winners
from orchestration.strategies.selection import (
    AGGREGATIONS,
    Aggregation,
    aggregate,
    same_answers,
    speaker,
    voters,
)


@dataclass(frozen=True, slots=True)
class Counting:
    """By which `rule` a strategy's candidates vote, and how a candidate's step scores become its value. In `chains` of
    revisions one of each votes, that which stands for it."""

    rule: Rule
    aggregation: Aggregation = "last"
    chains: bool = False

    def value(self, candidate: Candidate) -> float | None:
        """What a candidate is worth to the verifier; None where it has no scores."""
        return aggregate(candidate.scores, self.aggregation) if candidate.scores else None


@dataclass(frozen=True, slots=True)
class Ballot:
    """One answer, as its `speaker` gives it: the indices of its `voters`, the first of them with the largest value as
    `leader`, the sum of their values as `weight` and the largest as `best`; both are None where the rule asks for no scores,
    or none of the voters has any."""

    answer: str
    speaker: int
    voters: tuple[int, ...]
    leader: int
    weight: float | None
    best: float | None


def counting_of(strategy: Described | None) -> Counting:
    """How a strategy counts; of one that says nothing, as of one of the user's own (None), by the last score of each."""
    chooser = chooser_of(strategy)
    if chooser is not None:
        return Counting(chooser.choice.rule, chooser.choice.aggregation)
    if strategy is not None and not strategy.uses_verifier:
        return Counting("majority")
    aggregation = getattr(strategy, "aggregation", "last")
    rule: Rule = "weighted" if getattr(strategy, "weighted", True) else "best"
    return Counting(
        rule,
        aggregation if aggregation in AGGREGATIONS else "last",
        bool(getattr(strategy, "chained", False)),
    )


def counting_as(counting: Counting, strategy: Described | None) -> Counting:
    """The same counting for what a strategy found: of one that lets one attempt of each chain vote, these."""
    return replace(counting, chains=counting_of(strategy).chains)


def tally(candidates: Sequence[Candidate], counting: Counting) -> list[Ballot]:
    """The ballots, the strongest first; ties go as in `selection`, to the smaller index."""
    voting = voters(winners(chains_in(candidates), counting.aggregation) if counting.chains else candidates)
    scored = [one for one in voting if one.scores] if counting.rule != "majority" else []
    # As in `selection`: where some voters have scores those vote, and where none has, all count one.
    voting = scored or voting
    by_class: dict[str, list[Candidate]] = {}
    for one, same in zip(voting, same_answers(one.answer or "" for one in voting), strict=True):
        by_class.setdefault(same, []).append(one)
    ballots = [_ballot(mine, counting, bool(scored)) for mine in by_class.values()]
    return sorted(ballots, key=lambda one: _rank(one, counting))


def _ballot(mine: Sequence[Candidate], counting: Counting, scored: bool) -> Ballot:
    members = tuple(one.index for one in mine)
    said = mine[speaker([one.answer or "" for one in mine])]
    if not scored:
        return Ballot(said.answer or "", said.index, members, members[0], None, None)
    values = [aggregate(one.scores, counting.aggregation) for one in mine]
    leader = values.index(max(values))
    if counting.rule == "best":
        # The best candidate answers for itself.
        said = mine[leader]
    return Ballot(said.answer or "", said.index, members, members[leader], math.fsum(values), max(values))


def _rank(ballot: Ballot, counting: Counting) -> tuple[float, int]:
    if ballot.weight is None or ballot.best is None:
        return -len(ballot.voters), ballot.voters[0]
    if counting.rule == "best":
        return -ballot.best, ballot.leader
    return -ballot.weight, ballot.voters[0]
