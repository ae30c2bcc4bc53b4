"""Runs under one price: what was decided stands in the folder and is what a replay decides, the budget is used and kept to,
and who stopped goes on where there is more.

Everything but Ray is the real thing; one run is through Ray as well.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from actors.cluster import placement
from actors.strategy import Candidate, Decision
from actors.work import NOT_ALL, prompt_cost
from orchestration.allocation.choices import reserve_prices
from orchestration.allocation.plan import Plan, read_plan
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import Offer, work_of
from orchestration.allocation.walk import Walk
from orchestration.api import Run, settings_of
from orchestration.flops import generation_flops
from orchestration.planning.pools import NOTHING_KNOWN, _candidate
from orchestration.planning.prompt_values import prompt_values
from orchestration.runs import pricing
from orchestration.runs.evaluation import evaluate
from orchestration.runs.pricing import price_of
from orchestration.runs.problem_store import ProblemStore, stored_problems
from orchestration.runs.prompts import Longest
from orchestration.runs.session import asked, opened, survey, tasks
from orchestration.setup.prepare import Prepared, prepare
from orchestration.strategies.compute_optimal import COUNTING
from orchestration.strategies.parse import parse
from orchestration.strategies.standing import standing
from orchestration.strategies.tally import counting_as
from tests.support.here import ClusterHere, without_ray
from tests.support.plans import OFFER, PROMPTED, SEARCH, plan_for

PROBLEMS = 24


class Made:
    """Runs of tiny models under the price of a plan for them."""

    def __init__(self, words: list[str], folder: Path, offer: Offer = OFFER) -> None:
        self.words = [*words, f"dataset.count={PROBLEMS}"]
        self.folder, self.file = folder, folder / "plan.yaml"
        self.sample = plan_for(self.words, self.file, typical=40, offer=offer)
        self.plan = read_plan(self.file)

    def prepared(self, name: str, samples: float, *more: str) -> Prepared:
        """With a budget of so many samples for each problem."""
        budget = int(samples * self.sample * PROBLEMS)
        mine = [
            f"strategies=[\"compute_optimal(plan='{self.file}')\"]",
            f"folder={self.folder / name}",
            f"budget.flops={budget}",
            "budget.allocation=global",
        ]
        return prepare(settings_of([*self.words, *mine, *more]))

    def copied(self, name: str) -> str:
        """The folder of the first run as it ended, in a place of its own."""
        shutil.copytree(self.folder / "first_ended", self.folder / name)
        return name


@pytest.fixture(scope="module")
def made(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(words, tmp_path_factory.mktemp("priced"))


@pytest.fixture
def here() -> Iterator[None]:
    with without_ray():
        yield


def charged(run: Run) -> int:
    return sum(entry.flops for entry in run.books())


def told(run: Run) -> list[tuple[dict[str, object], tuple[Decision, ...], list[Candidate]]]:
    """Each outcome, what it decided, and its candidates."""
    decisions = run.decisions()
    return [
        (one.outcome, decisions.get(one.outcome["key"], ()), [_candidate(row) for row in one.candidates])
        for one in run.results()
    ]


def check_replayed(run: Run, plan: Plan, values: Mapping[str, float] = NOTHING_KNOWN) -> Counter[str]:
    """Whatever was decided live is what the object of a replay decides, of the candidates that stand in the folder, the
    `values` of prompts and at the price that stands there. Returns how often each option was taken."""
    chooser, taken = Chooser(plan.table), Counter[str]()
    for outcome, decisions, candidates in told(run):
        # It is known from where it was asked.
        asked = any(one.option == "prompt" for one in decisions)
        walk, value = Walk(chooser), values.get(str(outcome["problem_id"])) if asked else None
        for said, after in zip(decisions, (*decisions[1:], None), strict=True):
            assert replace(walk.decide(said.price), flops=said.flops, repeated=True) == said
            taken[said.option or "stop"] += 1
            if after is None:
                break
            work = work_of(said.option or "")
            if work in plan.offer.searches:
                # Whole samples come first; of a search that came to its end those vote that it kept.
                stood = work_of(said.stage)
                drawn = int(stood) if stood.isdigit() else 0
                before = standing([replace(one, kept=True) for one in candidates[:drawn]], COUNTING)
                counting = counting_as(COUNTING, parse(work))
                now = standing(candidates[drawn:], counting, before=before, prompt=value)
            else:
                drawn = 0 if work == "prompt" else int(work)
                voting = [replace(one, kept=True) for one in candidates[:drawn]]
                now = standing(voting, COUNTING, prompt=value)
            walk.arrive(now.evidence, said.flops)
    return taken


@pytest.fixture(scope="module")
def first(made: Made) -> tuple[Prepared, Run]:
    with without_ray():
        prepared = made.prepared("first", 2.5)
        run = evaluate(prepared)
    shutil.copytree(run.folder, made.folder / "first_ended")
    return prepared, run


def test_its_budget_is_used_and_kept_to_and_it_decides_as_a_replay_does(
    made: Made, first: tuple[Prepared, Run]
) -> None:
    prepared, run = first
    assert prepared.budget is not None
    assert 0.95 * prepared.budget <= charged(run) <= prepared.budget
    taken = check_replayed(run, made.plan)
    assert min(taken["1"], taken["2"], taken[SEARCH], taken["stop"]) > 0
    for outcome, decisions, candidates in told(run):
        assert outcome["state"] == "answered"
        assert candidates
        assert (decisions[-1].option is None) == (outcome["reason"] != NOT_ALL)
    # Those of prompts that were taken up again have what they took before, too.
    assert sum(one.flops for decisions in run.decisions().values() for one in decisions) == charged(run)


@pytest.mark.usefixtures("here")
def test_a_larger_budget_takes_up_who_stopped_and_repeats_what_was_decided(
    made: Made, first: tuple[Prepared, Run]
) -> None:
    prepared, run = first
    before, spent = run.decisions(), charged(run)
    again = evaluate(prepared)
    assert (charged(again), again.decisions()) == (spent, before), "the same command has nothing to do"
    larger = made.prepared("first", 4.0)
    session = survey(larger, opened(larger))
    assert any("prompts that had stopped go on" in note for note in session.notes)
    run = evaluate(larger)
    assert larger.budget is not None
    assert spent < charged(run) <= larger.budget
    check_replayed(run, made.plan)
    further = 0
    for key, decisions in run.decisions().items():
        done = [one for one in before[key] if one.option is not None]
        assert [(one.price, one.option) for one in decisions[: len(done)]] == [
            (one.price, one.option) for one in done
        ]
        further += len(decisions) > len(before[key])
    assert further
    assert {row["state"] for row in run.outcomes().to_pylist()} == {"answered"}
    assert len(run.outcomes()) == PROBLEMS


def answers(run: Run) -> dict[str, tuple[str, str | None]]:
    return {row["key"]: (row["state"], row["answer"]) for row in run.outcomes().to_pylist()}


@pytest.mark.usefixtures("here", "first")
def test_who_comes_to_nothing_as_it_goes_on_keeps_its_answer(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = made.prepared(made.copied("fails"), 4.0)
    run = Run(larger.settings.folder)
    before, decisions = answers(run), run.decisions()

    def broken(walk: Walk, price: float) -> Decision:
        raise RuntimeError("broken")

    monkeypatch.setattr(Walk, "decide", broken)
    run = evaluate(larger)
    assert (answers(run), run.decisions()) == (before, decisions)
    assert "broken" in (run.folder / "failures.log").read_text(), "it was tried"


@pytest.mark.usefixtures("here", "first")
def test_a_start_that_ended_while_prompts_went_on_goes_on_with_them(made: Made) -> None:
    """Its outcomes are all there, and some of its budget."""
    prepared = made.prepared(made.copied("ended"), 4.0)
    file = made.folder / "ended" / "run.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"state": "stopped", "budget_flops": prepared.budget}))
    session = survey(prepared, opened(prepared))
    assert session.outcomes_left == 0
    assert any("go on where what is left" in note for note in session.notes)
    before = charged(Run(file.parent))
    run = evaluate(prepared)
    assert prepared.budget is not None
    assert before < charged(run) <= prepared.budget
    assert json.loads(file.read_text())["state"] == "finished"


@pytest.mark.usefixtures("first")
def test_the_best_value_goes_on_first_of_those_that_are_asked_for(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prompts that stand after one sample, in one cell after the other."""
    prepared = made.prepared(made.copied("order"), 6.0)
    folder, start, bound = made.folder / "order", opened(prepared), price_of(prepared)
    assert bound is not None
    store, session = ProblemStore(folder, stored_problems(folder)), survey(prepared, start)
    keys, table = list(asked(prepared, start.identity, store)), bound.table
    assert len(keys) == PROBLEMS
    cells = {key: place % table.stage("1").cells for place, key in enumerate(keys)}
    same = {"strategy": prepared.strategies[0].text, "stage": "1"}
    rows = [{"key": key, "cell": cell, **same} for key, cell in cells.items()]
    monkeypatch.setattr(pricing, "_decisions", lambda _: iter(rows))
    stopped, spent = pricing.Stopped(prepared, bound, keys), charged(Run(folder))

    def order(passes: int) -> list[str]:
        monkeypatch.setattr(pricing, "_PASSES", passes)
        found = stopped.again(spent)
        assert found is not None
        each = (tasks(prepared, start.identity, one, store, session.prompts) for one in found[1])
        todo = [task for some in each for task, _ in some]
        assert all(task.answered == frozenset(task.keys) for task in todo)
        return [task.keys[0] for task in todo]

    data, best = order(1), order(1_000)
    assert data == [key for key in keys if key in data]
    assert data != best
    assert set(data) == set(best)
    worth = reserve_prices(Chooser(table).solver)[table.starts[table.place("1")] :]
    reserves = [worth[cells[key]] for key in best]
    assert reserves == sorted(reserves, reverse=True)
    # What nobody asks for has no part in the price; later they have other lots.
    few = pricing.Stopped(prepared, bound, keys[:6]).again(spent)
    every, later = stopped.again(spent), stopped.again(spent + 1)
    assert few is not None
    assert every is not None
    assert later is not None
    assert few[0].price.price.high < every[0].price.price.high
    assert every[0].taken_up != later[0].taken_up


