"""Reports of hand-made runs: numbers against counts, files, and what is said where something is missing."""

import io
import itertools
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.errors import UserError
from actors.store.schema import LEDGER
from actors.strategy import Grouping, Sampling
from orchestration.analysis import estimates
from orchestration.analysis.collect import Named
from orchestration.analysis.estimates import Vote, estimate
from orchestration.analysis.measure import Measures, measure
from orchestration.analysis.rows import Intervals
from orchestration.report.figures import (
    _by_difficulty,
    _over_flops,
    _over_generations,
    draw_figures,
    looks_of,
)
from orchestration.report.tables import baseline_cells, scientific, verifier_lines
from orchestration.report.write import Report, make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from orchestration.strategies.choice import Choice
from tests.support.handmade import FLOPS_A_TOKEN, TOKENS, collected, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "hand")


@pytest.fixture(scope="module")
def measures(folder: Path) -> Measures:
    run = Run(folder)
    return measure(collected(run), Intervals())


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return make_report(Run(folder), ReportSettings())


def accuracy_as_run(folder: Path, strategy: str) -> float:
    table = Run(folder).outcomes()
    rows = table.filter(pc.equal(table["strategy"], strategy))
    return float(pc.mean(pc.cast(rows["correct"], "float64")).as_py())


def test_names_are_read_from_texts() -> None:
    assert (Named.of("beam(n=16,width=4)").series, Named.of("beam(n=16,width=4)").n) == ("beam(width=4)", 16)
    ahead = Named.of("lookahead(n=4,width=4,k=3)")
    assert (ahead.series, ahead.n) == ("lookahead(width=4,k=3)", 16), "a budget is in generations"
    assert Named.of("majority(n=4)").series == "majority"
    assert Named.of("greedy").n == 1
    assert Named.of("best_of_n(n=8,temperature=0.5)").series == "best_of_n(temperature=0.5)"
    assert Named.of("majority(n=4)").choice == Choice("majority", Sampling())
    assert Named.of("best_of_n(n=8,temperature=0.5)").choice == Choice("weighted", Sampling(temperature=0.5))
    assert Named.of("beam(n=4)").choice is None


@pytest.mark.parametrize(
    ("text", "family", "series", "n"),
    [
        ("no_module.Search(n=4)", "no_module.Search", "no_module.Search", 4),
        ("no_module.Search(n=4, mood='n=3')", "no_module.Search", "no_module.Search(mood='n=3')", 4),
        ("no_module.Search(width=2,n=4)", "no_module.Search", "no_module.Search(width=2)", 4),
        ("no_module.Search(n=many)", "no_module.Search", "no_module.Search", None),
        ("no_module.Search(n=0)", "no_module.Search", "no_module.Search", None),
        ("no_module.Search(down=4)", "no_module.Search", "no_module.Search(down=4)", None),
        ("my search, n=4", "my search, n=4", "my search, n=4", None),
        ("my-search(n=8)", "my-search", "my-search", 8),
        (
            "no_module.Search(n=16,first=majority(n=4))",
            "no_module.Search",
            "no_module.Search(first=majority(n=4))",
            16,
        ),
        ("no_module.Search(pair=[1,n=3],n=4)", "no_module.Search", "no_module.Search(pair=[1,n=3])", 4),
        (
            "no_module.Search(n=4,path=/a/b,by='a,n=2')",
            "no_module.Search",
            "no_module.Search(path=/a/b,by='a,n=2')",
            4,
        ),
        ("no_module.Search(n=" + "9" * 5000 + ")", "no_module.Search", "no_module.Search", None),
        ("no_module.Search(n=4", "no_module.Search(n=4", "no_module.Search(n=4", None),
        ("beam(n=4,parameter_of_tomorrow=2)", "beam", "beam(parameter_of_tomorrow=2)", 4),
        ("strategy_of_tomorrow(n=4)", "strategy_of_tomorrow", "strategy_of_tomorrow", 4),
    ],
)
def test_what_the_registry_does_not_have_is_named_by_its_text_or_by_what_it_declared(
    text: str, family: str, series: str, n: int | None
) -> None:
    told = Named.of(text)
    assert (told.family, told.series, told.n, told.told) == (family, series, n or 1, n is not None)
    assert told.choice is None
    declared = Named.of(text, Grouping("mine", "mine(fast)", 6))
    assert (declared.text, declared.family, declared.series, declared.n) == (text, "mine", "mine(fast)", 6)


