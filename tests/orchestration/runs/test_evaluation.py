"""Whole evaluations with tiny models: first start, resume, extension, refusal, budget, API.

A run and its extension are through Ray; elsewhere everything but Ray is the real thing.
"""

import functools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.store.digests import DigestMap
from actors.store.done import Done
from actors.store.log import FolderLock, line, text_of
from actors.store.rows import outcome_row, rows_of
from actors.work import Task
from orchestration.api import Run, evaluate, report, settings_of
from orchestration.commands.main import main
from orchestration.runs import evaluation
from orchestration.runs.evaluation import evaluate as evaluate_prepared
from orchestration.runs.identity import identify
from orchestration.runs.problem_store import ProblemStore
from orchestration.runs.prompts import Prompts
from orchestration.runs.record import now, run_record, write_record
from orchestration.runs.session import Session, tasks
from orchestration.runs.status import read_status, says_finished
from orchestration.setup.prepare import Prepared, prepare
from tests.support.folders import outcome
from tests.support.here import without_ray
from tests.support.log_files import logged

STRATEGIES = ["greedy", "majority(n=2)", "majority(n=4)", "best_of_n(n=4)", "beam(n=4,width=2)"]


@pytest.fixture(scope="module")
def first(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "first"
    return evaluate(STRATEGIES, folder=folder, settings=words)


@pytest.fixture
def here() -> Iterator[None]:
    with without_ray():
        yield


def start(words: list[str], *more: str) -> tuple[Session, Run]:
    sessions: list[Session] = []
    run = evaluate_prepared(prepare(settings_of([*words, *more])), sessions.append)
    return sessions[0], run


def test_every_problem_and_strategy_has_one_outcome(first: Run) -> None:
    outcomes = first.outcomes()
    assert len(outcomes) == 6 * 5
    assert pc.count_distinct(outcomes["key"]).as_py() == 30
    assert set(outcomes["strategy"].to_pylist()) == set(STRATEGIES)
    assert set(outcomes["state"].to_pylist()) == {"answered"}
    assert len(first.problems()) == 6
    assert len(first.candidates(strategy="majority(n=4)")) == 24
    assert first.info["state"] == "finished"
    assert first.info["sessions"][0]["outcomes"] == 30
    assert first.info["spent_flops"] == first.info["sessions"][0]["spent"] > 0
    assert first.info["wasted_flops"] == 0
    assert first.config["strategies"] == STRATEGIES
    result = next(iter(first.results()))
    assert result.candidates
    problem = first.problem(result.outcome["problem_id"])
    tokens, prompt = first.prompt(problem.id)
    assert tokens > 1
    assert prompt is not None
    assert prompt.endswith(problem.question + "\n"), "as the policy was given it, special tokens before it"


def test_strategies_share_samples_and_pay_them_once(first: Run) -> None:
    outcomes = first.outcomes()
    attributed = {
        row["strategy"]: row["attributed_tokens_sum"]
        for row in outcomes.group_by("strategy").aggregate([("attributed_tokens", "sum")]).to_pylist()
    }
    spent = pc.sum(outcomes["policy_tokens"]).as_py()
    assert attributed["majority(n=4)"] == attributed["best_of_n(n=4)"]
    assert spent < sum(attributed.values()) - attributed["majority(n=4)"]


def test_its_status_is_that_of_a_finished_run(first: Run, capsys: pytest.CaptureFixture[str]) -> None:
    status = read_status(first.folder)
    assert status is not None
    assert status.reading is not None
    progress = status.reading.progress
    assert (status.state, status.unit, status.replicas) == ("finished", "paper", {"policy": 1, "verifier": 1})
    assert (status.totals.problems, status.totals.outcomes, status.totals.outcomes_done) == (6, 30, 0)
    assert (progress.outcomes, progress.answered, progress.tasks_open) == (30, 30, 0)
    assert (
        sum(entry.flops for entry in first.books())
        == progress.spent + progress.wasted
        == first.info["spent_flops"]
    )
    assert main(["status", str(first.folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "finished at" in out
    assert "problems 6 of 6 outcomes 30 of 30 in folder 30 outcomes: 30 answered" in out


def test_a_report_of_it(first: Run) -> None:
    measures = report(first).measures
    assert {row.strategy for row in measures.rows if row.ran} == set(STRATEGIES)
    assert (first.folder / "report" / "report.md").is_file()


def test_the_same_command_has_nothing_to_do(
    first: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before, status = first.outcomes(), (first.folder / "status.json").read_text()
    texts = f"strategies=[{','.join(STRATEGIES)}]"
    assert main(["evaluate", *words, texts, f"folder={first.folder}"]) == 0
    assert "all 6 problems are done" in capsys.readouterr().out
    assert Run(first.folder).outcomes().equals(before)
    assert (first.folder / "status.json").read_text() == status
    # Killed after its last outcome, before its last word.
    (first.folder / "status.json").write_text(status.replace('"finished"', '"running"'))
    assert main(["evaluate", *words, texts, f"folder={first.folder}"]) == 0
    assert says_finished(first.folder)


def test_what_a_driver_left_that_was_killed_after_its_last_outcome_is_made_whole(
    first: Run, words: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(first.folder, folder)
    tables = ("outcomes", "candidates", "ledger")
    record = {name: rows_of(pq.read_table(folder / name / "part-000001.parquet")) for name in tables}
    (folder / "log" / "segment-000001.jsonl").write_bytes(line(text_of(record)))
    for name in tables:
        (folder / name / "part-000001.parquet").unlink()
    info = json.loads((folder / "run.json").read_text())
    left = {"state": "running", "sessions": [], "spent_flops": 0}
    (folder / "run.json").write_text(json.dumps(info | left))
    session, run = start(words, f"strategies=[{','.join(STRATEGIES)}]", f"folder={folder}")
    assert session.outcomes_left == 0
    assert not list((folder / "log").iterdir()), "its folder is Parquet alone"
    assert run.outcomes().equals(first.outcomes())
    assert run.candidates().equals(first.candidates())
    assert (run.info["state"], run.info["spent_flops"]) == ("finished", first.info["spent_flops"])


def test_a_folder_that_another_driver_writes_is_left_as_it_is(
    first: Run, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [first.folder / name for name in ("run.json", "status.json", "config.yaml")]
    before = [file.read_text() for file in files]
    lock = FolderLock(first.folder)
    monkeypatch.setattr(evaluation, "FolderLock", functools.partial(FolderLock, patience=0.3))
    with pytest.raises(UserError, match=f"pid {os.getpid()} .* writes this run"):
        start(words, "strategies=[majority(n=3)]", f"folder={first.folder}")
    lock.release()
    assert [file.read_text() for file in files] == before


def test_another_model_is_refused_before_anything_is_touched(
    first: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (first.folder / "run.json").read_text()
    changed = [word for word in words if not word.startswith("policy.max_tokens")]
    assert main(["evaluate", *changed, "policy.max_tokens=41", f"folder={first.folder}"]) == 2
    assert "max_tokens was 40 and is 41" in capsys.readouterr().err
    assert (first.folder / "run.json").read_text() == before


def test_more_problems_and_strategies_extend_a_run(first: Run, words: list[str]) -> None:
    more = [word for word in words if not word.startswith("dataset.count")]
    session, run = start(
        more, "dataset.count=8", "strategies=[greedy,majority(n=3)]", f"folder={first.folder}", "seeds=[0]"
    )
    assert (session.problems, session.outcomes, session.outcomes_done) == (8, 16, 6)
    assert len(run.outcomes()) == 30 + 2 + 8
    assert len(run.problems()) == 8
    assert len(run.info["sessions"]) == 2
    # The two first starts draw the same tokens at the same places.
    kept = run.candidates(strategy="majority(n=3)").filter(pc.field("index") == 1)
    old = run.candidates(strategy="majority(n=2)").filter(pc.field("index") == 1)
    tokens: list[dict[str, Any]] = [
        dict(zip(table["problem_id"].to_pylist(), table["token_ids"].to_pylist(), strict=True))
        for table in (old, kept)
    ]
    assert all(tokens[1][problem] == ids for problem, ids in tokens[0].items())


@pytest.mark.usefixtures("here")
def test_more_seeds_extend_a_run_and_repeat_nothing(words: list[str], tmp_path: Path) -> None:
    common = ["strategies=[greedy,majority(n=2)]", "dataset.count=3", f"folder={tmp_path / 'run'}"]
    session, run = start(words, *common, "seeds=[4]")
    assert (session.problems, session.outcomes) == (3, 6)
    before, spent = run.outcomes(), run.info["spent_flops"]
    session, run = start(words, *common, "seeds=[4,0]")
    assert [(one.seed, one.problems_done, one.outcomes_left) for one in session.passes] == [
        (4, 3, 0),
        (0, 0, 6),
    ]
    assert (session.problems, session.problems_done, session.outcomes, session.outcomes_done) == (3, 0, 12, 6)
    assert run.info["seeds"] == [0, 4]
    rows = run.outcomes()
    assert rows.filter(pc.equal(rows["seed"], 4)).equals(before)
    assert (
        run.info["spent_flops"]
        == spent + pc.sum(rows.filter(pc.equal(rows["seed"], 0))["spent_flops"]).as_py()
    )
    assert len(run.problems()) == 3

    def tokens(run: Run, strategy: str, seed: int) -> list[Any]:
        table = run.candidates(strategy=strategy).sort_by(
            [("problem_id", "ascending"), ("index", "ascending")]
        )
        return table.filter(pc.equal(table["seed"], seed))["token_ids"].to_pylist()

    assert tokens(run, "majority(n=2)", 0) != tokens(run, "majority(n=2)", 4)
    assert tokens(run, "greedy", 0) == tokens(run, "greedy", 4)
    fewer = [*words, "dataset.count=3"]
    fresh = evaluate(["majority(n=2)"], seeds=range(2), folder=tmp_path / "fresh", settings=fewer)
    assert fresh.info["seeds"] == [0, 1]
    assert tokens(fresh, "majority(n=2)", 0) == tokens(run, "majority(n=2)", 0)


def stream_of(prepared: Prepared) -> Iterator[tuple[Task, str | None]]:
    """The tasks of a folder that is new."""
    store = ProblemStore(Path(prepared.settings.folder), DigestMap())
    prompts = Prompts(prepared.prompt, prepared.policy.tokenizer, now())
    return tasks(prepared, identify(prepared), Done(), store, prompts)


def test_every_problem_has_its_first_seed_before_any_has_its_second(words: list[str], tmp_path: Path) -> None:
    prepared = prepare(settings_of([*words, "strategies=[greedy]", "seeds=[1,0]", f"folder={tmp_path}"]))
    stream = [task for task, _ in stream_of(prepared)]
    assert [task.seed for task in stream] == [1] * 6 + [0] * 6
    assert [task.id for task in stream] == [f"{task.prompt.id}/{task.seed}" for task in stream]
    assert len({task.id for task in stream}) == len({task.keys for task in stream}) == 12
    # Both seeds of a problem came in one batch, and it was stored once.
    parts = sorted((tmp_path / "problems").glob("*.parquet"))
    assert [pq.read_table(part).num_rows for part in parts] == [6]


@pytest.mark.usefixtures("here")
def test_a_budget_is_kept_and_a_larger_one_goes_on(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "tight"
    common = [*words, "strategies=[majority(n=4)]", "verifier=none", f"folder={folder}"]
    common = [word for word in common if not word.startswith("verifier.path")]
    _, run = start(common, "budget.generations=9")
    budget = run.info["budget_flops"]
    table = run.outcomes()
    assert 0 < pc.sum(table["spent_flops"]).as_py() <= budget
    unpaid = pc.sum(pc.starts_with(table["reason"], "the budget ended")).as_py()
    assert unpaid > 0
    # Anytime: whatever was paid has an answer.
    assert set(table.filter(pc.greater(table["generations"], 0))["state"].to_pylist()) == {"answered"}
    session, run = start(common, "budget.generations=9")
    assert session.outcomes_left == 0
    # A smaller one that finds nothing to do leaves what stands there: what was tried is not tried again.
    start(common, "budget.generations=8")
    session, run = start(common, "budget.generations=9")
    assert (session.outcomes_left, run.info["budget_flops"]) == (0, budget)
    larger = [*common, "budget.generations=500"]
    # A larger budget that something stopped has paid nothing yet.
    with pytest.MonkeyPatch.context() as patch:

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(evaluation, "_stream", stopped)
        with pytest.raises(KeyboardInterrupt):
            start(larger)
    # Nor has one that was not asked for what is unpaid.
    start(larger, "strategies=[greedy]")
    session, run = start(larger)
    assert session.outcomes_left == unpaid
    votes = run.outcomes().filter(pc.equal(run.outcomes()["strategy"], "majority(n=4)"))
    assert votes["generations"].to_pylist() == [4] * 6
    assert start(larger)[0].outcomes_left == 0


def made_by_hand(words: list[str], folder: Path) -> None:
    """A run whose first problem has an outcome, and no other."""
    prepared = prepare(settings_of(words))
    folder.mkdir(exist_ok=True)
    write_record(folder, prepared, run_record(prepared, identify(prepared), None))
    [first, *_] = list(stream_of(prepared))
    ended = replace(outcome(first[0].prompt.id), key=first[0].keys[0])
    logged(folder, 1, {"outcomes": [outcome_row(ended, True)]})


def test_an_edited_table_is_refused_and_rows_that_left_are_told(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tmp_path / "mine.jsonl", tmp_path / "run"

    def write(*rows: tuple[str, str]) -> None:
        table.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))

    write(("1 + 2 = ?", "4"), ("3 + 4 = ?", "7"))
    words = ["dataset=table", f"dataset.path={table}", f"policy.path={models[0]}", "verifier=none"]
    words += ["policy.max_tokens=20", "policy.typical_tokens=10", "strategies=[greedy]", f"folder={folder}"]
    made_by_hand(words, folder)
    # The outcome that was judged by the wrong answer would stand beside the one judged by the right one.
    write(("1 + 2 = ?", "3"), ("3 + 4 = ?", "7"))
    for more in ([], ["--dry-run"]):
        assert main(["evaluate", *more, *words]) == 2
        assert 'its answer was "4"' in capsys.readouterr().err
    write(("3 + 4 = ?", "7"), ("5 + 6 = ?", "11"))
    assert main(["evaluate", "--dry-run", *words]) == 0
    assert "Not in the data any more: 1 of the folder's problems" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_users_own_table_runs_without_labels(models: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "mine.jsonl"
    rows = [{"question": "1 + 2 = ?"}, {"question": ""}, {"question": "3 + 4 = ?"}]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = evaluate(
        ["greedy"],
        folder=tmp_path / "run",
        dataset=str(table),
        policy=models[0],
        verifier="none",
        settings=["dataset.columns.answer=null", "policy.max_tokens=20", "policy.typical_tokens=10"],
    )
    assert run.outcomes()["correct"].to_pylist() == [None, None]
    assert report(run).measures.labelled == 0


def test_the_judge_alone_is_told_what_reasoning_gym_scores_by(words: list[str], tmp_path: Path) -> None:
    gym = ["dataset=gym", "dataset.name=chain_sum", "strategies=[greedy]", f"folder={tmp_path}"]
    prepared = prepare(settings_of([*words, *gym]))
    for task, label in stream_of(prepared):
        assert label is not None
        assert json.loads(label)["dataset"] == "chain_sum"
        answer = json.loads(label)["entry"]["answer"]
        assert prepared.grader.correct(answer, label)
        assert '"answer"' not in repr(task)


def test_the_api_refuses_what_the_command_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'greedy'"):
        evaluate(["gredy"], folder=tmp_path / "run")
    with pytest.raises(UserError, match=r"strategies = 'gredy'.*did you mean 'greedy'"):
        evaluate("gredy", folder=tmp_path / "run")
    with pytest.raises(UserError, match="choose one of"):
        evaluate(["greedy"], folder=tmp_path / "run", dataset="arithmetics")
