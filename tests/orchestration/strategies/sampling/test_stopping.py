"""Strategies that stop sampling when the answers agree: early stopping by windows, and adaptive consistency."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.strategy import PurseEmpty, Sample, Sampling, Solution, Strategy
from orchestration.strategies.sampling.adaptive_consistency import (
    AdaptiveConsistency,
    lead_needed,
    most_at_once,
    stays_ahead,
)
from orchestration.strategies.sampling.early_stopping import EarlyStopping
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.selection import majority
from tests.support.fakes import PROMPT, FakeModels, models, step

ALL: list[EarlyStopping | AdaptiveConsistency] = [
    EarlyStopping(16),
    EarlyStopping(8, window=2),
    EarlyStopping(7, window=3),
    EarlyStopping(3, window=8),
    EarlyStopping(1),
    AdaptiveConsistency(16),
    AdaptiveConsistency(32, threshold=0.8),
    AdaptiveConsistency(5, threshold=0.99),
    AdaptiveConsistency(6, threshold=0.5),
    AdaptiveConsistency(1),
]


async def solve(strategy: Strategy, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


def answering(answers: str) -> FakeModels:
    """Models whose sample i gives the answer i of `answers`: a digit, "?" unreadable, "-" cut off."""
    return models(samples={(i,): _sample(one) for i, one in enumerate(answers)})


def _sample(answer: str) -> Sample:
    if answer == "-":
        return step(4, finish="length")
    return step(9 if answer == "?" else 3 + int(answer), 0)


@dataclass(frozen=True)
class Reading:
    """Both methods, one sample after another, as their papers have them; how many samples of `answers` they draw."""

    answers: list[str | None]

    def early_stopping(self, n: int, window: int) -> int:
        drawn = 0
        while drawn < n:
            part = self.answers[drawn : min(n, drawn + window)]
            drawn += len(part)
            if len(set(part)) == 1 and part[0] is not None:
                break
        return drawn

    def adaptive_consistency(self, n: int, threshold: float) -> int:
        for drawn in range(1, n):
            votes = Counter(answer for answer in self.answers[:drawn] if answer is not None).most_common(2)
            first, second = [*(count for _, count in votes), 0, 0][:2]
            if (
                sum(math.comb(first + second + 1, i) for i in range(first + 1)) / 2 ** (first + second + 1)
                > threshold
            ):
                return drawn
        return n


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_same_samples_as_a_plain_reading_of_the_paper(
    strategy: EarlyStopping | AdaptiveConsistency,
) -> None:
    lengths = set()
    for seed in range(60):
        given = models(seed)
        solution = await solve(strategy, given)
        whole = await solve(Majority(strategy.n), models(seed))
        reading = Reading([c.answer if c.finish == "eos" else None for c in whole.candidates])
        if isinstance(strategy, EarlyStopping):
            expected = reading.early_stopping(strategy.n, strategy.window)
        else:
            expected = reading.adaptive_consistency(strategy.n, strategy.threshold)
        assert solution.candidates == whole.candidates[:expected]
        assert solution.answer == majority(solution.candidates)
        assert solution.generations == len(given.policy.requests) == expected <= strategy.n
        assert given.verifier.requests == []
        lengths.add(expected)
    assert len(lengths) > 1 or strategy.n == 1 or strategy.sequences == strategy.n


@pytest.mark.parametrize(
    ("answers", "drawn", "answer"),
    [
        ("0000111122221111", 4, "0"),
        ("0001111100000000", 8, "1"),
        ("0012001200120012", 16, "0"),
        # An unreadable or cut-off sample agrees with nothing, not even with its like.
        ("000?00000000", 8, "0"),
        ("000-11111111", 8, "1"),
        ("????----????0000", 16, "0"),
        ("????????????????", 16, None),
        # Earlier windows may be for another answer than the one that agrees: all that was drawn votes.
        ("0001000200021111", 16, "0"),
    ],
)
async def test_windows_by_hand(answers: str, drawn: int, answer: str | None) -> None:
    solution = await solve(EarlyStopping(16, window=4), answering(answers))
    assert (solution.generations, solution.answer) == (drawn, answer)


@pytest.mark.parametrize(
    ("answers", "drawn", "answer"),
    [
        # P(stay) = 1 - 2**-5 at four of one answer, 1 - 8/128 at 5:1, 1 - 9/256 at 6:1.
        ("0000111111111111", 4, "0"),
        ("00010001", 7, "0"),
        ("0001000011111111", 7, "0"),
        ("0?0-00", 6, "0"),
        ("0101010101010101", 16, "0"),
        ("????????????????", 16, None),
    ],
)
async def test_stopping_rule_by_hand(answers: str, drawn: int, answer: str | None) -> None:
    solution = await solve(AdaptiveConsistency(16), answering(answers.ljust(16, "0")))
    assert (solution.generations, solution.answer) == (drawn, answer)


@pytest.mark.parametrize(
    ("leader", "runner_up", "chance"),
    [
        (0, 0, 1 / 2),
        (1, 0, 3 / 4),
        (3, 0, 15 / 16),
        (4, 0, 31 / 32),
        (5, 1, 120 / 128),
        (6, 1, 247 / 256),
        (7, 7, 1 / 2),
    ],
)
def test_beta_tail_by_hand(leader: int, runner_up: int, chance: float) -> None:
    assert stays_ahead(leader, runner_up) == chance


@given(st.integers(0, 200), st.integers(0, 200))
def test_beta_tail_is_the_integral(leader: int, runner_up: int) -> None:
    special = pytest.importorskip("scipy.special")
    # The other tail of the same distribution, so that small ones are exact, too.
    assert stays_ahead(leader, runner_up) == pytest.approx(
        special.betainc(runner_up + 1, leader + 1, 0.5), rel=1e-9, abs=1e-15
    )


@given(st.integers(0, 60), st.floats(0.5, 0.999))
def test_lead_needed_is_the_smallest(runner_up: int, threshold: float) -> None:
    needed = lead_needed(runner_up, threshold)
    assert stays_ahead(needed, runner_up) > threshold
    assert needed > runner_up
    assert stays_ahead(needed - 1, runner_up) <= threshold


def test_beta_tail_of_many_samples_is_quick_and_finite() -> None:
    assert stays_ahead(4000, 4000) == 0.5
    assert stays_ahead(5000, 1) == 1.0
    assert lead_needed(0, 1 - 2**-53) == 53
    assert most_at_once(4096, 0.95) > most_at_once(256, 0.95) > 4


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_no_more_at_once_than_declared_and_declared_is_no_guess(
    strategy: EarlyStopping | AdaptiveConsistency,
) -> None:
    peaks = []
    for answers in ("01" * 16, "0" * 32, "?" * 32, "0011" * 8):
        given = answering(answers)
        running = peak = 0
        original = given.policy.sample

        async def counted(prefix, place, *, original=original, **how):  # type: ignore[no-untyped-def]
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            sample = await original(prefix, place, **how)
            running -= 1
            return sample

        given.policy.sample = counted  # type: ignore[method-assign]
        given.policy.delays = 1
        await solve(strategy, given)
        peaks.append(peak)
    assert max(peaks) <= strategy.sequences <= 1.5 * max(peaks)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_result_depends_on_places_and_not_on_order_of_completion(strategy: Strategy) -> None:
    for seed in range(5):
        expected = await solve(strategy, models(seed))
        for delays in range(5):
            assert await solve(strategy, models(seed, delays=delays)) == expected


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_anytime_for_every_size_of_the_purse(strategy: Strategy) -> None:
    whole = await solve(strategy, models(3))
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(3, limit=0))
    for limit in range(1, whole.generations + 1):
        for delays in (None, 1, 2):
            given = models(3, limit=limit, delays=delays)
            solution = await solve(strategy, given)
            assert solution.generations == len(solution.candidates) == limit
            assert given.policy.purse.used <= limit
            assert len(given.policy.requests) <= limit + strategy.sequences
            assert set(solution.candidates) <= set(whole.candidates)
            assert solution.answer == majority(solution.candidates)


async def test_a_refused_sample_is_the_last_window() -> None:
    given = answering("0120012001200120")
    original = given.policy.sample

    async def refuses_one(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (5,):
            raise PurseEmpty("empty")
        return await original(prefix, place, **how)

    given.policy.sample = refuses_one  # type: ignore[method-assign]
    for strategy in (EarlyStopping(16, window=4), AdaptiveConsistency(16)):
        solution = await solve(strategy, given)
        assert [c.index for c in solution.candidates] == [
            0,
            1,
            2,
            3,
            4,
            *range(6, 6 + solution.generations - 5),
        ]
        assert solution.generations < 8


async def test_samples_are_those_of_majority_with_the_same_sampling() -> None:
    for strategy in (
        EarlyStopping(8, temperature=0.7, top_p=0.9),
        AdaptiveConsistency(8, temperature=0.7, top_p=0.9),
    ):
        given = models(1)
        await solve(strategy, given)
        assert {replace(r[3]) for r in given.policy.requests} == {Sampling(0.7, 0.9)}
        assert [r[:3] for r in given.policy.requests] == [
            ((), (i,), False) for i in range(len(given.policy.requests))
        ]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: EarlyStopping(0), r"early_stopping\.n"),
        (lambda: EarlyStopping(4, window=1), r"early_stopping\.window = 1: must be at least 2"),
        (lambda: EarlyStopping(4, window=2.0), r"early_stopping\.window"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(4, temperature=0), r"early_stopping\.temperature"),
        (lambda: EarlyStopping(4, top_p=0), r"early_stopping\.top_p"),
        (lambda: AdaptiveConsistency(True), r"adaptive_consistency\.n"),
        (lambda: AdaptiveConsistency(4, threshold=1), r"adaptive_consistency\.threshold = 1"),
        (lambda: AdaptiveConsistency(4, threshold=0.4), r"adaptive_consistency\.threshold"),
        (lambda: AdaptiveConsistency(4, threshold=math.nan), r"adaptive_consistency\.threshold"),
        (lambda: AdaptiveConsistency(4, threshold="high"), r"adaptive_consistency\.threshold"),  # type: ignore[arg-type]
        (lambda: AdaptiveConsistency(4, temperature=math.inf), r"adaptive_consistency\.temperature"),
        (lambda: AdaptiveConsistency(4, top_p=1.5), r"adaptive_consistency\.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
