"""Accuracy by difficulty: nothing on noise, and what is there where problems differ."""

from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestration.analysis.collect import Measured, Named
from orchestration.analysis.difficulty import NO_MEASURE
from orchestration.analysis.estimates import Estimates
from orchestration.analysis.spread import spread_of
from orchestration.report.tables import spread_line
from orchestration.report.write import Report, make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.generated import generate
from tests.support.handmade import rewritten, write_run

PROBLEMS = 500
SEEDS = range(3)


def report_of(folder: Path) -> Report:
    return make_report(Run(folder), ReportSettings(figures=[]))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """Runs of equally hard problems."""
    folder = tmp_path_factory.mktemp("noise")
    return [
        report_of(generate(folder / str(seed), np.full(PROBLEMS, 0.4), samples=8, seed=seed))
        for seed in SEEDS
    ]


def by_strategy(report: Report) -> dict[str, list[float]]:
    """Of each series the accuracy in bins 1 to 5."""
    found: dict[str, list[float]] = defaultdict(list)
    for point in report.measures.difficulty:
        found[Named.of(point.strategy).series].append(point.accuracy.mean)
    return found


def test_equally_hard_problems_show_no_difficulty(noise: list[Report]) -> None:
    """Trap: bins made from the samples that are judged hold what was lucky, and what was not."""
    found = [by_strategy(report) for report in noise]
    assert [set(one) for one in found] == [{"greedy", "majority", "best_of_n", "beam(width=4)"}] * len(SEEDS)
    points = [point for report in noise for point in report.measures.difficulty]
    means = {
        (seed, series): np.mean(accuracies)
        for seed, one in enumerate(found)
        for series, accuracies in one.items()
    }
    missed = 0
    for seed, report in enumerate(noise):
        for point in report.measures.difficulty:
            mean = means[seed, Named.of(point.strategy).series]
            missed += not point.accuracy.low <= mean <= point.accuracy.high
            assert point.accuracy.problems == PROBLEMS / 5
            assert abs(point.accuracy.mean - mean) < 4 * (0.25 / point.accuracy.problems) ** 0.5
    assert len(points) == 5 * 4 * len(SEEDS)
    assert missed <= 0.15 * len(points)
    # From the easiest bin to the hardest nothing falls, nor rises.
    for series in found[0]:
        slopes = [np.polyfit(range(5), one[series], 1)[0] for one in found]
        assert abs(np.mean(slopes)) < 0.02, series


def test_a_spread_of_difficulty_is_shown(tmp_path: Path) -> None:
    ability = np.random.default_rng(1).permutation(np.linspace(0.02, 0.98, PROBLEMS))
    report = report_of(generate(tmp_path / "spread", ability, samples=8))
    for series, accuracies in by_strategy(report).items():
        assert accuracies[0] > accuracies[2] > accuracies[4], series
        assert accuracies[0] - accuracies[4] > 0.5, series
    assert report.measures.difficulty_axis.startswith("quintile of pass@1 (1: easiest), from 4 samples")
    shown = {point.strategy for point in report.measures.difficulty}
    assert shown == {"greedy", "majority(n=4)", "best_of_n(n=4)", "beam(n=8,width=4)"}
    assert any("judged on the first 4, so at N of at most 4" in note for note in report.measures.notes)


def test_fifths_of_equally_hard_problems_are_equal(noise: list[Report]) -> None:
    """Trap: fifths told apart by the samples that they are measured on spread by luck alone."""
    for report in noise:
        spread = report.measures.spread
        assert spread is not None
        assert spread.samples == 8
        assert abs(spread.mean - 0.4) < 0.03
        assert max(abs(one - spread.mean) for one in spread.fifths) < 4 * (0.24 / (PROBLEMS / 5 * 4)) ** 0.5


def test_the_spread_of_pass_at_1_is_told_and_drawn(tmp_path: Path) -> None:
    ability = np.repeat([0.9, 0.5, 0.3, 0.1, 0.0], 20)
    folder = generate(tmp_path / "spread", np.random.default_rng(1).permutation(ability), samples=64)
    report = make_report(Run(folder), ReportSettings(figures=["png"]))
    spread = report.measures.spread
    assert spread is not None
    assert np.allclose(spread.fifths, [0.9, 0.5, 0.3, 0.1, 0.0], atol=0.06)
    assert spread.hopeless is not None
    assert 0.2 <= spread.never <= spread.hopeless < 0.25
    assert folder / "report" / "spread.png" in report.paths
    assert f"{100 * spread.mean:.1f}% on average" in (folder / "report" / "report.md").read_text()


