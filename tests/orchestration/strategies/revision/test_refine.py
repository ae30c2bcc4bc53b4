"""Which candidates of a search are revised, what a further attempt reads, and what of it counts."""

from __future__ import annotations

import pytest

from actors.errors import UserError
from actors.strategy import Grouping, PurseEmpty
from orchestration.strategies.parse import parse
from orchestration.strategies.revision.refine import Refine
from orchestration.strategies.revision.revision import Revision
from orchestration.strategies.sampling.best_of_n import BestOfN
from tests.support.fakes import models, solve

TEXT = "refine(of='best_of_n(n=6)',best=2,attempts=3,context=2)"


def refine(text: str = TEXT) -> Refine:
    found = parse(text)
    assert isinstance(found, Refine)
    return found


async def test_the_best_candidates_begin_chains() -> None:
    given = models(end_rate=1.0)
    solution = await solve(refine(), given)
    found = await solve(BestOfN(6), models(end_rate=1.0))
    assert solution.candidates[:6] == found.candidates
    # By the verifier's value, the smaller index first among equals; of copies one.
    unlike = {one.token_ids: one for one in reversed(found.candidates) if one.answer is not None}
    best = sorted(unlike.values(), key=lambda one: (-one.scores[-1], one.index))[:2]
    shown = {place: attempts for attempts, place in given.reviser.requests}
    assert sorted(shown) == [(rank, step) for rank in range(2) for step in (1, 2, 3)]
    for rank, begun in enumerate(best):
        mine = solution.candidates[6 + 3 * rank : 9 + 3 * rank]
        assert [one.index for one in mine] == [6 + 3 * rank + at for at in range(3)]
        assert [one.parent for one in mine] == [begun.index, mine[0].index, mine[1].index]
        read = [begun.token_ids]
        for step, one in enumerate(mine, start=1):
            assert shown[rank, step] == tuple(read[-2:]) == given.verifier.after[one.token_ids]
            if one.finish == "eos" and one.answer is not None:
                read.append(one.token_ids)
    assert solution.generations == 12
    assert solution.kept_tokens == sum(len(one.token_ids) for one in solution.candidates)


async def test_a_purse_shortens_chains_and_takes_nothing_from_what_was_found() -> None:
    lengths = []
    for limit in range(1, 30, 2):
        solution = await solve(refine(), models(limit=limit))
        assert solution.generations == len(solution.candidates) <= limit
        lengths.append(len(solution.candidates))
        kept = {one.index for one in solution.candidates}
        assert all(one.parent in {-1, *kept} for one in solution.candidates)
    assert lengths == sorted(lengths)
    assert lengths[0] == 1 < 6 < lengths[-1]
    with pytest.raises(PurseEmpty):
        await solve(refine(), models(limit=0))


async def test_first_attempts_of_the_policy_are_the_samples_of_best_of_n() -> None:
    given = models()
    solution = await solve(Revision(3, 4, first="policy"), given)
    samples = (await solve(BestOfN(4), models())).candidates
    firsts = [one for one in solution.candidates if one.index % 3 == 0]
    assert [(one.token_ids, one.answer, one.scores) for one in firsts] == [
        (one.token_ids, one.answer, one.scores) for one in samples
    ]
    assert {place for _, place in given.reviser.requests} == {(c, s) for c in range(4) for s in (1, 2)}


def test_it_is_one_strategy_however_it_is_written_and_has_its_place_on_a_curve() -> None:
    one = refine("refine(attempts=2, best=4, of='beam( n=16 )')")
    assert one.text == "refine(of='beam(n=16,width=4)',best=4,attempts=2)"
    assert parse(one.text) == one
    series = "refine(of='beam(width=4)',best=4,attempts=2)"
    assert one.grouping == Grouping("refine", series, 24)
    told = one.forecast(10, 40)
    assert (told.generations, told.revised, told.attempts, told.reads) == (24, 8, 4 * 3, 2)


@pytest.mark.parametrize(
    "of",
    ["majority(n=4)", "greedy", "bem(n=4)", "compute_optimal(n=4)", "revision(sequential=2,parallel=2)", 3],
)
def test_what_leaves_nothing_to_choose_by_is_refused(of: object) -> None:
    with pytest.raises(UserError, match=r"refine\.of = .*of='beam\(n=16\)'"):
        parse(f"refine(of={of!r},best=1,attempts=1)")
