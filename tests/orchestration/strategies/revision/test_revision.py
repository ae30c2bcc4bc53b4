"""What a chain shows its reviser, where it stands, and what of it is kept."""

from __future__ import annotations

import pytest

from actors.strategy import Grouping, PurseEmpty, Sample
from orchestration.strategies.parse import parse
from orchestration.strategies.revision.revision import Revision
from tests.support.fakes import EOS, answer_of, models, solve, step

UNREADABLE = step(9, EOS)
CUT = Sample((2, 3), (-1.0, -1.0), "length")


async def test_each_attempt_reads_the_last_ones_before_it_in_its_chain() -> None:
    given = models(end_rate=1.0)
    solution = await solve(Revision(sequential=5, parallel=2, context=2), given)
    by_place = {place: shown for shown, place in given.reviser.requests}
    assert sorted(by_place) == [(chain, at) for chain in range(2) for at in range(5)]
    chains = [[one for one in solution.candidates if one.index // 5 == chain] for chain in range(2)]
    for number, chain in enumerate(chains):
        for at, one in enumerate(chain):
            fit = [c.token_ids for c in chain[:at] if c.finish == "eos" and c.answer is not None]
            assert by_place[number, at] == tuple(fit[-2:])
            assert given.verifier.after[one.token_ids] == by_place[number, at]
            assert one.index == number * 5 + at
            assert (one.parent, one.depth) == (one.index - 1 if at else -1, 0)
            assert one.answer == answer_of(one.token_ids)
    assert solution.generations == len(solution.candidates) == 10
    assert any(len(shown) == 2 for shown in by_place.values())


async def test_an_attempt_that_was_cut_off_or_cannot_be_read_is_shown_to_none() -> None:
    given = models()
    first, last = step(4, EOS), step(5, EOS)
    given.reviser.table = {(0, 0): first, (0, 1): CUT, (0, 2): UNREADABLE, (0, 3): last, (0, 4): last}
    solution = await solve(Revision(sequential=5, parallel=1), given)
    shown = [attempts for attempts, _ in given.reviser.requests]
    one, both = (first.token_ids,), (first.token_ids, last.token_ids)
    assert shown == [(), one, one, one, both]
    assert [one.kept for one in solution.candidates] == [True] * 5


async def test_chains_of_any_length_and_number_share_what_they_have_in_common() -> None:
    long, wide = await solve(Revision(4, 1), models()), await solve(Revision(2, 3), models())
    drawn = {(one.index // 4, one.index % 4): one.token_ids for one in long.candidates}
    also = {(one.index // 2, one.index % 2): one.token_ids for one in wide.candidates}
    both = drawn.keys() & also.keys()
    assert both == {(0, 0), (0, 1)}
    assert all(drawn[place] == also[place] for place in both)


async def test_a_chain_that_the_purse_ends_keeps_what_it_has() -> None:
    strategy = Revision(sequential=3, parallel=2, select="majority")
    whole = await solve(strategy, models())
    for limit in range(1, 6):
        solution = await solve(strategy, models(limit=limit))
        assert solution.generations == len(solution.candidates) == limit
        kept = {one.index for one in solution.candidates}
        assert all(one.parent in {-1, *kept} for one in solution.candidates)
        assert {one.token_ids for one in solution.candidates} <= {one.token_ids for one in whole.candidates}
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(limit=0))


async def test_a_majority_asks_no_verifier_and_a_selection_scores_every_attempt_once() -> None:
    for select in ("hierarchical", "weighted", "majority"):
        given = models()
        strategy = Revision(sequential=3, parallel=2, select=select)  # type: ignore[arg-type]
        solution = await solve(strategy, given)
        scored = len(given.verifier.requests)
        assert scored == (0 if select == "majority" else 6)
        assert strategy.uses_verifier == (scored > 0) == all(one.scores for one in solution.candidates)


@pytest.mark.parametrize(
    ("text", "series", "n"),
    [
        ("revision(sequential=1,parallel=16)", "revision(sequential=1)", 16),
        ("revision(sequential=1,parallel=1)", "revision(sequential=1)", 1),
        ("revision(sequential=16,parallel=1)", "revision(parallel=1)", 16),
        ("revision(sequential=2,parallel=8)", "revision(ratio=1:4)", 16),
        ("revision(sequential=4,parallel=16,select=majority)", "revision(ratio=1:4,select=majority)", 64),
        ("revision(sequential=32,parallel=4,context=2)", "revision(ratio=8:1,context=2)", 128),
    ],
)
def test_a_curve_has_one_ratio(text: str, series: str, n: int) -> None:
    assert parse(text).grouping == Grouping("revision", series, n)  # type: ignore[attr-defined]


def test_a_forecast_counts_the_attempts_that_are_read() -> None:
    told = Revision(sequential=6, parallel=2, context=4).forecast(10, 40)
    # 0, 1, 2, 3, 4 and 4 attempts before those of a chain.
    assert (told.attempts, told.reads) == (2 * 14, 4)
    assert (told.generations, told.sequences, told.tokens, told.bound) == (12, 12, 120, 12)
    assert Revision(sequential=1, parallel=9).forecast(10, 40).attempts == 0