def test_what_the_registry_has_needs_no_declaration() -> None:
    assert Named.of("beam(n=4,width=2)", Grouping("mine", "mine", 6)) == Named.of("beam(n=4,width=2)")


def test_where_no_n_is_named_it_is_the_mean_of_what_was_drawn(folder: Path) -> None:
    run = Run(folder)
    outcomes = run.outcomes()
    text = "monte_carlo(samples=4,rollouts=2)"
    rows = outcomes.filter(pc.equal(outcomes["strategy"], "majority(n=16)"))
    rows = rows.set_column(rows.schema.get_field_index("strategy"), "strategy", pa.array([text] * len(rows)))
    spread = pa.array([20 + number % 3 for number in range(len(rows))], pa.int32())
    column = rows.schema.get_field_index("generations")
    rows = rows.set_column(column, rows.schema.field(column), spread.cast(rows.schema.field(column).type))
    both = pa.concat_tables([outcomes, rows.cast(outcomes.schema)])
    found = {one.name.text: one.name.n for one in collected(run, outcomes=both).strategies}
    assert (found[text], found["greedy"], found["majority(n=16)"]) == (21, 1, 16)


def test_accuracy_is_the_share_of_right_answers(folder: Path, measures: Measures) -> None:
    rows = {row.strategy: row for row in measures.rows}
    for strategy in ("greedy", "beam(n=4,width=4)", "majority(n=16)", "best_of_n(n=16)"):
        assert rows[strategy].accuracy.mean == pytest.approx(accuracy_as_run(folder, strategy)), strategy
        assert rows[strategy].accuracy.low < rows[strategy].accuracy.mean < rows[strategy].accuracy.high


def test_below_the_largest_set_accuracy_is_an_estimate_over_subsets(folder: Path, measures: Measures) -> None:
    rows = {row.strategy: row for row in measures.rows}
    table = Run(folder).candidates(strategy="majority(n=16)")
    one = rows["majority(n=1)"]
    # Each of the 16 samples is as good as the first.
    assert one.accuracy.mean == pytest.approx(pc.mean(pc.cast(table["correct"], "float64")).as_py())
    assert one.samples == 16
    assert rows["greedy"].samples == 0
    spread = one.accuracy.high - one.accuracy.low
    assert spread < rows["greedy"].accuracy.high - rows["greedy"].accuracy.low
    assert any("unbiased estimates over subsets of the 16 samples" in note for note in measures.notes)
    assert not rows["majority(n=8)"].ran
    assert rows["majority(n=8)"].tokens == pytest.approx(8 * TOKENS)
    assert rows["majority(n=4)"].ran


def test_costs_and_waste(measures: Measures) -> None:
    rows = {row.strategy: row for row in measures.rows}
    best, beam = rows["best_of_n(n=16)"], rows["beam(n=16,width=4)"]
    assert best.flops == pytest.approx(2 * 16 * TOKENS * FLOPS_A_TOKEN)
    assert best.flops_exact == pytest.approx(1.1 * best.flops)
    assert best.wasted == 0.0
    assert beam.wasted == pytest.approx(8 / 12)
    assert best.seconds == pytest.approx(0.66)
    assert math.isnan(rows["majority(n=8)"].seconds)


