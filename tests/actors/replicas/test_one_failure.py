"""Strategies that fail beside others that do not: each ends on its own, with its reason and its FLOPs, whatever it did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

import actors.engines.local.verifier
from actors.engines.base import ScoreRequest, Scores
from actors.errors import ServiceLost
from actors.replicas.remote_scorer import SCORE_TRIES, ScoreError
from actors.replicas.solving import failure_of
from actors.store.failures import FAILURES_FILE
from actors.store.log import parts, read_ledger
from actors.strategy import Candidate, Models, Prompt, PurseEmpty, Sampling, Solution, Strategy
from orchestration.problems.workers.deadline import Stalled
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from tests.support.inprocess import Cell
from tests.support.tiny import LastDigit, make_task

Solve = Callable[[Prompt, Models], Any]


@dataclass(frozen=True, slots=True)
class Own:
    """A strategy of a user's own, by what its `solve` does."""

    does: Solve
    text: str = "own"
    uses_verifier: bool = True
    sequences: int = 1

    def solve(self, prompt: Prompt, models: Models) -> Any:
        return self.does(prompt, models)


def raising(error: BaseException) -> Solve:
    async def solve(prompt: Prompt, models: Models) -> Solution:
        await models.policy.sample((), (0,))
        raise error

    return solve


def giving(value: object) -> Solve:
    async def solve(prompt: Prompt, models: Models) -> Any:
        return value

    return solve


async def cancels_itself(prompt: Prompt, models: Models) -> Solution:
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    await asyncio.sleep(9)
    raise AssertionError


async def cancels_itself_and_answers(prompt: Prompt, models: Models) -> Solution:
    """It comes to its end before it hears of it."""
    sample = await models.policy.sample((), (0,))
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    return Solution(None, (), 1, len(sample.token_ids))


async def awaits_what_it_cancelled(prompt: Prompt, models: Models) -> Solution:
    child = asyncio.create_task(asyncio.sleep(9))
    child.cancel()
    await child
    raise AssertionError


async def recurses(prompt: Prompt, models: Models) -> Solution:
    return await recurses(prompt, models)


async def draws_with(models: Models, *given: Any, **more: Any) -> Solution:
    await models.policy.sample(*given, **more)
    raise AssertionError


class Unsayable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


CANDIDATE = Candidate(0, (40, 1), (2,), (-1.0,), (), "eos", None)


def giving_one(**changed: Any) -> Solve:
    """With a candidate of which something is other than it should be."""
    return giving(Solution(None, (replace(CANDIDATE, **changed),), 1, 2))


FAILURES: dict[str, tuple[Solve, str]] = {
    "raises": (raising(ValueError("no idea")), "ValueError: no idea"),
    "lines": (raising(ValueError("no\n idea")), "ValueError: no idea"),
    "leaves": (raising(SystemExit(3)), "SystemExit: 3"),
    "stops": (raising(StopIteration()), "RuntimeError: coroutine raised StopIteration"),
    "cancels itself": (cancels_itself, "CancelledError"),
    "cancels a child": (awaits_what_it_cancelled, "CancelledError"),
    "recurses": (recurses, "RecursionError: maximum recursion depth exceeded"),
    "unsayable": (raising(Unsayable()), "Unsayable: (its text raises ValueError)"),
    "not async": (
        lambda *_: "42",
        "TypeError: solve gave str '42' and no coroutine: it must be `async def solve`",
    ),
    "no solution": (giving(None), "TypeError: solve gave NoneType None and not a Solution"),
    "no text": (giving(Solution(42, (), 1, 0)), "answer = int 42, which is not a text"),  # type: ignore[arg-type]
    "half": (giving(Solution(None, (), 1.5, 0)), "generations = float 1.5"),  # type: ignore[arg-type]
    "numpy": (giving(Solution(None, (), np.int64(1), 0)), "generations = int64 "),  # type: ignore[arg-type]
    "large": (giving(Solution(None, (), 1 << 40, 0)), "generations = int 1099511627776"),
    "no candidate": (giving(Solution(None, ("x",), 1, 0)), "candidate 0 is str 'x'"),  # type: ignore[arg-type]
    "no end": (giving_one(finish="end"), "candidate 0 has finish = str 'end'"),
    "list of tokens": (giving_one(token_ids=[40, 1], step_ends=()), "candidate 0 has token_ids that are not"),
    "list of ends": (giving_one(step_ends=[2]), "candidate 0 has step_ends that are not"),
    "inexact": (giving_one(scores=(20_000_001,)), "candidate 0 has scores that are not all numbers"),
    "too large": (giving_one(logprobs=(10**400,)), "candidate 0 has logprobs that are not all numbers"),
    "not UTF-8": (giving(Solution("\ud800", (), 1, 0)), "surrogates not allowed"),
    "no token": (
        lambda _, m: draws_with(m, (10**6,), (0,)),
        "ValueError: prefix has the token 1000000: the policy's are 0 to 96",
    ),
    "no place": (lambda _, m: draws_with(m, (), (1 << 40,)), "ValueError: place = (1099511627776,)"),
    "no temperature": (
        lambda _, m: draws_with(m, (), (0,), sampling=Sampling(float("nan"))),
        "ValueError: temperature = nan",
    ),
    "no score": (lambda _, m: m.verifier.score((40, -1, 13)), "ValueError: solution has the token -1"),
}


