"""What the reviser of a search reads, what its steps are, and what of both parts counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.strategy import Grouping, PurseEmpty, Sample, Sampling
from orchestration.strategies.parse import parse
from orchestration.strategies.revision.after import After
from orchestration.strategies.revision.revision_search import RevisionSearch
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.watched import Watched
from tests.support.fakes import EOS, NEWLINE, FakeModels, models, solve, step
from tests.support.table import PROMPT, Table
from tests.support.tiny import FRAMING, MAX_TOKENS, save_policy, save_verifier

TEXT = "revision_search(of='best_of_n(n=3)',search='beam(n=2,width=2)',best=2)"


def made(text: str = TEXT) -> RevisionSearch:
    found = parse(text)
    assert isinstance(found, RevisionSearch)
    return found


# Attempts with the answers 1, 2 and 2; the second is worth most, the third is cut off.
WRONG, BEST, CUT = (4, EOS), (5, EOS), (8, 8)
ATTEMPTS = {(0,): step(*WRONG), (1,): step(*BEST), (2,): step(*CUT)}
VALUES = {WRONG: 0.25, BEST: 0.5, CUT: 1.0}

# Of two first steps the second is better; of the steps behind it one ends with the answer 1, one goes on.
FIRST, SECOND = (2, NEWLINE), (3, NEWLINE)
ENDS, GOES_ON = (7, EOS), (6, NEWLINE)
STEPS = {(0,): step(*FIRST), (1,): step(*SECOND), (1, 0): step(*ENDS), (1, 1): step(*GOES_ON)}
STEP_VALUES = {FIRST: 0.5, SECOND: 0.75, SECOND + ENDS: 0.9375, SECOND + GOES_ON: 0.0625}


def worked() -> FakeModels:
    given = models(samples=dict(ATTEMPTS), scores=VALUES | STEP_VALUES)
    given.reviser.table = dict(STEPS)
    return given


async def test_by_hand_a_search_of_two_rounds_after_two_attempts() -> None:
    given = worked()
    solution = await solve(made(), given)
    # The best attempt stands last; the one that was cut off is not shown, whatever its value.
    read = (WRONG, BEST)
    assert given.reviser.requests == [(read, (0,)), (read, (1,)), (read, (1, 0)), (read, (1, 1))]
    assert given.reviser.begun == [((), True), ((), True), (SECOND, True), (SECOND, True)]
    # The policy drew whole samples alone.
    assert [place for _, place, _, _ in given.policy.requests] == [(0,), (1,), (2,)]
    shown = {tokens: after for tokens, after in given.verifier.after.items() if after}
    assert shown == dict.fromkeys((FIRST, SECOND, SECOND + ENDS, SECOND + GOES_ON), read)
    kept = [
        (one.index, one.token_ids, one.answer, one.parent, one.depth)
        for one in solution.candidates
        if one.kept
    ]
    assert kept == [
        (0, WRONG, "1", -1, 0),
        (1, BEST, "2", -1, 0),
        (2, CUT, "2", -1, 0),
        (3, SECOND + ENDS, "1", -1, 0),
    ]
    # 0.25 + 0.9375 for 1, and 0.5 for 2, which alone was ahead.
    assert (solution.answer, solution.generations) == ("1", 3 + 2)
    assert (await solve(BestOfN(3), worked())).answer == "2"
    assert solution.kept_tokens == sum(map(len, (WRONG, BEST, CUT, SECOND, ENDS)))
    # Of the dropped steps, as of all, the indices stand behind those of the samples.
    assert sorted(one.index for one in solution.candidates) == list(range(len(solution.candidates)))
    parents = {one.index: one.parent for one in solution.candidates}
    assert all(parent == -1 or 3 <= parent < index for index, parent in parents.items())


async def test_without_an_attempt_to_show_the_search_reads_the_prompt_alone() -> None:
    given = models(samples=dict.fromkeys(ATTEMPTS, step(*CUT)))
    solution = await solve(made(), given)
    assert {attempts for attempts, _ in given.reviser.requests} == {()}
    assert set(given.verifier.after.values()) == {()}
    assert solution.generations == 5
    copies = models(samples=dict.fromkeys(ATTEMPTS, step(*BEST)))
    await solve(made(), copies)
    assert {attempts for attempts, _ in copies.reviser.requests} == {(BEST,)}


@pytest.mark.parametrize(
    "search",
    [
        "beam(n=4,width=2)",
        "lookahead(n=4,width=2,k=2)",
        "dvts(n=4,width=2)",
        "rebase(n=4)",
        "particle_filtering(n=4)",
        "mcts(n=4,width=2)",
        "best_of_n(n=4)",
        "beam(n=1)",
    ],
)
async def test_every_search_runs_unchanged_with_the_reviser_in_the_policys_place(search: str) -> None:
    """It finds what it would find alone, if the policy drew what the reviser does."""
    text = f"revision_search(of='best_of_n(n=3)',search={search!r},best=2)"
    given = models()
    solution = await solve(made(text), given)
    alone = models()
    read = {attempts for attempts, _ in given.reviser.requests}
    [attempts] = read
    found = await solve(parse(search), After(alone, attempts))  # type: ignore[arg-type]
    assert not alone.policy.requests
    samples = (await solve(BestOfN(3), models())).candidates
    assert solution.candidates[:3] == samples
    moved = [
        replace(one, index=3 + one.index, parent=one.parent + 3 if one.parent >= 0 else -1)
        for one in found.candidates
    ]
    assert list(solution.candidates[3:]) == moved
    assert solution.generations == 3 + found.generations
    assert solution.kept_tokens == sum(len(one.token_ids) for one in samples) + found.kept_tokens


async def test_a_purse_that_ends_in_the_search_leaves_what_was_found_before_it() -> None:
    whole = await solve(made(), models())
    sizes = []
    for limit in range(1, 40):
        watched = Watched(models(limit=limit))  # type: ignore[arg-type]
        solution = await made().solve(PROMPT, watched)
        first = await solve(BestOfN(3), models(limit=limit))
        count = len(first.candidates)
        assert solution.candidates[:count] == first.candidates
        if not any(one.finish == "eos" and one.kept for one in solution.candidates[count:]):
            assert solution.answer == first.answer
        assert watched.refused or solution == whole
        sizes.append(solution.generations)
    assert not watched.refused
    assert sizes[0] == 1 < 3 < sizes[-1] == 5
    assert sizes == sorted(sizes)
    with pytest.raises(PurseEmpty):
        await solve(made(), models(limit=0))


def test_it_is_one_strategy_however_it_is_written_and_has_its_place_on_a_curve() -> None:
    one = made("revision_search(best=3, search='beam( n=8 )', of='best_of_n(n=16)')")
    assert one.text == "revision_search(of='best_of_n(n=16)',search='beam(n=8,width=4)',best=3)"
    assert parse(one.text) == one
    series = "revision_search(of='best_of_n',search='beam(width=4)',best=3,ratio=2:1)"
    assert one.grouping == Grouping("revision_search", series, 24)
    half = made("revision_search(of='best_of_n(n=8)',search='beam(n=4)',best=3)")
    assert half.grouping == Grouping("revision_search", series, 12)
    # Another ratio of the same budget is on another curve.
    even = made("revision_search(of='best_of_n(n=12)',search='best_of_n(n=12)',best=3,aggregation=min)")
    series = "revision_search(of='best_of_n',search='best_of_n',best=3,aggregation=min,ratio=1:1)"
    assert even.grouping == Grouping("revision_search", series, 24)


def test_a_forecast_tells_what_the_reviser_draws_usually_and_at_worst() -> None:
    told = made().forecast(24, 40)
    first, then = BestOfN(3).forecast(24, 40), Beam(2, width=2).forecast(24, 40)
    assert (told.generations, told.sequences, told.tokens) == (5, 5, 5 * 24)
    assert (told.revised, told.most_revised) == (2, then.bound)
    assert told.bound == 3 + (then.bound or 0) > 5
    assert told.candidates == first.candidates + then.candidates
    assert (told.attempts, told.reads, told.begins) == (2, 2, (Sampling(), 3))
    searched = made("revision_search(of='beam(n=4)',search='best_of_n(n=4)',best=1)").forecast(24, 40)
    assert (searched.begins, searched.most_revised) == (None, 4)


@pytest.mark.parametrize(
    "given",
    ["majority(n=4)", "greedy", "bem(n=4)", "compute_optimal(n=4)", "revision(sequential=2,parallel=2)", 3],
)
@pytest.mark.parametrize("field", ["of", "search"])
def test_what_leaves_nothing_to_choose_by_or_asks_another_model_is_refused(field: str, given: object) -> None:
    texts: dict[str, object] = {"of": "beam(n=4)", "search": "beam(n=4)", field: given}
    with pytest.raises(UserError, match=rf"revision_search\.{field} = .*{field}='beam\(n=16\)'"):
        parse(f"revision_search(of={texts['of']!r},search={texts['search']!r},best=1)")


async def test_on_real_engines_each_step_reads_the_attempts_and_its_own_beginning(tmp_path: Path) -> None:
    text = "revision_search(of='best_of_n(n=6)',search='beam(n=4,width=2)',best=2)"
    policy, verifier = save_policy(tmp_path / "policy"), save_verifier(tmp_path / "verifier")
    one = Table(policy, verifier, reviser=policy)
    one.bench.run = replace(one.bench.run, judging=FRAMING, judged=128)
    [solution] = await one.solve(made(text))
    samples = solution.candidates[:6]
    fit = [c for c in samples if c.finish == "eos" and c.answer is not None and c.scores]
    unlike = {c.token_ids: c for c in reversed(fit)}.values()
    best = sorted(unlike, key=lambda c: (-c.scores[-1], c.index))[:2]
    assert len(best) == 2
    attempts = (best[1].token_ids, best[0].token_ids)
    before = FRAMING.context(PROMPT.token_ids, attempts)
    drawn: dict[tuple[int, ...], Sample] = {}
    for (context, prefix, place, one_step, _), done in one.bench.revisions.items():
        assert (context, one_step) == (before, True)
        drawn[place] = done.result()
        own = tuple(i for end in range(1, len(place)) for i in drawn[place[:end]].token_ids)
        assert prefix == own, "its parent's tokens, id by id"
    asked = {request.token_ids: request.max_tokens for request in one.drawing["reviser"].requests}
    assert all(context[: len(before)] == before for context in asked)
    assert all(len(context) - len(before) + most == MAX_TOKENS for context, most in asked.items())
    assert any(len(place) > 1 for place in drawn)
    # The verifier that was trained to reads the same attempts before what it scores of the search.
    starts = {request.prompt_length for request in one.scorer.requests}
    assert starts == {len(PROMPT.token_ids), len(before)}
    await one.close()
