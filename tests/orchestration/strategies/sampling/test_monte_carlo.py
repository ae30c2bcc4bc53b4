"""Data for a process reward model: samples, their prefixes, the prefixes' rollouts."""

from collections import defaultdict
from dataclasses import replace

import pytest

from actors.strategy import PurseEmpty
from orchestration.strategies.drawing import step_logprobs
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.sampling.monte_carlo import MonteCarlo
from tests.support.fakes import PROMPT, models, step

STRATEGY = MonteCarlo(samples=6, rollouts=3)


async def test_every_prefix_of_every_good_sample_gets_its_rollouts_once() -> None:
    for seed in range(10):
        given = models(seed)
        solution = await STRATEGY.solve(PROMPT, given)
        samples, rollouts = solution.candidates[:6], solution.candidates[6:]
        prefixes = {
            s.token_ids[:end]
            for s in samples
            if s.finish == "eos" and s.answer is not None
            for end in s.step_ends[:-1]
        }
        drawn = defaultdict(list)
        for r in rollouts:
            parent = samples[r.parent]
            end = parent.step_ends[r.depth - 1]
            assert r.token_ids[:end] == parent.token_ids[:end]
            assert not r.kept
            drawn[r.token_ids[:end]].append(r)
        assert {prefix: len(found) for prefix, found in drawn.items()} == dict.fromkeys(prefixes, 3)
        assert [r[0] for r in given.policy.requests[:6]] == [()] * 6
        assert len({r[1] for r in given.policy.requests}) == len(given.policy.requests)
        assert [c.index for c in solution.candidates] == list(range(len(solution.candidates)))


async def test_cost_in_generations_and_kept_tokens() -> None:
    given = models(2)
    solution = await STRATEGY.solve(PROMPT, given)
    assert solution.generations == len(solution.candidates) == len(given.policy.requests) > 6
    assert solution.kept_tokens == sum(len(c.token_ids) for c in solution.candidates[:6])
    assert given.verifier.requests == []


async def test_answer_and_samples_are_those_of_majority() -> None:
    for seed in range(10):
        data = await STRATEGY.solve(PROMPT, models(seed))
        plain = await Majority(6).solve(PROMPT, models(seed))
        assert data.answer == plain.answer
        assert data.candidates[:6] == plain.candidates


async def test_shared_prefixes_belong_to_the_first_sample() -> None:
    samples = {
        (0,): step(2, 1, 3, 1, 4, 0),
        (1,): step(2, 1, 3, 1, 4, 0),
        (2,): step(2, 1, 5, 1, 4, 0),
        (3,): step(4, 0),
    }
    given = models(samples=samples)
    solution = await MonteCarlo(samples=4, rollouts=2).solve(PROMPT, given)
    assert [(c.parent, c.depth) for c in solution.candidates[4:]] == [(0, 1)] * 2 + [(0, 2)] * 2 + [
        (2, 2)
    ] * 2
    places = [r[1] for r in given.policy.requests[4:]]
    assert sorted(places) == sorted((i, -d, r) for i, d in ((0, 1), (0, 2), (2, 2)) for r in range(2))


@pytest.mark.parametrize("bad", [step(2, 1, 9, 0), step(2, 1, 3, finish="length")], ids=["unread", "cut off"])
async def test_nothing_is_paid_for_samples_that_make_bad_data(bad) -> None:  # type: ignore[no-untyped-def]
    given = models(samples={(0,): bad, (1,): step(3, 0)})
    solution = await MonteCarlo(samples=2, rollouts=4).solve(PROMPT, given)
    assert solution.generations == 2


async def test_log_probabilities_of_shared_steps_are_the_samples() -> None:
    samples = {(0,): step(2, 1, 3, 1, 0), (0, -1, 0): step(4, 4, 0)}
    solution = await MonteCarlo(samples=1, rollouts=1).solve(PROMPT, models(samples=samples))
    assert solution.candidates[0].logprobs == (-2.0, -2.0)
    assert solution.candidates[1].logprobs == (-2.0, -3.0)


async def test_what_lacks_the_log_probabilities_of_some_tokens_has_none() -> None:
    """Trap: sums over fewer tokens look like likelier steps."""
    lone, both = step(2, 1, 3, 1, 0), step(4, 4, 0)
    for first, second in ((replace(lone, logprobs=()), both), (lone, replace(both, logprobs=()))):
        samples = {(0,): first, (0, -1, 0): second}
        solution = await MonteCarlo(samples=1, rollouts=1).solve(PROMPT, models(samples=samples))
        assert solution.candidates[0].logprobs == ((-2.0, -2.0) if first.logprobs else ())
        assert solution.candidates[1].logprobs == ()
    # As many as the steps have tokens, but of others: one is missing in front, one stands behind the last step.
    assert step_logprobs((-1.0,) * 4, (2, 4), tokens=5) == ()
    assert step_logprobs((-1.0,) * 5, (2, 4), tokens=5) == (-2.0, -2.0)


async def test_continuation_that_only_ends_adds_no_step() -> None:
    samples = {(0,): step(2, 1, 3, 1, 0), (0, -1, 0): step(0)}
    solution = await MonteCarlo(samples=1, rollouts=1).solve(PROMPT, models(samples=samples))
    rollout = solution.candidates[1]
    assert (rollout.token_ids, rollout.step_ends, rollout.logprobs) == ((2, 1, 0), (2,), (-2.0,))


async def test_result_depends_on_places_and_not_on_order_of_completion() -> None:
    expected = await STRATEGY.solve(PROMPT, models(2))
    for delays in range(5):
        assert await STRATEGY.solve(PROMPT, models(2, delays=delays)) == expected


async def test_no_more_sequences_at_once_than_declared() -> None:
    given = models(2, delays=3)
    running = peak = 0
    original = given.policy.sample

    async def counted(prefix, place, **how):  # type: ignore[no-untyped-def]
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        sample = await original(prefix, place, **how)
        running -= 1
        return sample

    given.policy.sample = counted  # type: ignore[method-assign]
    await STRATEGY.solve(PROMPT, given)
    assert peak <= STRATEGY.sequences


async def test_anytime_for_every_size_of_the_purse() -> None:
    whole = await STRATEGY.solve(PROMPT, models(2))
    by_index = {c.index: c for c in whole.candidates}
    with pytest.raises(PurseEmpty):
        await STRATEGY.solve(PROMPT, models(2, limit=0))
    for limit in range(1, whole.generations + 1):
        solution = await STRATEGY.solve(PROMPT, models(2, limit=limit))
        assert solution.generations == len(solution.candidates) == limit
        if limit >= 6:
            assert solution.answer == whole.answer
            assert all(by_index[c.index] == c for c in solution.candidates)
