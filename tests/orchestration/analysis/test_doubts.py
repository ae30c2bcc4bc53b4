"""Which counts raise a doubt, and how it is said."""

from __future__ import annotations

import pytest

from actors.work import Tally
from orchestration.analysis.doubts import doubts


def test_half_of_the_candidates_raises_one_and_less_none() -> None:
    assert doubts({"greedy": Tally(11, 5, 5, 5)}) == {}
    found = doubts({"greedy": Tally(12, 6, 6, 6)})
    assert list(found) == ["cut off", "unreadable", "single step"]
    assert "no answer could be read (greedy 6 of 12)" in found["unreadable"]
    assert doubts({"greedy": Tally()}) == {}


def test_few_candidates_raise_none_where_more_are_to_come() -> None:
    assert doubts({"greedy": Tally(31, 31)}, least=32) == {}
    assert list(doubts({"greedy": Tally(32, 31)}, least=32)) == ["unreadable"]


@pytest.mark.parametrize(("count", "end"), [(3, ""), (4, ", 1 more strategy"), (6, ", 3 more strategies")])
def test_the_worst_strategies_are_named_with_their_counts(count: int, end: str) -> None:
    tallies = {f"majority(n={n})": Tally(100, 60 + n) for n in range(count)} | {"greedy": Tally(1000)}
    named = [f"majority(n={n}) {60 + n} of 100" for n in reversed(range(count))]
    assert doubts(tallies)["unreadable"] == (
        f"In half of the candidates or more no answer could be read ({', '.join(named[:3])}{end}): they have no vote and "
        "count as wrong; flopwise show has their texts, dataset.grader says what is read."
    )
