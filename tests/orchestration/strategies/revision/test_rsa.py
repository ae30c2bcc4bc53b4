"""What a slot of a population reads, who votes, and what k = 1 is."""

from __future__ import annotations

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty
from orchestration.strategies.parse import parse
from orchestration.strategies.revision.revision import Revision
from orchestration.strategies.revision.rsa import Rsa
from orchestration.strategies.selection import majority, weighted
from tests.support.fakes import models, solve


async def test_each_slot_reads_k_different_solutions_of_the_round_before() -> None:
    given = models(end_rate=1.0)
    solution = await solve(Rsa(population=5, k=2, rounds=3), given)
    by_index = {one.index: one for one in solution.candidates}
    assert sorted(by_index) == list(range(20))
    chosen = set()
    for shown, (_, turn) in given.reviser.requests:
        usable = [by_index[5 * (turn - 1) + at] for at in range(5)] if turn else []
        usable = [one for one in usable if one.finish == "eos" and one.answer is not None]
        assert len(shown) == min(2, len(usable))
        assert set(shown) <= {one.token_ids for one in usable}
        chosen.add((turn, shown))
    assert len(chosen) > 6, "slots read others than one another"
    assert solution.generations == 20
    assert [one.kept for one in solution.candidates] == [False] * 15 + [True] * 5
    assert solution.answer == majority(solution.candidates)
    again = await solve(Rsa(population=5, k=2, rounds=3), models(end_rate=1.0, delays=3))
    assert again == solution


async def test_with_one_solution_each_it_is_chains_of_revisions_with_a_context_of_one() -> None:
    populations, chains = models(end_rate=1.0), models(end_rate=1.0)
    await solve(Rsa(population=6, k=1, rounds=1), populations)
    await solve(Revision(sequential=2, parallel=6, context=1, select="majority"), chains)
    assert sorted(populations.reviser.requests) == sorted(chains.reviser.requests)
    assert any(shown for shown, _ in chains.reviser.requests)


async def test_the_last_population_is_scored_once_and_votes_by_its_values() -> None:
    given = models()
    solution = await solve(Rsa(population=4, k=2, rounds=2, select="weighted"), given)
    last = [one for one in solution.candidates if one.kept]
    assert len(given.verifier.requests) == len(last) == 4
    assert solution.answer == weighted(last)
    assert solution.kept_tokens == sum(len(one.token_ids) for one in last)


async def test_a_slot_that_the_purse_leaves_keeps_what_it_has() -> None:
    strategy = Rsa(population=3, k=2, rounds=2)
    for limit in range(1, 9):
        solution = await solve(strategy, models(limit=limit))
        assert solution.generations == len(solution.candidates) == limit
        assert sum(one.kept for one in solution.candidates) == min(limit, 3)
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(limit=0))


def test_its_budget_its_curve_and_what_it_reads() -> None:
    strategy = parse("rsa(population=8,k=4,rounds=3)")
    assert strategy.grouping.series == "rsa(population=8,k=4)"  # type: ignore[attr-defined]
    told = strategy.forecast(10, 40)  # type: ignore[attr-defined]
    assert (told.generations, told.attempts, told.reads, told.bound) == (32, 8 * 3 * 4, 4, 32)
    with pytest.raises(UserError, match=r"rsa\.k = 9: it must be at most population = 8"):
        parse("rsa(population=8,k=9,rounds=3)")