def work(count: int, *strategies: Strategy) -> list[Any]:
    return [make_task(number, strategies) for number in range(count)]


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Outcomes by key."""
    table = ds.dataset(parts(folder, "outcomes")).to_table()
    return {row["key"]: row for row in table.to_pylist()}


def by_kind(folder: Path) -> dict[tuple[str, str], int]:
    return {(entry.purpose, entry.kind): entry.flops for entry in read_ledger(folder)}


async def test_whatever_a_strategy_does_it_is_quarantined_and_the_others_are_not(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    """All in one run: none of them takes its replica, the writer or another strategy with it."""
    sound = (Greedy(), BestOfN(2))
    bad = [Own(does, f"own {name}") for name, (does, _) in FAILURES.items()]
    async with Cell(tmp_path / "alone", policy, verifier, replicas=1) as cell:
        await cell.run(work(2, *sound))
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(2, sound[0], *bad, sound[1]))
        assert cell.writer.losses == []
    assert (progress.answered, progress.quarantined) == (4, 2 * len(bad))
    found, alone = rows(tmp_path / "run"), rows(tmp_path / "alone")
    for key, row in alone.items():
        same = ("state", "reason", "answer", "correct", "generations", "attributed_flops", "kept_tokens")
        assert [found[key][name] for name in same] == [row[name] for name in same]
    for name, (_, reason) in FAILURES.items():
        row = found[f"p1/own {name}"]
        assert row["state"] == "quarantined"
        assert reason in row["reason"], row["reason"]
        assert (row["answer"], row["generations"], row["attributed_flops"]) == (None, 0, 0)
    log = (tmp_path / "run" / FAILURES_FILE).read_text()
    assert log.count("own raises failed, first at problem p") == 1, "once, and not for each problem"
    assert log.count("\nValueError: no idea\n") == 1
    assert f'{Path(__file__).name}", line' in log


async def test_a_strategy_that_cancels_itself_and_answers_ends_nothing_but_itself(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(2, Own(cancels_itself_and_answers), Greedy()))
        assert cell.writer.losses == []
    assert (progress.answered, progress.quarantined) == (4, 0)


async def test_what_a_failed_strategy_spent_alone_is_waste_and_what_others_used_is_not(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    """The failed one comes first, so that it pays for what is shared."""

    async def solve(prompt: Prompt, models: Models) -> Solution:
        shared = await models.policy.sample((), (0,))
        await models.policy.sample((), (7,))
        await models.verifier.score(shared.token_ids)
        raise ValueError("no")

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        await cell.run(work(1, Own(solve), Majority(1)))
        price = cell.bench.costs["policy"].paper(1)
    found, kinds = rows(tmp_path / "run"), by_kind(tmp_path / "run")
    own, other = found["p0/own"], found["p0/majority(n=1)"]
    assert other["spent_flops"] == 0
    assert kinds["policy", "kept"] == other["attributed_flops"] == price * other["kept_tokens"]
    assert (
        kinds["policy", "kept"] + kinds["policy", "failed"] + kinds["verifier", "failed"]
        == own["spent_flops"]
    )
    assert kinds["policy", "failed"]
    assert ("verifier", "kept") not in kinds


async def test_what_only_a_failed_strategy_waits_for_is_stopped(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    """It leaves many draws running, one of which another strategy waits for, too."""
    failed = asyncio.Event()

    async def solve(prompt: Prompt, models: Models) -> Solution:
        left = [asyncio.create_task(models.policy.sample((), (i,))) for i in range(64)]
        await asyncio.sleep(0)
        failed.set()
        raise ValueError(f"{len(left)} are left running")

    async def waits(prompt: Prompt, models: Models) -> Solution:
        solution = await Majority(1).solve(prompt, models)
        await failed.wait()
        return solution

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(1, Own(solve), Own(waits, "waits")))
    assert (progress.answered, progress.quarantined) == (1, 1)
    assert len(ds.dataset(parts(tmp_path / "run", "samples")).to_table()) == 1, (
        "the others were never drawn to their end"
    )


async def test_one_askers_end_takes_no_answer_from_another(table: Any) -> None:
    one = table()
    first, second = one.models(), one.models()
    leaving = asyncio.create_task(first.policy.sample((), (0,)))
    staying = asyncio.create_task(second.policy.sample((), (0,)))
    await one.engine.asked.wait()
    one.meters[0].end()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await staying).token_ids
    assert len(one.engine.requests) == 1
    with pytest.raises(RuntimeError, match="this strategy has ended"):
        await first.policy.sample((), (1,))


async def test_who_asks_for_what_was_just_stopped_has_a_request_of_its_own(table: Any) -> None:
    one = table()
    leaving = asyncio.create_task(one.models().policy.sample((), (0,)))
    await one.engine.asked.wait()
    leaving.cancel()
    await asyncio.sleep(0)
    assert (await one.models().policy.sample((), (0,))).token_ids
    assert len(one.engine.requests) == 2
    await one.bench.end()
    assert one.purse.reserved == 0


async def test_a_shared_request_that_fails_reaches_each_asker(table: Any) -> None:
    one = table()
    one.engine.fail_at = 1
    asked = [one.models().policy.sample((), (0,)) for _ in range(2)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(result) for result in results] == ["engine step failed"] * 2
    assert len(one.engine.requests) == 1


class Wrong:
    """A scorer whose first answers are none."""

    def __init__(self, scorer: Any, answers: list[tuple[float, ...] | Exception]) -> None:
        self.scorer, self.answers, self.asked = scorer, answers, 0

    async def score(self, request: ScoreRequest) -> Scores:
        self.asked += 1
        scores: Scores = await self.scorer.score(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return Scores(answer, scores.computed)
        return scores


NAN = float("nan")


@pytest.mark.parametrize(
    "wrong",
    [(NAN, 0.5), (0.5, 1.25), (0.5, -0.1), (0.5,), (0.5, 0.5, 0.5), ScoreError("ValueError: too long")],
    ids=str,
)
async def test_a_score_that_is_none_is_asked_for_again_and_never_a_number(table: Any, wrong: Any) -> None:
    solution = (40, 41, 13, 42, 1)
    one = table()
    passing = one.bench.scorer = Wrong(one.bench.scorer, [wrong] * (SCORE_TRIES - 1))
    assert len(await one.models().verifier.score(solution)) == 2
    lasting = one.bench.scorer = Wrong(passing.scorer, [wrong] * 9)
    with pytest.raises(ScoreError):
        await one.models().verifier.score((50, 13, 51, 1))
    assert (passing.asked, lasting.asked) == (SCORE_TRIES, SCORE_TRIES)
    failed = sum(entry.flops for entry in one.purse.entries if entry.kind == "failed")
    price = one.costs["verifier"].paper
    assert failed == (SCORE_TRIES - 1) * price(5) + SCORE_TRIES * price(4)
    assert one.purse.reserved == 0
    assert len(one.bench.score_rows) == 2


async def test_a_verifier_that_gives_no_number_costs_those_who_asked_for_it(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real verifier, its head gone wrong for one problem."""
    real = actors.engines.local.verifier.ScoringEngine.score

    async def score(self: Any, request: ScoreRequest) -> Scores:
        scores = await real(self, request)
        mine = request.token_ids[:5] == make_task(1, ()).prompt.token_ids
        return Scores((NAN,) * len(scores.values), scores.computed) if mine else scores

    monkeypatch.setattr(actors.engines.local.verifier.ScoringEngine, "score", score)
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(3, Greedy(), BestOfN(2), Majority(2)))
        assert cell.writer.losses == []
    assert (progress.answered, progress.quarantined) == (8, 1)
    assert rows(tmp_path / "run")["p1/best_of_n(n=2)"]["reason"].startswith(
        "ScoreError: the verifier gave the score nan"
    )
    assert by_kind(tmp_path / "run")["verifier", "failed"]


