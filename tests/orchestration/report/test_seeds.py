"""Several run seeds in one report: numbers worked out by hand, seeds that are partly done, and no precision from
repeating oneself."""

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.store.schema import CANDIDATES
from orchestration.analysis.collect import collect
from orchestration.analysis.measure import Measures, measure
from orchestration.analysis.rows import Intervals, Row
from orchestration.analysis.samples import blocks, largest_set
from orchestration.analysis.statistics import mean_interval, paired_difference, problem_means, seed_means
from orchestration.report.write import Report, make_report
from orchestration.runs.problem_store import PROBLEMS
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.handmade import (
    _row,
    add_seed,
    answers_table,
    batches_of,
    candidate,
    collected,
    write_run,
)

NAN = math.nan
GREEDY, BEAM = "greedy", "beam(n=4,width=4)"
PAIR = f"{BEAM} vs {GREEDY}"

# Mean and interval of the hand-made run.
PINNED = {
    "greedy": [0.716667, 0.592327, 0.814932],
    "majority(n=1)": [0.614583, 0.543969, 0.680682],
    "majority(n=8)": [0.812817, 0.721643, 0.879129],
    "best_of_n(n=4)": [0.825633, 0.757771, 0.877556],
    "beam(n=16,width=4)": [0.766667, 0.645637, 0.855604],
    "likelihood(n=4)": [0.81535, 0.743534, 0.870557],
    "pass(n=2)": [0.795417, 0.729238, 0.848774],
}
PINNED_PAIR = [0.066667, -0.082887, 0.211919]
PINNED_WITHIN = 0.847838


def measured(outcomes: pa.Table, candidates: pa.Table | None = None, pairs: tuple[str, ...] = ()) -> Measures:
    ids = pc.unique(outcomes["problem_id"]).to_pylist()
    problems = [
        {"problem_id": one, "question": "?", "answer": "42", "metadata": "{}", "prompt_tokens": 9}
        for one in ids
    ]
    samples = CANDIDATES.empty_table() if candidates is None else candidates
    arrays = collect(
        batches_of(outcomes),
        lambda text: batches_of(samples.filter(pc.equal(samples["strategy"], text))),
        batches_of(pa.Table.from_pylist(problems, schema=PROBLEMS)),
    )
    return measure(arrays, Intervals(), pairs)


def rows_of(measures: Measures) -> dict[str, Row]:
    return {row.strategy: row for row in measures.rows}


def test_two_seeds_of_three_problems() -> None:
    outcomes = answers_table(
        {
            GREEDY: {"a": [True, False], "b": [True, True], "c": [False, False]},
            BEAM: {"a": [True, True], "b": [False, True], "c": [False, True]},
        }
    )
    measures = measured(outcomes, pairs=(PAIR,))
    greedy, beam = rows_of(measures)[GREEDY], rows_of(measures)[BEAM]
    # The problems' means are 1/2, 1, 0 and 1, 1/2, 1/2.
    assert greedy.accuracy.mean == pytest.approx(1 / 2)
    assert beam.accuracy.mean == pytest.approx(2 / 3)
    assert (greedy.problems, greedy.seeds, greedy.accuracy.problems) == (3, 2, 3)
    # Of the six answers as if they were problems, the interval would be 0.19 to 0.81.
    assert (greedy.accuracy.low, greedy.accuracy.high) == pytest.approx((0.1443, 0.8557), abs=1e-4)
    assert greedy.seed_range == pytest.approx((1 / 3, 2 / 3))
    assert greedy.seed_deviation == pytest.approx(1 / 3 / math.sqrt(2))
    assert beam.seed_range == pytest.approx((1 / 3, 1))
    # By problem 1/2, -1/2, 1/2.
    difference = measures.differences[-1].estimate
    assert difference.mean == pytest.approx(1 / 6)
    assert (difference.low, difference.high) == pytest.approx((-0.3294, 0.5294), abs=1e-4)
    assert difference.problems == 3
    assert not any("seed" in note for note in measures.notes)


def test_a_seed_that_is_partly_done() -> None:
    outcomes = answers_table(
        {
            GREEDY: {"a": [True, False], "b": [True, None], "c": [False, None]},
            BEAM: {"a": [True, None], "b": [False, None], "c": [False, None]},
        }
    )
    measures = measured(outcomes, pairs=(PAIR,))
    greedy, beam = rows_of(measures)[GREEDY], rows_of(measures)[BEAM]
    assert greedy.accuracy.mean == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert beam.accuracy.mean == pytest.approx(1 / 3)
    assert (greedy.seeds, beam.seeds, greedy.problems) == (2, 1, 3)
    # The second seed's accuracy is over another set of problems: it says nothing of the seeds.
    assert math.isnan(greedy.seed_range[0])
    assert math.isnan(greedy.seed_deviation)
    # Of the first problem only the seed that both have counts: 0, -1, 0.
    assert measures.differences[-1].estimate.mean == pytest.approx(-1 / 3)
    [note] = [note for note in measures.notes if "seed" in note]
    assert "seed 1 is done on 0 to 1 of 3, by strategy" in note
    assert "seed 0" not in note


