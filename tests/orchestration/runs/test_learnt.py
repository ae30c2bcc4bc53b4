"""What a folder tells of courses is what a price counted that heard of them as they ended, whatever was made again."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.messages import Commit, Record
from actors.store.rows import decision_rows
from actors.store.writer import RunWriter
from actors.strategy import Decision, Prompt
from actors.work import Outcome, Task
from orchestration.allocation.courses import Courses
from orchestration.allocation.price import GlobalPrice
from orchestration.allocation.priced import Priced
from orchestration.allocation.value_table import START
from orchestration.runs import learnt
from orchestration.runs.learnt import Learnt
from tests.support.folders import outcome, settled
from tests.support.value_tables import halving_table

TABLE = halving_table()
STAGES = [stage.name for stage in TABLE.stages]
HUGE = 10**19
"""FLOPs of which ten are more than 64 bits hold."""


def task(number: int, *, answered: bool = False) -> Task:
    kept = frozenset({f"p{number}/plan"}) if answered else frozenset[str]()
    return Task(f"p{number}", Prompt(f"p{number}", (1,)), (), (f"p{number}/plan",), 0, answered=kept)


def walked(rng: random.Random, past: tuple[Decision, ...] = ()) -> tuple[Decision, ...]:
    """On from what stands on record, but for a stop, to a later stage; now and then cut short there."""
    done = [replace(one, repeated=True) for one in past if one.option is not None]
    if done and past[-1].option is not None:
        # It was cut short: what it lacked is taken now.
        done[-1] = replace(done[-1], repeated=False, flops=done[-1].flops + HUGE)
    at = len(done)
    stop = rng.randint(at, len(STAGES) - 1)
    cell = past[-1].cell if past and past[-1].option is None else rng.randrange(4) if at else 0
    for place in range(at, stop):
        done.append(
            Decision(STAGES[place], cell, 0.5, 1e-5, STAGES[place + 1], 0.1, rng.randint(1, 9) * HUGE)
        )
        cell = rng.randrange(4)
    cut = 0 < stop < len(STAGES) - 1 and rng.random() < 0.3
    option, flops = (STAGES[stop + 1], 5) if cut else (None, 0)
    return (*done, Decision(STAGES[stop], cell, 0.5, 1e-5, option, 0.1, flops))


def same(one: Courses, other: Courses) -> bool:
    mine, theirs = ((c.begun, c.stopped, *c._leads, *c._flops) for c in (one, other))
    return all(np.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Priced]:
    """A folder of three starts, the last of which was killed, and the allocator that has heard of all of it."""
    rng, heard = random.Random(3), Priced(1, GlobalPrice(TABLE, budget=HUGE * 10_000, prompts=60))
    last: dict[int, tuple[Decision, ...]] = {}
    for start in range(3):
        writer = RunWriter(tmp_path, None)
        for number in range(60) if start == 0 else rng.sample(range(60), 20):
            before = last.get(number, ())
            last[number] = decided = walked(rng, before)
            one = replace(outcome(f"p{number}", "plan"), decisions=decided)
            # Another strategy's, and another seed's, are none of this one's.
            others = (replace(one, strategy="other"), replace(one, seed=7))
            rows = [row for each in (others[0], one, others[1]) for row in decision_rows(each)]
            writer.stage(1, f"p{number}", Record((one,), decisions=rows))
            writer.commit(Commit(settled=(settled(f"p{number}"),)))
            again = task(number, answered=len(before) > 1)
            heard.begin(again)
            heard.end(again, (one,), one.decisions[-1].flops)
        if start == 2:
            writer._log.close()
            writer._lock.release()
        else:
            writer.close()
    return tmp_path, heard


def test_it_is_what_was_heard_live(made: tuple[Path, Priced], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, heard = made
    read = Learnt(folder, "plan", TABLE, (0,))
    assert same(read(), heard.price.courses)
    # However it is parted into batches.
    monkeypatch.setattr(learnt, "BATCH", 3)
    assert same(read(), heard.price.courses)
    assert heard.price.courses.stopped[TABLE.stage(START).cells :].sum() > 40
    assert not same(Learnt(folder, "plan", TABLE, (0, 7))(), heard.price.courses)
    assert Learnt(folder, "none", TABLE, (0,))().begun.sum() == 0


def test_those_that_got_nothing_are_to_come_where_they_are_asked_anew(made: tuple[Path, Priced]) -> None:
    folder, _ = made
    first = TABLE.stage(START).cells
    waiting, anew = (Learnt(folder, "plan", TABLE, (0,), anew=one)().stopped for one in (False, True))
    assert waiting[:first].sum() > 0
    assert anew[:first].sum() == 0
    assert (anew[first:] == waiting[first:]).all()


def test_a_scheduler_that_follows_another_goes_on_with_its_price(made: tuple[Path, Priced]) -> None:
    """It is given the allocator as it was at the start, and what the books say."""
    folder, heard = made
    spent, ended = heard.price.courses.spent, heard.price.courses.ended
    budget = spent + 300 * HUGE
    heard.price._budget, heard.price._prompts = budget, 200
    heard.price.solve()
    fresh = GlobalPrice(TABLE, budget=budget, prompts=200)
    follows = Priced(1, fresh, learnt=Learnt(folder, "plan", TABLE, (0,)))
    follows.resume(spent, ended)
    mine, theirs = follows.price, heard.price
    assert mine.waiting == pytest.approx(theirs.waiting)
    assert (mine.left, mine.reserve) == (theirs.left, theirs.reserve)
    assert mine.price.high == pytest.approx(theirs.price.high)
    without = Priced(1, GlobalPrice(TABLE, budget=budget, prompts=200))
    without.resume(spent, ended)
    assert theirs.price.high > 0
    assert without.price.price.high < 0.9 * theirs.price.high, "it believes that a FLOP buys more"


def test_an_outcome_that_came_to_nothing_again_stands_where_it_stood() -> None:
    price = GlobalPrice(TABLE, budget=10**9, prompts=5)
    allocator = Priced(1_000, price)
    before = price.waiting.sum(), price.reserve
    nothing: tuple[Outcome, ...] = ()
    allocator.begin(task(0, answered=True))
    allocator.lose(task(0, answered=True), 10)
    allocator.begin(task(0, answered=True))
    allocator.end(task(0, answered=True), nothing, 10)
    assert (price.waiting.sum(), price.reserve) == before
    assert price.courses.spent == 20