async def test_a_grading_that_fails_costs_the_strategy_whose_answer_it_is(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def correct(self: LastDigit, answer: str | None, reference: str) -> bool:
        if answer == "odd":
            raise OverflowError("cannot compare")
        return answer == reference

    monkeypatch.setattr(LastDigit, "correct", correct)
    odd = Own(giving(Solution("odd", (CANDIDATE,), 1, 2)))
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(1, odd, Greedy()))
        assert cell.writer.losses == []
    assert (progress.answered, progress.quarantined) == (1, 1)
    assert rows(tmp_path / "run")["p0/own"]["reason"] == "OverflowError: cannot compare"


@pytest.mark.parametrize("grading", ["extract", "correct"])
async def test_a_grader_that_got_no_processor_fails_nobody(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch, grading: str
) -> None:
    real, stalls = getattr(LastDigit, grading), [Stalled("a helper process had no answer after 150 s")]

    def graded(self: LastDigit, *given: Any) -> Any:
        if stalls:
            raise stalls.pop()
        return real(self, *given)

    monkeypatch.setattr(LastDigit, grading, graded)
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(1, Greedy(), Majority(4)))
        assert [loss.blamed for loss in cell.writer.losses] == [False]
    assert (progress.answered, progress.quarantined) == (2, 0)