def test_what_a_seed_could_not_answer_has_no_number() -> None:
    outcomes = answers_table({GREEDY: {"a": [True, True], "b": [False, True], "c": [True, True]}})
    rows = outcomes.to_pylist()
    nothing = {"correct": None, "answer": None, "generations": 0, "kept_tokens": 0, "attributed_tokens": 0}
    rows[1] |= nothing | {"state": "unaffordable", "reason": "the budget ended"}
    rows[5] |= nothing | {"state": "quarantined", "reason": "too long", "correct": False, "truncated": 1}
    measures = measured(pa.Table.from_pylist(rows, schema=outcomes.schema))
    greedy = rows_of(measures)[GREEDY]
    # The problems' means are 1, 1/2 and 1; with what is missing as wrong 1/2, 1/2 and 1/2.
    assert greedy.accuracy.mean == pytest.approx(5 / 6)
    assert greedy.if_wrong == pytest.approx(1 / 2)
    assert (greedy.problems, greedy.asked, greedy.accuracy.problems) == (3, 3, 3)
    # Both seeds were asked all problems, and have answers on one in common.
    assert greedy.seed_range == (0.0, 1.0)
    assert greedy.tokens == 60
    assert greedy.truncated == 0.0
    note, _ = measures.notes  # The other one is on difficulty.
    assert f"{GREEDY} on 2 of 6 (1 not paid for and 1 quarantined; 50.0% if they count as wrong)" in note


def test_means_of_problems_and_of_seeds() -> None:
    values = [[1, NAN, 0], [NAN, NAN, NAN], [1, 1, 0]]
    np.testing.assert_array_equal(problem_means(values), [0.5, NAN, 2 / 3])
    np.testing.assert_array_equal(problem_means([0.25, NAN]), [0.25, NAN])
    np.testing.assert_array_equal(seed_means(values), [1, 0])
    assert len(seed_means([[NAN, NAN]])) == 0
    assert len(seed_means([[1, NAN], [NAN, 1]])) == 0


def test_seeds_are_matched_and_else_problems_are() -> None:
    assert paired_difference([[1, 0], [1, NAN]], [[0, NAN], [1, 1]]).mean == pytest.approx((1 + 0) / 2)
    assert paired_difference([[1, NAN], [0, NAN]], [[NAN, 0], [NAN, 0]]).mean == pytest.approx(1 / 2)
    assert paired_difference([[1, NAN], [0, 1]], [[NAN, NAN], [0, 0]]).problems == 1


def test_seeds_help_only_against_the_noise_of_draws() -> None:
    random = np.random.default_rng(0)
    ability = random.random(300)
    draws = (random.random((300, 16)) < ability[:, None]).astype(float)

    def width(values: object) -> float:
        found = mean_interval(values)  # type: ignore[arg-type]
        return found.high - found.low

    # What remains with all seeds is the spread of the problems themselves: Var(ability) = 1/12 of 1/4.
    assert width(draws[:, :4]) < width(draws[:, :1])
    assert width(draws) == pytest.approx(2 * 1.96 * math.sqrt((1 / 12 + 1 / 6 / 16) / 300), rel=0.12)
    assert width(draws) > 2 * width(draws.ravel())
    np.testing.assert_allclose(width(np.repeat(draws[:, :1], 9, axis=1)), width(draws[:, 0]))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "alone")


def test_the_same_seed_twice_tells_nothing_more(alone: Path, tmp_path: Path) -> None:
    twice = write_run(tmp_path / "twice")
    add_seed(twice, alone, 1, problems=60)
    one, two = (measure(collected(Run(folder)), Intervals(), [PAIR]) for folder in (alone, twice))
    assert len(one.rows) == len(two.rows) > 10
    for a, b in zip([*one.rows, *one.baselines], [*two.rows, *two.baselines], strict=True):
        assert a.strategy == b.strategy
        assert a.accuracy == b.accuracy, a.strategy
        assert (a.problems, a.samples, a.ran, a.truncated) == (b.problems, b.samples, b.ran, b.truncated)
        np.testing.assert_allclose(
            [b.tokens, b.flops, b.flops_exact, b.wasted, b.seconds],
            [a.tokens, a.flops, a.flops_exact, a.wasted, a.seconds],
        )
        assert b.seed_deviation == 0
        assert b.seed_range == (a.by_seed[0], a.by_seed[0])
    assert one.differences == two.differences
    assert [point.accuracy for point in one.difficulty] == [point.accuracy for point in two.difficulty]
    assert one.verifier is not None
    assert two.verifier is not None
    assert two.verifier.samples == 2 * one.verifier.samples
    assert two.verifier.questions == one.verifier.questions
    assert two.verifier.within == pytest.approx(one.verifier.within)
    assert two.verifier.overall == pytest.approx(one.verifier.overall)


