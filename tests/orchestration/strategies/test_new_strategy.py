"""Strategies that are new: one with a short name, which is a line in the registry, and a user's own, some of which say where
a report puts them. No module knows any of them, and all are estimated, run and reported.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.errors import UserError
from actors.strategy import Described, Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.analysis.measure import Row
from orchestration.api import Run, evaluate, report, settings_of
from orchestration.runs.estimate import estimate
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import ReportSettings
from orchestration.strategies import forecasting
from orchestration.strategies import parse as parsing
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import draw, solution_of, whole_samples
from orchestration.strategies.parse import parse
from orchestration.strategies.registry import STRATEGIES
from orchestration.strategies.settings import canonical, check_count


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest of `n` samples, and `more` drafts of each first step that nobody reads."""

    n: int
    more: int = 0

    def __post_init__(self) -> None:
        check_count("longest.n", self.n)

    @property
    def text(self) -> str:
        return canonical("longest", self)

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        whole = forecasting.samples(self.n, Sampling(), typical)
        if not self.more:
            return whole
        drafts = typical // forecasting.steps_of(typical)
        sequences = self.n + self.more
        return Forecast(self.n, sequences, self.n * typical + self.more * drafts, self.n, bound=sequences)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        samples = await whole_samples(models, self.n, Sampling(), with_scores=False)
        for number in range(self.more):
            await draw(models.policy, (), (self.n + number,), Sampling(), one_step=True)
        return solution_of(samples, max(samples, key=lambda one: len(one.token_ids)).answer)


class First:
    """A user's own, with the four members and nothing else: the first of n samples that can be read."""

    name = "First"

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def text(self) -> str:
        return f"{__name__}.{self.name}(n={self.n})"

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return 2

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        samples = await whole_samples(models, self.n, Sampling(), with_scores=False)
        return solution_of(samples, next((one.answer for one in samples if one.answer), None))


class Grouped(First):
    """Another one, which belongs to greedy decoding, in a curve of its own."""

    name = "Grouped"

    @property
    def grouping(self) -> Grouping:
        return Grouping("greedy", "first of all", 10 * self.n)


class Misnamed(First):
    """One that means something else by this name."""

    name = "Misnamed"
    grouping = "by twos"
    forecast = 3


class Mistaken(First):
    """One that says what is none."""

    name = "Mistaken"
    grouping = Grouping("mistaken", "mistaken", 0)

    def forecast(self, typical: int, most: int) -> int:
        return self.n * typical