def test_costs_of_an_n_that_was_not_run(folder: Path) -> None:
    run = Run(folder)
    price = float(FLOPS_A_TOKEN)
    rows = {row.strategy: row for row in measure(collected(run), Intervals(), (), price).rows}
    assert rows["majority(n=8)"].flops == pytest.approx(rows["majority(n=16)"].flops / 2)
    assert math.isnan(rows["majority(n=8)"].flops_exact)
    # Of its two steps the first is always the same, the second one of five: little is left to read.
    arrays = collected(run)
    [source] = [one for one in arrays.strategies if one.name.text == "best_of_n(n=16)"]
    read = estimate(arrays, source, {Vote("pass"): [1, 2, 16]}, {}).distinct
    assert read[1] == pytest.approx(TOKENS)
    by_hand = []
    table = run.candidates(strategy="best_of_n(n=16)")
    for problem in pc.unique(table["problem_id"]).to_pylist():
        answers = table.filter(pc.equal(table["problem_id"], problem))["answer"].to_pylist()
        pairs = [len({a, b}) for i, a in enumerate(answers) for b in answers[i + 1 :]]
        by_hand.append(TOKENS / 2 + TOKENS / 2 * sum(pairs) / len(pairs))
    assert read[2] == pytest.approx(sum(by_hand) / len(by_hand))
    two, all_of_them = rows["best_of_n(n=2)"], rows["best_of_n(n=16)"]
    drawn = all_of_them.tokens * price
    assert two.flops == pytest.approx(drawn / 8 + (all_of_them.flops - drawn) * read[2] / read[16])
    assert two.flops > all_of_them.flops / 8


def test_baselines(measures: Measures) -> None:
    by = {(row.series, row.n): row.accuracy.mean for row in measures.baselines}
    rows = {row.strategy: row.accuracy.mean for row in measures.rows}
    assert by["pass", 1] == pytest.approx(rows["majority(n=1)"]) == pytest.approx(by["likelihood", 1])
    assert by["pass", 16] >= by["likelihood", 16] > rows["majority(n=16)"]
    # With likelihoods that tell right from wrong, two samples are as good as choosing perfectly.
    assert by["likelihood", 2] == pytest.approx(by["pass", 2])


def test_tokens_behind_the_last_step_weigh_in_no_likelihood(folder: Path, measures: Measures) -> None:
    run = Run(folder)
    table = run.candidates()
    place = table.schema.get_field_index("tokens")
    padded = table.set_column(place, "tokens", pc.add(table["tokens"], 5))
    found = measure(collected(run, candidates=padded), Intervals())
    assert [row.accuracy for row in found.baselines] == [row.accuracy for row in measures.baselines]


def without_likelihoods(table: pa.Table, rows: range) -> pa.Table:
    place = table.schema.get_field_index("logprobs")
    told = [[] if row in rows else one for row, one in enumerate(table["logprobs"].to_pylist())]
    return table.set_column(place, "logprobs", pa.array(told, table.schema.field(place).type))


def test_a_run_without_likelihoods_lacks_what_reads_them_and_nothing_else(
    folder: Path, measures: Measures
) -> None:
    """Trap: without them each vote weighs the same, and the plain vote passes for the one by likelihood."""
    run = Run(folder)
    table = run.candidates()
    found = measure(
        collected(run, candidates=without_likelihoods(table, range(len(table)))),
        Intervals(),
        ["majority(n=16) vs likelihood(n=16)"],
    )
    assert {row.series for row in found.baselines} == {"pass"}
    assert [(row.strategy, row.accuracy) for row in found.rows] == [
        (row.strategy, row.accuracy) for row in measures.rows
    ]
    assert found.verifier is not None
    assert measures.verifier is not None
    assert found.verifier == replace(measures.verifier, likelihood_within=None, likelihood_overall=None)
    assert "likelihood" not in " ".join(verifier_lines(found))
    bare, untold = found.notes[-2:]
    assert bare.startswith("960 of 960 samples were drawn without likelihoods")
    assert untold == "majority(n=16) vs likelihood(n=16): cannot be told without the samples' likelihoods."


def test_one_sample_without_likelihood_costs_its_own_problem_alone(folder: Path, measures: Measures) -> None:
    """It may be from an earlier run."""
    run = Run(folder)
    table = run.candidates()
    rows = enumerate(zip(table["strategy"].to_pylist(), table["step_tokens"].to_pylist(), strict=True))
    first = next(row for row, (strategy, steps) in rows if strategy == "best_of_n(n=16)" and steps)
    found = measure(
        collected(run, candidates=without_likelihoods(table, range(first, first + 1))),
        Intervals(),
        ["majority(n=16) vs likelihood(n=16)"],
    )
    told = {row.strategy: row for row in found.baselines}
    assert told["likelihood(n=16)"].accuracy.problems == 59
    assert told["pass(n=16)"].accuracy.problems == 60
    head, cells = baseline_cells(found)
    assert head[1] == "problems"
    assert [line[1] for line in cells] == ["59 of 60", "60"]
    assert found.notes[-1].startswith("1 of 960 samples were drawn without likelihoods")
    assert found.differences[-1].estimate.problems == 59
    assert [row.accuracy for row in found.rows] == [row.accuracy for row in measures.rows]