async def test_a_lost_service_is_seen_however_it_is_wrapped(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    """A strategy of the user's own may run its calls in a group, or raise something else in their place."""
    troubles: list[BaseException] = []
    wrapped = ValueError("no score")
    wrapped.__cause__ = ServiceLost("no verifier answers")
    troubles += [wrapped, ExceptionGroup("many", [ServiceLost("no verifier answers"), ValueError("other")])]

    async def solve(prompt: Prompt, models: Models) -> Solution:
        if troubles:
            raise troubles.pop()
        return Solution(None, (), 1, 0)

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(1, Own(solve), Greedy()))
        assert [loss.blamed for loss in cell.writer.losses] == [False, False]
    assert progress.answered == 2


async def test_empty_purses_met_together_are_no_failure(tmp_path: Path, policy: Path, verifier: Path) -> None:
    error = ExceptionGroup("many", [PurseEmpty(), ExceptionGroup("more", [PurseEmpty()])])
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        progress = await cell.run(work(1, Own(raising(error)), Greedy()))
    assert (progress.unaffordable, progress.answered) == (1, 1)


async def test_a_task_that_is_stopped_blames_no_strategy(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    """One that answers its cancellation with something else is over all the same."""
    begun = asyncio.Event()

    async def stubborn(prompt: Prompt, models: Models) -> Solution:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("not me") from None
        raise AssertionError

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        tasks = work(1, Own(stubborn))
        cell.writer.writer.label({task.id: None for task in tasks})
        await cell.scheduler.open()
        await cell.scheduler.submit(tasks)
        running = asyncio.create_task(cell.scheduler.run())
        await begun.wait()
        await cell.scheduler.drain(0)
        await asyncio.wait_for(running, 20)
        assert [(loss.blamed, loss.reason) for loss in cell.writer.losses] == [
            (False, "stopped with the run")
        ]
    assert not parts(tmp_path / "run", "outcomes") or not rows(tmp_path / "run")


def test_one_mistake_is_one_place_whatever_it_says() -> None:
    found = []
    for number in range(2):
        try:
            {}[number]
        except KeyError as error:
            found.append(failure_of(error))
    first, second = found
    assert (first.reason, second.reason) == ("KeyError: 0", "KeyError: 1")
    assert first.place == second.place
    assert first.trace.endswith("KeyError: 0")
    assert Path(__file__).name in first.trace
    assert len(failure_of(RecursionError("x" * 10**6)).trace) < 10**5


async def test_a_prompt_with_a_token_that_the_model_lacks_costs_nothing(table: Any) -> None:
    """A token that was added to the tokenizer: the engine would look behind its table's end, and fail for all."""
    one = table(prompt=Prompt("p", (*make_task(1, ()).prompt.token_ids, 97)))
    with pytest.raises(ValueError, match="the prompt has the token 97: the policy's are 0 to 96"):
        await one.solve(Greedy())
    assert (one.engine.requests, one.purse.spent) == ([], 0)