@pytest.mark.usefixtures("here")
def test_what_exists_already_is_free_and_does_not_end_the_taking_up(made: Made) -> None:
    """Trap: that nothing was spent does not say that nobody went on."""
    rich = evaluate(made.prepared("rich", 1e4))
    started: list[object] = []

    class Counting(ClusterHere):
        def __enter__(self) -> ClusterHere:
            started.append(self)
            return super().__enter__()

    # Of this test's own: pytest's is undone after `here`, and would leave its cluster behind.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "Cluster", Counting)
        run = evaluate(made.prepared("free", 2.0, f"reuse=[{rich.folder}]"))
    assert charged(run) == 0
    assert len(started) > 2


@pytest.mark.usefixtures("first")
def test_engines_are_started_for_prompts_that_may_go_on(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM is started for the longest prompt: where nothing is missing, that of those that stopped."""
    larger = made.prepared(made.copied("longest"), 4.0)
    models = {role: replace(one, engine="vllm") for role, one in larger.models.items()}
    contexts = replace(larger.contexts, limit=None)
    seen: list[str] = []
    monkeypatch.setattr(Longest, "see", lambda _, question: seen.append(question))
    survey(replace(larger, models=models, contexts=contexts), opened(larger))
    assert len(seen) == PROBLEMS


@pytest.mark.usefixtures("first")
def test_where_no_samples_are_kept_nobody_goes_on_and_that_is_said(made: Made) -> None:
    name = made.copied("kept")
    for words in (["keep=answers"], ["keep=no_token_ids", "dataset.count=30"]):
        larger = made.prepared(name, 4.0, *words)
        session = survey(larger, opened(larger))
        assert session.outcomes_left
        assert not any("go on where" in note for note in session.notes)
        assert any("no prompt that stopped goes on" in note for note in session.notes)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("floor", [1, 0])
def test_a_budget_that_pays_no_first_sample_for_each_says_whom_it_leaves_out_and_why(
    made: Made, floor: int
) -> None:
    prepared = made.prepared(f"tight{floor}", 0.5, f"budget.floor={floor}")
    session = survey(prepared, opened(prepared))
    said = [note for note in session.notes if "will be unaffordable" in note]
    assert len(said) == floor
    run = evaluate(prepared)
    assert prepared.budget is not None
    assert charged(run) <= prepared.budget
    states: Counter[str] = Counter()
    for outcome, _, candidates in told(run):
        states[str(outcome["state"])] += 1
        assert (outcome["state"] == "answered") == bool(candidates)
        if outcome["state"] == "unaffordable":
            assert re.fullmatch(
                r"the budget ended before the first candidate, at a price of \d\S* a FLOP",
                str(outcome["reason"]),
            )
    assert set(states) == {"answered", "unaffordable"}
    if floor:
        assert abs(states["answered"] - PROBLEMS / 2) <= 3
        assert f"for about {PROBLEMS // 2:,}"[:12] in said[0]


@pytest.mark.usefixtures("here")
def test_what_told_a_bin_and_served_nothing_else_is_booked_as_difficulty(made: Made) -> None:
    mine = [f"strategies=[compute_optimal(plan='{made.file}',n=4)]", f"folder={made.folder / 'bins'}"]
    run = evaluate(prepare(settings_of([*made.words, *mine, "dataset.count=8"])))
    options = [decisions[0].option for _, decisions, _ in told(run)]
    booked = {entry.purpose: entry.flops for entry in run.books() if entry.kind == "kept"}
    assert ("difficulty" in booked) == any(option != "best_of_n(n=4)" for option in options)
    assert charged(run) == sum(int(row["spent_flops"]) for row in run.outcomes().to_pylist())
    for outcome, decisions, candidates in told(run):
        [said] = decisions

        assert outcome["strategy"] == f"compute_optimal(plan={made.plan.name},n=4)"
        assert len(candidates) >= 4
        assert said.flops > 0


@pytest.mark.usefixtures("here")
def test_what_the_verifier_says_of_a_prompt_is_paid_once_and_decides_what_it_gets(
    words: list[str], tmp_path: Path
) -> None:
    made = Made(words, tmp_path, PROMPTED)
    prepared = made.prepared("told", 2.0)
    assert prepared.budget is not None
    assert prepared.first_grant is not None
    whole = generation_flops(prepared.costs, prepared.longest_prompt, 40, "paper")
    asked = prompt_cost(prepared.costs["verifier"], prepared.longest_prompt).paper
    assert prepared.first_grant == whole + asked, (
        "who starts can pay its prompt's value and a first candidate"
    )
    run = evaluate(prepared)
    assert 0.9 * prepared.budget <= charged(run) <= prepared.budget
    values = prompt_values(run)
    taken = check_replayed(run, made.plan, values)
    assert 0 < taken["judged 1"] <= taken["prompt"]
    assert sum(one.flops for decisions in run.decisions().values() for one in decisions) == charged(run)
    assert booked(run)["difficulty"] == judged(prepared, run)
    # A larger budget, and another run that may use what is there, ask for none of them again.
    larger = made.prepared("told", 4.0)
    run = evaluate(larger)
    assert booked(run)["difficulty"] == judged(larger, run)
    check_replayed(run, made.plan, values)
    reusing = evaluate(made.prepared("reusing", 2.0, f"reuse=[{made.folder / 'told'}]"))
    again = {key for key in asking(reusing) if key not in asking(run)}
    assert len(again) < len(asking(reusing))
    assert booked(reusing).get("difficulty", 0) == judged(prepared, reusing, again)


def booked(run: Run) -> dict[str, int]:
    return {entry.purpose: entry.flops for entry in run.books() if entry.kind == "kept" and entry.flops}


def asking(run: Run) -> set[str]:
    """Problems whose prompts were judged."""
    decisions = run.decisions()
    return {
        row["problem_id"]
        for row in run.outcomes().to_pylist()
        if any(one.option == "prompt" for one in decisions.get(row["key"], ()))
    }


def judged(prepared: Prepared, run: Run, names: set[str] | None = None) -> int:
    """FLOPs of the verifier that read the prompts of these problems once, those of all that were judged."""
    rows = run.problems(["problem_id", "prompt_tokens"]).to_pylist()
    asked = asking(run) if names is None else names
    tokens = [row["prompt_tokens"] for row in rows if row["problem_id"] in asked]
    return sum(prompt_cost(prepared.costs["verifier"], one).paper for one in tokens)


REVISED = "revision(sequential=2,parallel=2)"


def test_through_ray_it_is_the_same_and_a_reviser_takes_part(
    words: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    """The price goes to the replicas, and what they decided comes back, in other processes."""
    reviser = ["reviser=folder", f"reviser.path={models[0]}", "cluster.reviser.cpus=0.5"]
    made = Made([*words, *reviser, "cluster.policy.cpus=0.5"], tmp_path, replace(OFFER, searches=(REVISED,)))
    prepared = made.prepared("ray", 2.0, "dataset.count=8")
    run = evaluate(prepared)
    assert prepared.budget is not None
    assert 0 < charged(run) <= prepared.budget
    taken = check_replayed(run, made.plan)
    assert taken["1"] == len(run.outcomes()) == 8
    assert taken[REVISED] > 0
    assert sum(one.flops for decisions in run.decisions().values() for one in decisions) == charged(run)
    spent, before = charged(run), run.decisions()
    drawn = {row["key"]: row["reviser_tokens"] for row in run.outcomes().to_pylist()}
    # What could not be paid was not begun.
    begun = {key for key, some in before.items() if any(one.option == REVISED and one.flops for one in some)}
    assert {key for key, tokens in drawn.items() if tokens} == begun != set()
    with without_ray():
        again = evaluate(prepared)
        assert (charged(again), again.decisions()) == (spent, before), "the same command has nothing to do"
        larger = made.prepared("ray", 4.0, "dataset.count=8")
        more = evaluate(larger)
    assert larger.budget is not None
    assert spent < charged(more) <= larger.budget
    check_replayed(more, made.plan)
    for key, decisions in more.decisions().items():
        done = [(one.price, one.option) for one in before[key] if one.option is not None]
        assert [(one.price, one.option) for one in decisions[: len(done)]] == done