def test_differences_are_paired_and_named_pairs_come_last(folder: Path) -> None:
    run = Run(folder)
    arrays = collected(run)
    pair = "beam(n=4,width=4) vs greedy"
    found = measure(arrays, Intervals(), [pair]).differences
    by = {(one.a, one.b): one.estimate for one in found}
    expected = accuracy_as_run(folder, "beam(n=4,width=4)") - accuracy_as_run(folder, "greedy")
    assert found[-1].a == "beam(n=4,width=4)"
    assert by["beam(n=4,width=4)", "greedy"].mean == pytest.approx(expected)
    assert by["best_of_n(n=16)", "majority(n=16)"].problems == 60
    assert ("best_of_n(n=4)", "majority(n=1)") in by
    assert not any("n=8" in one.a for one in found)
    with pytest.raises(UserError, match="did you mean 'beam"):
        measure(arrays, Intervals(), ["baem(n=4,width=4) vs greedy"])
    with pytest.raises(UserError, match="A vs B"):
        measure(arrays, Intervals(), ["greedy"])


def test_a_pair_may_leave_defaults_out_and_name_what_subsets_tell(folder: Path) -> None:
    run = Run(folder)
    pairs = ["beam(n=16) vs best_of_n( n=16, weighted=true )", "best_of_n(n=8) vs pass(n=16)"]
    measures = measure(collected(run), Intervals(), pairs)
    found = [(one.a, one.b) for one in measures.differences[-2:]]
    assert found == [("beam(n=16,width=4)", "best_of_n(n=16)"), ("best_of_n(n=8)", "pass(n=16)")]
    # A pair that a complete run would show is no mistake where samples are missing.
    candidates = run.candidates()
    some = candidates.filter(pc.less(candidates["index"], 9))
    measures = measure(collected(run, candidates=some), Intervals(), pairs)
    assert measures.notes[-1].startswith("best_of_n(n=8) vs pass(n=16): cannot be told")
    assert measures.differences[-1].a == "beam(n=16,width=4)"


def test_the_verifier_is_judged_within_questions(measures: Measures) -> None:
    quality = measures.verifier
    assert quality is not None
    assert 0.75 < quality.within < 0.95
    assert quality.likelihood_within == 1.0
    assert 0 < quality.questions < 60
    assert quality.samples == 60 * 16


def test_of_very_many_samples_the_verifier_is_judged_on_evenly_spaced_problems(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "JUDGED", 20 * 16)
    found = measure(collected(Run(folder)), Intervals())
    assert found.verifier is not None
    assert (found.verifier.samples, found.verifier.drawn) == (20 * 16, 60 * 16)
    assert 0.75 < found.verifier.within < 0.95
    assert "AUROC over 320 samples of 960: " in verifier_lines(found)[1]


def test_difficulty_is_the_length_or_else_a_quintile(
    folder: Path, measures: Measures, tmp_path: Path
) -> None:
    assert measures.difficulty_axis == "length of the problem"
    assert {point.panel for point in measures.difficulty} == {"legs", "sums"}
    assert sum(p.accuracy.problems for p in measures.difficulty if p.strategy == "greedy") == 60
    run = Run(write_run(tmp_path / "plain", lengths=False))
    other = measure(collected(run), Intervals())
    assert other.difficulty_axis.startswith("quintile")
    greedy = [point.accuracy.mean for point in other.difficulty if point.strategy == "greedy"]
    assert greedy[0] > greedy[-1]