def told_by(first: NDArray[np.float64], rate: NDArray[np.float64], size: int) -> Estimates:
    source = Measured(Named.of(f"majority(n={size})"), *[None] * (len(fields(Measured)) - 1))  # type: ignore[arg-type]
    return Estimates(source, first.size * size, 0, {}, {}, rate, first, {}, None)


@pytest.mark.parametrize(("samples", "told"), [(16, False), (32, False), (34, True), (64, True)])
def test_what_one_sample_decides_is_told_as_that(samples: int, told: bool) -> None:
    """Trap: of 16 samples "below 3%" is "without a right one" in other words."""
    half = np.zeros((40, 1))
    spread = spread_of(told_by(half, half, samples))
    assert spread is not None
    assert ("Below 3% are 100.0%" in spread_line(spread)) == told
    assert "ithout a right sample" in spread_line(spread)


def test_the_samples_that_are_told_are_those_of_each_problem() -> None:
    """A seed that is not done yet: problems that lack it are not told by fewer samples than are said."""
    half = np.full((60, 2), 0.5)
    half[:20, 1] = np.nan
    spread = spread_of(told_by(half, half, 8))
    assert spread is not None
    assert (len(spread.rates), spread.samples) == (40, 16)
    half[:40, 1] = np.nan
    assert spread_of(told_by(half, half, 8)) is None


def test_rates_are_of_whole_samples() -> None:
    """Trap: 3 of 7 and 2 of 7 are means of means, which miss 5 of 14 by a rounding."""
    right = np.random.default_rng(0).integers(0, 2, (60, 3, 9))
    spread = spread_of(told_by(right[..., :4].mean(-1), right[..., 4:].mean(-1), 9))
    assert spread is not None
    assert spread.rates.tolist() == (right.sum((1, 2)) / 27).tolist()


def test_few_samples_tell_no_spread(tmp_path: Path) -> None:
    folder = generate(tmp_path / "few", np.full(60, 0.5), samples=4)
    report = make_report(Run(folder), ReportSettings(figures=["png"]))
    assert report.measures.spread is None
    assert not (folder / "report" / "spread.png").exists()
    assert "pass@1 of a problem" not in (folder / "report" / "report.md").read_text()


def test_one_sample_makes_no_bins_and_a_note_says_so(tmp_path: Path) -> None:
    report = report_of(generate(tmp_path / "one", np.full(60, 0.5), samples=1))
    assert report.measures.difficulty == []
    assert any(note.startswith("No accuracy by difficulty") for note in report.measures.notes)


def test_too_few_problems_for_bins_are_told(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "few", problems=24, lengths=False))
    assert report.measures.difficulty == []
    assert (
        "No accuracy by difficulty: it takes 25 problems whose samples tell how difficult they are, and there are 24."
        in report.measures.notes
    )
    assert report_of(write_run(tmp_path / "enough", problems=25, lengths=False)).measures.difficulty


def test_where_nothing_tells_difficulty_it_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "search", problems=30, ladder=(1,), lengths=False)
    rewritten(folder, lambda _: None, lambda text: text.replace("majority(n=1)", "mine.Search(n=1)"))
    assert NO_MEASURE in report_of(folder).measures.notes


def test_what_may_have_read_the_samples_of_the_bins_is_not_judged_in_them(tmp_path: Path) -> None:
    """Those that stop early draw what majority draws, and nobody knows what a strategy of the user's own draws."""
    folder = write_run(tmp_path / "own", problems=40, lengths=False)
    names = {
        "majority(n=4)": "early_stopping(n=4,window=5)",
        "majority(n=1)": "early_stopping(n=16,window=7)",
        "beam(n=4,width=4)": "mine.Search(n=4)",
        "beam(n=16,width=4)": "mine.Other(n=16)",
    }
    rewritten(folder, lambda _: None, lambda text: names.get(text, text))
    report = report_of(folder)
    shown = {point.strategy for point in report.measures.difficulty}
    assert {"early_stopping(n=4,window=5)", "mine.Search(n=4)", "greedy", "best_of_n(n=8)"} <= shown
    [note] = [note for note in report.measures.notes if note.startswith("Not by difficulty")]
    assert "early_stopping(window=7)" in note
    assert "mine.Other" in note