def test_one_seed_gives_the_numbers_that_it_always_gave(alone: Path) -> None:
    # Means and AUROC as printed before a report knew of several seeds.
    measures = measure(collected(Run(alone)), Intervals(), [PAIR])
    told = {
        row.strategy: [round(value, 6) for value in (row.accuracy.mean, row.accuracy.low, row.accuracy.high)]
        for row in [*measures.rows, *measures.baselines]
    }
    assert {name: told[name] for name in PINNED} == PINNED
    difference = measures.differences[-1].estimate
    assert [round(value, 6) for value in (difference.mean, difference.low, difference.high)] == PINNED_PAIR
    assert measures.verifier is not None
    assert round(measures.verifier.within, 6) == PINNED_WITHIN
    assert all(row.seeds == 1 and math.isnan(row.seed_range[0]) for row in measures.rows)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A second seed of other draws, stopped after half of the problems."""
    folder = tmp_path_factory.mktemp("runs")
    run = write_run(folder / "half")
    add_seed(run, write_run(folder / "other", seed=5), 1, problems=30)
    return run, make_report(Run(run), ReportSettings(pairs=[PAIR]))


def test_an_extension_that_stopped_half_way(half: tuple[Path, Report]) -> None:
    folder, report = half
    measures, table = report.measures, Run(folder).outcomes()
    assert (measures.problems, measures.seeds) == (60, [0, 1])
    rows = rows_of(measures)
    hits = table.set_column(
        table.schema.get_field_index("correct"), "correct", pc.cast(table["correct"], "float64")
    )
    by_problem = hits.filter(pc.equal(table["strategy"], GREEDY)).group_by("problem_id")
    means = by_problem.aggregate([("correct", "mean")])["correct_mean"]
    assert rows[GREEDY].accuracy.mean == pytest.approx(pc.mean(means).as_py())
    assert (rows[GREEDY].problems, rows[GREEDY].seeds) == (60, 2)
    # Estimates over subsets take both seeds: of one sample, the share of right ones.
    samples = Run(folder).candidates(strategy="best_of_n(n=16)").to_pylist()
    shares: dict[str, list[float]] = {}
    for row in samples:
        shares.setdefault(row["problem_id"], []).append(row["correct"])
    expected = float(np.mean([np.mean(each) for each in shares.values()]))
    assert rows["majority(n=1)"].accuracy.mean == pytest.approx(expected)
    assert (rows["majority(n=1)"].samples, rows["majority(n=1)"].seeds) == (16, 2)
    assert sum(point.accuracy.problems for point in measures.difficulty if point.strategy == GREEDY) == 60
    assert measures.verifier is not None
    assert measures.verifier.samples == 90 * 16
    assert measures.verifier.questions <= 60
    assert report.totals[0].startswith(f"{len(table):,} outcomes: {len(table):,} answered")


def test_the_files_say_so(half: tuple[Path, Report]) -> None:
    folder, report = half
    text = (folder / "report" / "report.md").read_text()
    assert "seed 1 is done on 30 of 60)" in text
    assert "Run seeds 0, 1: an accuracy is the mean over problems" in text
    assert "drew of each problem with each seed" in text
    table = pq.read_table(folder / "report" / "table.parquet").to_pylist()
    assert {row["seeds"] for row in table} == {2}
    assert {row["seed_low"] for row in table} == {None}
    console = Console(width=160, file=io.StringIO())
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "60 problems, 2 seeds, 95% intervals" in shown
    assert "by seed" in shown


def test_the_range_over_seeds_stands_beside_the_interval(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "both", problems=40)
    add_seed(folder, write_run(tmp_path / "other", problems=40, seed=5), 1, problems=40)
    report = make_report(Run(folder), ReportSettings(figures=[]))
    greedy = rows_of(report.measures)[GREEDY]
    table = Run(folder).outcomes()
    seeds = [
        pc.mean(pc.cast(table.filter(mask)["correct"], "float64")).as_py()
        for mask in (
            pc.and_(pc.equal(table["strategy"], GREEDY), pc.equal(table["seed"], seed)) for seed in (0, 1)
        )
    ]
    assert greedy.seed_range == pytest.approx((min(seeds), max(seeds)))
    assert greedy.accuracy.mean == pytest.approx(sum(seeds) / 2)
    range_text = f"{100 * min(seeds):.1f} to {100 * max(seeds):.1f}"
    assert f"| {range_text} |" in (folder / "report" / "report.md").read_text()
    console = Console(width=80, file=io.StringIO())
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    [line] = [line for line in shown.splitlines() if line.strip().startswith("greedy")][:1]
    assert range_text in line
    row = next(
        r for r in pq.read_table(folder / "report" / "table.parquet").to_pylist() if r["strategy"] == GREEDY
    )
    assert (row["seed_low"], row["seed_high"]) == pytest.approx(greedy.seed_range)
    assert row["seed_deviation"] == pytest.approx(abs(seeds[0] - seeds[1]) / math.sqrt(2))


def test_a_seed_that_lacks_samples_costs_its_own_set_alone(half: tuple[Path, Report]) -> None:
    run = Run(half[0])
    table = run.candidates()
    gone = pc.and_(pc.equal(table["problem_id"], "p0003"), pc.equal(table["seed"], 1))

    def known(some: pa.Table) -> int:
        found = rows_of(measure(collected(run, candidates=some), Intervals()))["majority(n=8)"]
        assert found.samples == 16
        assert found.problems == 60
        return int((~np.isnan(found.correct)).sum())

    assert known(table) == 90
    assert known(table.filter(pc.invert(gone))) == 89
    assert known(table.filter(pc.invert(pc.and_(gone, pc.equal(table["index"], 2))))) == 89


def test_candidates_that_came_after_the_outcomes_were_read_are_left_out(half: tuple[Path, Report]) -> None:
    run = Run(half[0])
    outcomes = run.outcomes()
    early = outcomes.filter(pc.and_(pc.equal(outcomes["seed"], 0), pc.less(outcomes["problem_id"], "p0050")))
    arrays = collected(run, outcomes=early)
    source = largest_set(arrays.strategies, arrays.labelled)
    assert source is not None
    assert sum(len(block.ids) for block in blocks(arrays, source, steps=False)) == 50
    assert measure(arrays, Intervals()).rows[0].problems == 50


def test_a_question_is_a_problem_whatever_the_seed() -> None:
    # Each seed's samples are all right or all wrong: within a seed nothing could be told.
    text = "best_of_n(n=2)"
    outcomes = answers_table({text: {"a": [True, False]}}, generations=2)
    rows = [
        _row("a", text, candidate(index, seed == 0, 1, 0.9 - 0.5 * seed), verified=True, labels=True)
        | {"seed": seed}
        for seed in (0, 1)
        for index in (0, 1)
    ]
    quality = measured(outcomes, pa.Table.from_pylist(rows, schema=CANDIDATES)).verifier
    assert quality is not None
    assert (quality.questions, quality.within, quality.samples) == (1, 1.0, 4)


def test_a_seed_that_failed_as_a_whole_is_counted_and_leaves_the_others_their_range(tmp_path: Path) -> None:
    """Each problem has a number, of the seeds that answered: the count of problems alone would hide the third."""
    folder = write_run(tmp_path / "run", problems=8, ladder=(1, 4))
    other = write_run(tmp_path / "other", problems=8, ladder=(1, 4), seed=5)
    add_seed(folder, other, 1, problems=8)
    add_seed(folder, other, 2, problems=8)
    part = folder / "outcomes" / "part-000003.parquet"
    failed = {"state": "quarantined", "reason": "no", "answer": None, "correct": None}
    table = pq.read_table(part)
    pq.write_table(pa.Table.from_pylist([row | failed for row in table.to_pylist()], table.schema), part)
    report = make_report(Run(folder), ReportSettings(figures=[]))
    for row in report.measures.rows:
        assert (row.problems, row.asked, row.seeds, row.outcomes, row.due) == (8, 8, 2, 16, 24), row.strategy
        assert len(row.by_seed) == 2, "of the seeds that answered"
    text = (folder / "report" / "report.md").read_text()
    assert "| strategy | outcomes | N | accuracy | interval | by seed |" in text
    assert "| greedy | 16 of 24 (2 of 3 seeds) | 1 |" in text
    assert "| baseline | outcomes | N = 1 |" in text
    rows = pq.read_table(folder / "report" / "table.parquet").to_pylist()
    assert {(row["outcomes"], row["outcomes_asked"]) for row in rows} == {(16, 24)}