def test_files_say_the_same(report: Report, folder: Path) -> None:
    table = pq.read_table(folder / "report" / "table.parquet")
    csv = pyarrow.csv.read_csv(folder / "report" / "table.csv")
    assert table.num_rows == csv.num_rows == len(report.measures.rows) + len(report.measures.baselines)
    row = table.filter(pc.equal(table["strategy"], "beam(n=4,width=4)")).to_pylist()[0]
    assert row["accuracy"] == pytest.approx(accuracy_as_run(folder, "beam(n=4,width=4)"))
    text = (folder / "report" / "report.md").read_text()
    assert f"| beam(n=4,width=4) | 4 | {100 * row['accuracy']:.1f}%" in text
    assert "AUROC within a question" in text
    assert "## Paired differences" in text
    console = Console(width=160, file=io.StringIO())
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{100 * row['accuracy']:.1f}%" in shown
    assert "majority(n=8)" in shown


def test_what_was_lost_stands_in_the_totals(report: Report, tmp_path: Path) -> None:
    assert report.totals[1].endswith("none of them wasted on what failed or was lost.")
    folder = write_run(tmp_path / "lossy", problems=4)
    (folder / "ledger").mkdir()
    died = {"task_id": "p0", "attempt": 1, "lease": 1, "reason": "ActorDiedError"}
    rows = [
        {**died, "purpose": "unknown", "kind": "lost", "flops": 10_000},
        {**died, "attempt": 2, "lease": 2, "purpose": "policy", "kind": "kept", "flops": 990_000},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=LEDGER), folder / "ledger" / "part-000001.parquet")
    made = make_report(Run(folder), ReportSettings(figures=[]))
    assert made.totals[1] == (
        "Spent: 1.00e6 FLOPs (paper), 1.00e4 of them wasted on what failed or was lost (1.00%)."
    )
    assert made.totals[1] in (folder / "report" / "report.md").read_text()


def test_what_is_spent_is_what_was_charged_also_for_what_a_larger_budget_made_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "raised", problems=4)
    first = pq.read_table(folder / "outcomes" / "part-000001.parquet")
    pq.write_table(first.slice(0, 3), folder / "outcomes" / "part-000002.parquet")
    assert len(Run(folder).outcomes()) == len(first)
    (folder / "ledger").mkdir()
    row = {"task_id": "p0", "attempt": 1, "lease": 1, "reason": "", "purpose": "policy", "kind": "kept"}
    rows = [row | {"flops": 7_000_000}, row | {"purpose": "verifier", "flops": 500_000}]
    pq.write_table(pa.Table.from_pylist(rows, schema=LEDGER), folder / "ledger" / "part-000001.parquet")
    both = pa.concat_tables([first, first.slice(0, 3)])
    names = ("spent_flops", "spent_flops_exact", "policy_tokens", "verifier_tokens")
    paper, exact, drawn, scored = (pc.sum(both[name]).as_py() for name in names)
    made = make_report(Run(folder), ReportSettings(figures=[]))
    assert made.totals[0] == f"{len(first):,} outcomes: {len(first)} answered."
    assert made.totals[1].startswith("Spent: 7.50e6 FLOPs (paper), ")
    assert made.totals[2] == (
        f"On outcomes, with samples shared between strategies: {scientific(paper)} FLOPs ({scientific(exact)} exact), "
        f"{drawn:,} tokens drawn, {scored:,} scored, also for outcomes that were made again (3)."
    )