def timed(solve: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function around a coroutine function."""

    @functools.wraps(solve)
    def inner(*given: Any) -> Any:
        return solve(*given)

    return inner


class Timed(First):
    name = "Timed"
    solve = timed(First.solve)


def test_a_solve_in_a_wrapper_is_a_solve() -> None:
    text = f"{__name__}.Timed(n=2)"
    assert parse(text).text == text


FIRST, GROUPED, MISNAMED, MISTAKEN = (
    f"{__name__}.{one.name}" for one in (First, Grouped, Misnamed, Mistaken)
)
STRATEGIES_OF_THE_RUN = [
    "longest(n=4)",
    f"{FIRST}(n=2)",
    f"{GROUPED}(n=2)",
    f"{MISNAMED}(n=2)",
    "majority(n=2)",
    "longest(n=2)",
    "longest(n=2,more=1)",
]


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The one line that a new strategy takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRATEGIES, "longest", Longest)
        yield


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "new"
    return evaluate(STRATEGIES_OF_THE_RUN, folder=folder, settings=[*words, "dataset.count=2"])


def rows(run: Run) -> list[Row]:
    settings = ReportSettings(figures=[])
    return [row for row in report(run, settings).measures.rows if row.ran]


def places(run: Run) -> list[tuple[str, str, int]]:
    return [(row.strategy, row.series, row.n) for row in rows(run)]


def test_a_new_strategy_is_read_from_its_text() -> None:
    assert parse("longest(n=4)") == Longest(4)
    strategy: Described = Longest(4, more=2)
    assert strategy.text == "longest(n=4,more=2)"
    assert parsing.registered(strategy.text) == strategy


def test_a_dry_run_tells_what_a_new_strategy_says(words: list[str]) -> None:
    texts = "strategies=[longest(n=8),majority(n=4),longest(n=2,more=3)]"
    needs = estimate(prepare(settings_of([*words, texts])), 10)
    whole, votes, drafts = needs.each
    assert (whole.generations, whole.candidates, whole.expected.of("policy")) == (8, 8, 8 * 30)
    assert (drafts.generations, drafts.candidates) == (2, 2)
    # A typical solution of 30 tokens has two steps.
    assert drafts.expected.of("policy") == 5 * ((2 * 30 + 3 * 15) // 5)
    assert [one.worst.of("policy") for one in needs.each if one.worst] == [8 * 40, 4 * 40, 5 * 40]
    # It shares what it says to share, and nothing else.
    assert needs.expected.of("policy") == 10 * (8 * 30 + drafts.expected.of("policy"))
    assert votes.expected.of("policy") == 4 * 30


def test_a_dry_run_takes_a_users_own_to_draw_its_n(words: list[str]) -> None:
    needs = estimate(prepare(settings_of([*words, f"strategies=[{FIRST}(n=3),majority(n=4)]"])), 10)
    own, votes = needs.each
    assert (own.generations, own.candidates, own.expected.of("policy")) == (3, 3, 3 * 30)
    assert own.worst is None
    assert needs.worst is None
    assert needs.expected.of("policy") == 10 * (own.expected + votes.expected).of("policy")


def test_what_a_users_own_says_wrongly_is_refused_before_it_runs(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its forecast gives int: let it give a Forecast"):
        estimate(prepare(settings_of([*words, f"strategies=[{MISTAKEN}(n=3)]"])), 10)
    with pytest.raises(UserError, match="n a positive whole number or None"):
        evaluate([f"{MISTAKEN}(n=3)"], folder=tmp_path / "run", settings=words)
    assert not (tmp_path / "run").exists()
    # What only has the name of it is no word of a strategy.
    own = estimate(prepare(settings_of([*words, f"strategies=[{MISNAMED}(n=3)]"])), 10).each[0]
    assert (own.generations, own.worst) == (3, None)


def test_each_is_reported_in_its_series_and_its_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(*_: object) -> None:
        raise AssertionError("a report imports no class of a user's own")

    monkeypatch.setattr(parsing, "imported", imported)
    assert places(run) == [
        (f"{GROUPED}(n=2)", "first of all", 20),
        ("majority(n=2)", "majority", 2),
        ("longest(n=2)", "longest", 2),
        ("longest(n=4)", "longest", 4),
        ("longest(n=2,more=1)", "longest(more=1)", 2),
        (f"{FIRST}(n=2)", FIRST, 2),
        (f"{MISNAMED}(n=2)", MISNAMED, 2),
    ]
    assert {row.problems for row in rows(run)} == {2}


def test_the_record_keeps_what_a_users_own_says(run: Run, tmp_path: Path) -> None:
    said = {"family": "greedy", "series": "first of all", "n": 20}
    assert run.info["grouping"] == {f"{GROUPED}(n=2)": said}
    # One of an earlier version keeps nothing, and is read by its texts.
    older = Path(shutil.copytree(run.folder, tmp_path / "older"))
    record = json.loads((older / "run.json").read_text())
    del record["grouping"]
    (older / "run.json").write_text(json.dumps(record))
    assert (f"{GROUPED}(n=2)", GROUPED, 2) in places(Run(older))


def test_a_report_of_a_version_that_lacks_it_goes_by_its_text(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(STRATEGIES, "longest")
    assert places(run)[:2] == [
        (f"{GROUPED}(n=2)", "first of all", 20),
        ("majority(n=2)", "majority", 2),
    ]
    assert set(places(run)[2:]) >= {
        ("longest(n=2)", "longest", 2),
        ("longest(n=4)", "longest", 4),
        ("longest(n=2,more=1)", "longest(more=1)", 2),
    }
