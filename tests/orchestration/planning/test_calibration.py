"""A plan from a run: what it holds, what it is judged on, and what is refused before anything is drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.errors import UserError
from orchestration.allocation.plan import Plan, read_plan
from orchestration.planning.bench import WEIGHTED
from orchestration.planning.calibration import (
    CalibrateSettings,
    PlanSettings,
    by_difficulty,
    check_drawn,
    check_sweep,
    make_plan,
    strategies_at,
    value_of,
    write_plan,
)
from orchestration.planning.sources import LEAST, Source, choose, read_source
from orchestration.runs.identity import model_hashes
from orchestration.runs.run import Run
from orchestration.setup.compose import compose
from orchestration.setup.prepare import prepare
from orchestration.strategies.sampling.best_of_n import BestOfN
from tests.support.handmade import rewritten
from tests.support.planned import write_planned
from tests.support.pools import judged, made_pools

SETTINGS = PlanSettings(orders=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(
        write_planned(tmp_path_factory.mktemp("calibration") / "run", problems=LEAST, ladder=(1, 4, 8))
    )


@pytest.fixture(scope="module")
def plan(run: Run) -> Plan:
    return make_plan(run, SETTINGS)


def test_a_plan_says_what_it_was_made_of(plan: Plan) -> None:
    made = plan.made
    assert made.models == {"policy": "p0", "verifier": "v0"}
    assert (made.grader, made.unit, made.problems, made.orders) == ("number-1", "paper", LEAST, 1)
    assert plan.offer.samples == (1, 2, 4, 8)
    assert plan.offer.searches == ("greedy", "beam(n=4,width=4)", "beam(n=8,width=4)")
    assert sum(one.problems for one in plan.calibration) == pytest.approx(LEAST, rel=0.01)


def test_it_is_read_back_equal_and_made_again_equal(plan: Plan, run: Run, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "new" / "plan.yaml")
    assert read_plan(tmp_path / "new" / "plan.yaml") == plan
    again = make_plan(run, SETTINGS)
    assert replace(again, made=replace(again.made, day=plan.made.day)) == plan


def test_every_bin_has_a_strategy_at_every_budget_that_half_of_the_samples_pay(plan: Plan) -> None:
    assert plan.difficulty is not None
    assert plan.difficulty.samples == 4
    bins = range(1, len(plan.difficulty.thresholds) + 2)
    assert {(pick.bin, pick.n) for pick in plan.picks} == {(one, n) for one in bins for n in (1, 2, 4)}
    assert sum(pick.problems for pick in plan.picks if pick.n == 4) == LEAST
    at_four = {pick.strategy for pick in plan.picks if pick.n == 4}
    assert at_four <= {"best_of_n(n=4)", "majority(n=4)", "beam(n=4,width=4)"}


def test_no_sample_serves_both_a_bin_and_its_judgement() -> None:
    """What the other half holds changes nothing, whichever half it is."""
    pools = made_pools(60, seed=2)
    chooser = BestOfN(16)
    searches = tuple(pools[0].searches)
    source = Source(chooser, searches, pools, WEIGHTED)
    swapped = [replace(one, samples=one.samples[:8] + one.samples[8:][::-1]) for one in pools]
    told = [value_of(pool, 8, 4, source.counting) for pool in pools]
    elsewhere = [replace(one, samples=one.samples[:8][::-1] + one.samples[8:]) for one in pools]
    assert [value_of(pool, 8, 4, source.counting) for pool in elsewhere] == told
    judged = strategies_at(source, [4], seed=0)[4]
    for name, right in strategies_at(replace(source, pools=swapped), [4], seed=0)[4].items():
        np.testing.assert_array_equal(right, judged[name])


def test_where_the_prompt_alone_tells_the_bin_all_samples_judge() -> None:
    pools = judged(made_pools(60, seed=2))
    source = Source(BestOfN(16), tuple(pools[0].searches), pools, WEIGHTED)
    difficulty, picks = by_difficulty(source, replace(SETTINGS, difficulty="prompt"))
    assert difficulty is not None
    assert difficulty.samples == 0
    assert {pick.n for pick in picks} == {1, 2, 4, 8, 16}
    whole = strategies_at(source, [16], seed=0, half=None)[16]
    assert whole["best_of_n(n=16)"].mean() > strategies_at(source, [1], seed=0)[1]["best_of_n(n=1)"].mean()
    assert set(np.unique(whole["best_of_n(n=16)"])) <= {0.0, 1.0}, (
        "one vote of all samples, whichever way they stand"
    )


def test_equal_values_make_fewer_bins_and_none_is_empty() -> None:
    pools = [
        replace(
            pool,
            samples=tuple(
                replace(one, candidate=replace(one.candidate, scores=(0.9 if at % 3 else 0.2,)))
                for one in pool.samples
            ),
        )
        for at, pool in enumerate(made_pools(60))
    ]
    source = Source(BestOfN(16), (), pools, WEIGHTED)
    difficulty, picks = by_difficulty(source, SETTINGS)
    assert difficulty is not None
    assert len(difficulty.thresholds) == 1
    assert {pick.bin: pick.problems for pick in picks if pick.n == 4} == {1: 40, 2: 20}


def test_a_plan_is_for_samples_as_a_prompt_draws_and_counts_them(run: Run) -> None:
    with pytest.raises(UserError, match=r"'majority\(n=8\)': a plan is for samples as best_of_n"):
        make_plan(run, replace(SETTINGS, strategies=["majority(n=8)"]))
    for text in (
        "best_of_n(n=4,weighted=false)",
        "best_of_n(n=4,temperature=0.7)",
        "best_of_n(n=4,aggregation=min)",
    ):
        with pytest.raises(UserError, match="a plan is for samples"):
            check_drawn(choose("strategies", [text])[0])
    check_drawn(choose("strategies", ["best_of_n(n=4)"])[0])


def test_one_sample_tells_no_bins() -> None:
    pools = [replace(one, samples=one.samples[:1]) for one in made_pools(50)]
    assert by_difficulty(Source(BestOfN(1), (), pools, WEIGHTED), SETTINGS) == (None, ())


@pytest.mark.parametrize(("name", "value"), [("cells", 1), ("orders", 0), ("bins", 1), ("samples", 0)])
def test_a_setting_that_cannot_be_meant_is_named(run: Run, name: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"plan\.{name} = {value}: it must be at least"):
        make_plan(run, replace(SETTINGS, **{name: value}))


def test_a_sweep_takes_the_validation_split_and_the_words_of_a_run(words: list[str]) -> None:
    settings = compose("calibrate", words, CalibrateSettings)
    assert settings.sweep.dataset.split == "validation"
    assert settings.sweep.folder == "runs/calibrate"
    with pytest.raises(
        UserError, match=r"dataset\.count = 6: a plan is fitted to 50 problems at least, and there are 6"
    ):
        check_sweep(prepare(settings.sweep))
    settings = compose("calibrate", [*words, "dataset.count=50"], CalibrateSettings)
    check_sweep(prepare(settings.sweep))


def test_a_plan_offers_revisions_and_is_for_their_reviser(tmp_path: Path) -> None:
    """What a run has of chains is an option beside searches, at the budget of all their attempts."""
    chains = "revision(sequential=2,parallel=2)"
    folder = write_planned(tmp_path / "run", problems=LEAST, ladder=(1, 4, 8))
    rewritten(folder, lambda row: None, lambda text: chains if text == "beam(n=4,width=4)" else text)
    record = json.loads((folder / "run.json").read_text())
    record["identity"] |= {"reviser": "r0", "reviser_reads": "as it was trained"}
    (folder / "run.json").write_text(json.dumps(record))
    plan = make_plan(Run(folder), SETTINGS)
    assert plan.offer.searches == ("greedy", chains, "beam(n=8,width=4)")
    budgets = strategies_at(read_source(Run(folder)), [2, 4], seed=0)
    assert [chains in budgets[n] for n in (2, 4)] == [False, True]
    assert plan.made.models == model_hashes(record["identity"])
    assert plan.made.models.keys() == {"policy", "reviser", "verifier"}
    other = record["identity"] | {"reviser_reads": "in a chat"}
    file = tmp_path / "plan.yaml"
    for identity, why in (
        (other, "another reviser"),
        (other | {"reviser": ""}, "another reviser .*now None"),
    ):
        with pytest.raises(UserError, match=f"it was made with {why}"):
            plan.check(model_hashes(identity), "number-1", None, "paper", file)
    # Of what asks none, it does not matter which reviser there was.
    bare = make_plan(Run(folder), replace(SETTINGS, strategies=["best_of_n(n=8)", "beam(n=8)"]))
    assert bare.made.models == {"policy": "p0", "verifier": "v0"}
    bare.check(model_hashes(other), "number-1", None, "paper", file)


def test_a_sweep_may_have_a_reviser(words: list[str], models: tuple[Path, Path]) -> None:
    texts = [
        "best_of_n(n=2)",
        "revision(sequential=2,parallel=1)",
        "\"refine(of='beam(n=4)',best=1,attempts=1)\"",
        "\"revision_search(of='best_of_n(n=2)',search='beam(n=4)',best=1)\"",
    ]
    both = f"strategies=[{','.join(texts)}]"
    cores = ["cluster.policy.cpus=0.5", "cluster.reviser.cpus=0.5", "dataset.count=50", both]
    with pytest.raises(UserError, match=r"reviser\.path = None: .* need a reviser"):
        prepare(compose("calibrate", [*words, *cores], CalibrateSettings).sweep)
    reviser = ["reviser=folder", f"reviser.path={models[0]}"]
    prepared = prepare(compose("calibrate", [*words, *cores, *reviser], CalibrateSettings).sweep)
    check_sweep(prepared)
    assert prepared.asked == {"policy", "reviser", "verifier"}