def test_figures_are_drawn(report: Report, folder: Path) -> None:
    names = {path.name for path in report.paths}
    for name in ("accuracy_generations", "accuracy_flops", "accuracy_difficulty"):
        assert {f"{name}.png", f"{name}.svg"} <= names
        png = (folder / "report" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        assert "best_of_n" in (folder / "report" / f"{name}.svg").read_text()


def test_many_series_are_told_apart_and_stay_where_they_belong(measures: Measures) -> None:
    """As many as there are strategies: each with a look of its own, each point next to its own N or length."""
    names = [f"series_{number}" for number in range(20)]
    looks = list(looks_of([*names, *map(str, range(44))]).values())
    assert len({(look.marker, look.hollow, look.dash) for look in looks}) == 64, "in grey print too"
    assert len({look.colour for look in looks[:16]}) == 16
    assert all(a.dash != b.dash and a.marker != b.marker for a, b in itertools.pairwise(looks[:16]))
    assert list(looks_of(names).items())[:4] == list(looks_of(names[:4]).items())
    [beam] = [row for row in measures.rows if row.strategy == "beam(n=4,width=4)"]
    points = [p for p in measures.difficulty if p.strategy == "greedy"]
    many = replace(
        measures,
        rows=[replace(beam, strategy=name, series=name, n=n) for name in names for n in (4, 8)],
        difficulty=[replace(point, strategy=name) for point in points for name in names],
    )
    [generations] = _over_generations(many).axes
    drawn = [
        line for line in generations.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() != "|"
    ]
    xs = sorted({float(x) for line in drawn for x in line.get_xdata()})
    assert sum(x < 4 * 2**0.5 for x in xs) == sum(x > 4 * 2**0.5 for x in xs) == 20
    assert max(x for x in xs if x < 6) < 0.75 * min(x for x in xs if x > 6)
    for axes in _by_difficulty(many).axes:
        offsets = [abs(x - round(x)) for line in axes.get_lines() for x in map(float, line.get_xdata())]
        assert 0.3 < max(offsets) < 0.45


def figures_of(measures: Measures) -> list[Any]:
    return [axes for make in (_over_generations, _over_flops, _by_difficulty) for axes in make(measures).axes]


def test_no_line_passes_through_a_point_that_stands_alone(measures: Measures) -> None:
    [greedy] = [row for row in measures.rows if row.strategy == "greedy"]
    line = [row for row in measures.rows if row.series == "majority"]
    # One of a line's points is told from a single problem.
    line[1] = replace(line[1], accuracy=replace(line[1].accuracy, problems=1))
    odd = replace(
        measures,
        rows=[greedy, *line],
        baselines=[row for row in measures.baselines if row.n == 1],
        difficulty=[p for p in measures.difficulty if p.strategy == "greedy" and p.x in (2, 3)],
    )
    for axes in figures_of(odd):
        lines = [one for one in axes.get_lines() if one.get_marker() not in ("|", "_")]
        joined = [len(one.get_xdata()) for one in lines if one.get_linestyle() != "None"]
        markers = sum(len(one.get_xdata()) for one in lines if one.get_marker() != "None")
        difficulty = axes.get_title(loc="left") != ""
        assert joined == ([] if difficulty else [len(line) - 1])
        assert markers == (
            1 if difficulty else 1 + len(line) + (2 if "generations" in axes.get_xlabel() else 0)
        )


def test_ticks_of_accuracy_say_where_they_stand(measures: Measures) -> None:
    near = replace(
        measures,
        rows=[
            replace(row, accuracy=replace(row.accuracy, mean=0.64 + 0.01 * at, low=0.6, high=0.78))
            for at, row in enumerate(measures.rows[:4])
        ],
        baselines=[],
    )
    for axes in (*figures_of(measures), *_over_generations(near).axes):
        ticks = axes.yaxis.get_major_locator()()
        said = [axes.yaxis.get_major_formatter()(tick, at) for at, tick in enumerate(ticks)]
        assert [float(one.strip("%")) / 100 for one in said] == pytest.approx(list(ticks), abs=1e-9)


def test_accuracy_stays_within_its_axis_and_every_curve_says_its_problems(measures: Measures) -> None:
    sure = replace(
        measures,
        rows=[
            replace(row, accuracy=replace(row.accuracy, mean=share, low=share, high=share, problems=count))
            for row, share, count in zip(measures.rows, itertools.cycle((0.0, 1.0)), itertools.count(7))
        ],
    )
    for axes in figures_of(sure):
        low, high = axes.get_ylim()
        assert 0 <= low < high <= 1
        for text in axes.get_legend().get_texts() if axes.get_legend() else ():
            assert re.search(r", (\d+|\d+ to \d+) problems$", text.get_text()), text
    labels = [text.get_text() for text in figures_of(sure)[0].get_legend().get_texts()]
    assert "greedy, 7 problems" in labels
    assert "majority, 8 to 12 problems" in labels


def test_a_name_is_no_formula(measures: Measures, tmp_path: Path) -> None:
    name = "mine.Search(by='$x_{$')"
    odd = replace(
        measures,
        rows=[replace(row, series=name) for row in measures.rows if row.series == "majority"],
        difficulty=[],
    )
    assert draw_figures(odd, tmp_path, ["svg"], 0.95)
    assert "$x_{$" in (tmp_path / "accuracy_flops.svg").read_text()


def test_a_long_name_leaves_its_plot_its_room(measures: Measures) -> None:
    name = "revision_search(of='best_of_n',search='particle_filtering(temperature=0.8)',best=2,ratio=1:1)"
    rows = [row for row in measures.rows if row.series == "majority"]
    for series in (name, f"{name}{name}"):
        figure = _over_generations(replace(measures, rows=[replace(row, series=series) for row in rows]))
        with warnings.catch_warnings():
            # What matplotlib says where it finds no place for the plot.
            warnings.simplefilter("error")
            figure.draw_without_rendering()
        assert figure.axes[0].get_position().width * figure.get_figwidth() > 2


def test_without_labels_costs_are_shown_and_no_accuracy(tmp_path: Path) -> None:
    report = make_report(Run(write_run(tmp_path / "bare", problems=12, labels=False)), ReportSettings())
    assert all(math.isnan(row.accuracy.mean) for row in report.measures.rows)
    assert report.measures.notes == ["The problems have no answers: no accuracy can be told."]
    assert not any(path.suffix == ".png" for path in report.paths)
    assert "| greedy | 1 | - | - | 60 |" in (tmp_path / "bare" / "report" / "report.md").read_text()


def test_a_set_that_lacks_samples_is_left_out_and_the_others_are_told(
    folder: Path, measures: Measures
) -> None:
    """What is left of it would be no fair draw."""
    run = Run(folder)
    candidates = run.candidates()
    gone = pc.and_(pc.equal(candidates["problem_id"], "p0003"), pc.greater(candidates["index"], 9))
    arrays = collected(run, candidates=candidates.filter(pc.invert(gone)))
    found = measure(arrays, Intervals())
    rows, before = ({row.strategy: row for row in one.rows} for one in (found, measures))
    assert rows.keys() == before.keys()
    # What was not run is told of 59 problems, and what was run counts as it answered on the sixtieth.
    place = arrays.places.of(pa.array(["p0003"]))[0]
    [own] = [one for one in arrays.strategies if one.name.text == "majority(n=4)"]
    assert (rows["majority(n=8)"].problems, rows["majority(n=8)"].asked) == (59, 60)
    assert math.isnan(rows["majority(n=8)"].correct[place, 0])
    assert rows["majority(n=4)"].problems == 60
    assert rows["majority(n=4)"].correct[place, 0] == own.correct[place, 0]
    others = np.arange(60) != place
    assert (rows["majority(n=4)"].correct[others] == before["majority(n=4)"].correct[others]).all()
    assert {row.accuracy.problems for row in found.baselines} == {59}
    assert found.verifier is not None
    assert found.verifier.samples == 59 * 16
    assert "(59 of 60 sets are whole" in found.notes[0]


def test_the_note_names_what_is_estimated_and_what_is_not(folder: Path) -> None:
    run = Run(folder)
    outcomes = run.outcomes()
    place = outcomes.schema.get_field_index("strategy")
    hot = pc.if_else(
        pc.equal(outcomes["strategy"], "majority(n=4)"), "majority(n=4,temperature=0.5)", outcomes["strategy"]
    )
    arrays = collected(run, outcomes=outcomes.set_column(place, "strategy", hot))
    first, second = measure(arrays, Intervals()).notes
    assert first.startswith("Accuracies of majority and best_of_n are unbiased")
    assert second.startswith("Not so majority(n=4,temperature=0.5)")


def test_unanswered_problems_count_as_wrong(folder: Path) -> None:
    run = Run(folder)
    table = run.outcomes()
    greedy = pc.equal(table["strategy"], "greedy")
    place = table.schema.get_field_index("correct")
    nothing = pc.if_else(greedy, pc.cast(None, "bool"), table["correct"])
    arrays = collected(run, outcomes=table.set_column(place, "correct", nothing))
    measures = measure(arrays, Intervals())
    row = next(row for row in measures.rows if row.strategy == "greedy")
    assert (row.accuracy.mean, row.accuracy.problems) == (0.0, 60)
