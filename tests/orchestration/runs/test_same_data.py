"""What a run is known by: the contents of its data set and its prompts; and a folder without an outcome refuses nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from actors.errors import UserError
from actors.store.digests import DigestMap
from actors.store.done import Done
from actors.store.log import FolderLock
from actors.store.rows import outcome_row
from actors.work import Outcome, Task
from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.problems import PromptFormat
from orchestration.runs import evaluation
from orchestration.runs.evaluation import evaluate
from orchestration.runs.identity import identify
from orchestration.runs.problem_store import ProblemStore, stored_problems
from orchestration.runs.prompts import Prompts
from orchestration.runs.record import write_record
from orchestration.runs.run import Run
from orchestration.runs.session import Session, opened, survey, tasks
from orchestration.runs.status import read_status
from orchestration.setup.prepare import Prepared, prepare
from tests.support.folders import outcome
from tests.support.log_files import logged

ROWS = [{"question": f"{n} + 1 = ?", "text": f"{n} + 2 = ?", "answer": str(n + 1)} for n in range(4)]


def write(file: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def common(models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings without a data set; tables lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.jsonl")
    sizes = ["policy.max_tokens=20", "policy.typical_tokens=10", "folder=run", "verifier=none"]
    return ["dataset=table", f"policy.path={models[0]}", "strategies=[greedy,majority(n=2)]", *sizes]


def begin(words: list[str], *, outcomes: int = 1, day: str = "") -> list[Task]:
    """A folder as a driver leaves it that was killed: begun, its problems stored, `outcomes` of them ended by all
    strategies."""
    prepared = prepare(settings_of(words))
    folder, start = Path(prepared.settings.folder), opened(prepared)
    folder.mkdir()
    record = start.record | ({"created": day} if day else {})
    write_record(folder, prepared, record)
    store = ProblemStore(folder, DigestMap())
    prompts = Prompts(prepared.prompt, prepared.policy.tokenizer, record["created"])
    found = [task for task, _ in tasks(prepared, start.identity, Done(), store, prompts)]
    rows = [
        outcome_row(ended(task, place), correct=None)
        for task in found[:outcomes]
        for place in range(len(task.keys))
    ]
    if rows:
        logged(folder, 1, {"outcomes": rows})
    return found


def ended(task: Task, place: int) -> Outcome:
    return replace(outcome(task.prompt.id, task.strategies[place].text), key=task.keys[place])


def looked(words: list[str]) -> Session:
    """What a start finds to do."""
    prepared = prepare(settings_of(words))
    return survey(prepared, opened(prepared))


def test_a_table_is_what_is_in_it_wherever_it_lies(common: list[str], tmp_path: Path) -> None:
    begin([*common, "dataset.path=p.jsonl"], outcomes=2)
    write(tmp_path / "moved" / "renamed.jsonl")
    for path in ("./p.jsonl", tmp_path / "p.jsonl", "moved/renamed.jsonl"):
        session = looked([*common, f"dataset.path={path}"])
        assert (session.problems, session.problems_done, session.outcomes_left) == (4, 2, 4), path
        assert session.gone == 0


def test_columns_and_kinds_of_files_are_no_content(common: list[str], tmp_path: Path) -> None:
    begin([*common, "dataset.path=p.jsonl"], outcomes=4)
    write(tmp_path / "q.jsonl", [{"q": row["question"], "a": row["answer"], "more": "x"} for row in ROWS])
    other = [*common, "dataset.path=q.jsonl", "dataset.columns.question=q", "dataset.columns.answer=a"]
    assert looked(other).outcomes_left == 0
    # Fewer of them are no harm, and count as gone.
    assert (looked([*other, "dataset.count=3"]).outcomes_left, looked([*other, "dataset.count=3"]).gone) == (
        0,
        1,
    )


def test_a_column_that_came_later_is_not_grouped_by(common: list[str], tmp_path: Path) -> None:
    """Before anything is spent: what is stored of a problem never changes."""
    more = [row | {"level": "3"} for row in ROWS]
    words = [*common, "dataset.path=p.jsonl", "report.by=[text]"]
    begin(words)
    write(tmp_path / "p.jsonl", more)
    assert looked(words).problems == 4
    mend = r"^report\.by = 'level': the problems in run were stored without .*with reuse=\[run\] nothing is drawn twice"
    with pytest.raises(UserError, match=mend):
        looked([*words, "report.by=[text,level]"])
    assert looked([*words, "report.by=[text,level]", "folder=new"]).problems == 4


def test_a_changed_file_differs_in_the_problems_that_changed(common: list[str], tmp_path: Path) -> None:
    begin([*common, "dataset.path=p.jsonl"], outcomes=4)
    edited = [*ROWS[:3], {"question": "9 + 9 = ?", "answer": "18"}, {"question": "8 + 8 = ?", "answer": "16"}]
    write(tmp_path / "p.jsonl", edited)
    session = looked([*common, "dataset.path=p.jsonl"])
    assert (session.problems_done, session.gone, session.outcomes_left) == (3, 1, 4)
    # One of the same name that says something else cannot stand beside what it was.
    write(tmp_path / "p.jsonl", [ROWS[0] | {"answer": "7"}, *ROWS[1:]])
    with pytest.raises(
        UserError, match=r'^dataset problem = .*its answer was "1" in run and is "7"; choose another'
    ):
        looked([*common, "dataset.path=p.jsonl"])


def test_a_folder_keeps_the_names_that_its_problems_have(common: list[str], tmp_path: Path) -> None:
    words = [*common, "dataset.path=p.jsonl"]
    named = [row | {"id": f"mine-{place}"} for place, row in enumerate(ROWS)]
    begin(words, outcomes=4)
    write(tmp_path / "p.jsonl", named)
    session = looked(words)
    assert (session.problems_done, session.outcomes_left) == (4, 0)
    (note,) = session.notes
    assert (
        note
        == "run names its problems by their content, and goes on so; a new folder names them by column 'id'"
    )
    # One that was begun with the column, in which a name is given twice now.
    fresh = [*words, "folder=new"]
    assert [task.prompt.id for task in begin(fresh, outcomes=4)] == [f"mine-{place}" for place in range(4)]
    assert looked(fresh).outcomes_left == 0
    write(tmp_path / "p.jsonl", [*named, {"question": "9 + 9 = ?", "answer": "18", "id": "mine-0"}])
    session = looked(fresh)
    assert (session.problems, session.outcomes_left) == (4, 0)
    assert [row.reason for row in session.skipped] == ["id given twice"]
    # What says something else under a name of one's own is refused; so is nothing where names are made.
    write(tmp_path / "p.jsonl", [named[0] | {"question": "9 + 9 = ?"}, *named[1:]])
    with pytest.raises(UserError, match=r"^dataset problem = 'mine-0': its question was"):
        looked(fresh)


def test_references_that_say_little_are_told_before_a_run(common: list[str], tmp_path: Path) -> None:
    answers = ["see page 12", "7", "", "12 apples and 3 pears"]
    rows = [row | {"answer": answer} for row, answer in zip(ROWS, answers, strict=True)]
    (tmp_path / "p.csv").write_text(
        "question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in rows)
    )
    words = [*common, "dataset.path=p.csv"]
    bare, none = looked(words).notes
    assert bare.startswith("2 of 3 references are compared as bare text (rows 0, 3): ")
    assert none == "1 of 4 problems has no reference answer (row 2): accuracy is told over 3 problems"
    assert looked([*words, "dataset.columns.answer=null"]).notes == []
    assert [note[:8] for note in looked([*words, "dataset.grader=text"]).notes] == ["1 of 4 p"]


def test_another_data_set_is_refused(
    common: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin([*common, "dataset.path=p.jsonl"])
    write(tmp_path / "other.jsonl", [{"question": "9 + 9 = ?", "answer": "18"}])
    for more in (["dataset.path=other.jsonl"], ["dataset.path=p.jsonl", "dataset.columns.question=text"]):
        with pytest.raises(
            UserError, match=r"^folder = 'run': none of its 4 problems is in (other|p)\.jsonl, so it is"
        ):
            looked([*common, *more])
    generated = ["domain=arithmetic", *(word for word in common if word != "dataset=table")]
    with pytest.raises(UserError, match=r'; dataset\.source was "Table" and is "ArithmeticSource"\)'):
        looked(generated)


def test_a_generated_set_is_what_it_is_drawn_by(common: list[str]) -> None:
    words = ["domain=arithmetic", *(word for word in common if word != "dataset=table"), "dataset.count=3"]
    begin(words, outcomes=3)
    # The same, spelt out.
    assert looked([*words, "dataset.options={sums: 0.7, legs: [6, 8]}"]).outcomes_left == 0
    for change, says in (
        ("dataset.options={sums: 0.701}", "dataset.options.sums was 0.7 and is 0.701"),
        ("dataset.seed=1", "dataset.seed was 0 and is 1"),
        ("dataset.split=validation", "dataset.split was"),
    ):
        with pytest.raises(UserError, match=says):
            looked([*words, change])


TODAY = (
    "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}\n{% endif %}{{ messages[-1].content }}\n"
)


@pytest.fixture
def dated(models: tuple[Path, Path], tmp_path: Path, common: list[str]) -> list[str]:
    """Settings whose prompts hold the date."""
    policy = Path(shutil.copytree(models[0], tmp_path / "dated"))
    (policy / "chat_template.jinja").write_text(TODAY)
    kept = [word for word in common if not word.startswith("policy.path=")]
    return [*kept, "dataset.path=p.jsonl", f"policy.path={policy}", "policy.prompt.chat=true"]


def test_a_run_keeps_the_day_on_which_it_was_begun(dated: list[str]) -> None:
    first = begin(dated, outcomes=4, day="2025-03-09T23:59:58+0100")
    prepared = prepare(settings_of(dated))
    text = prepared_text(prepared, first[0])
    assert text.startswith("09 Mar 2025\n")
    # Gone on with on any other day, it has the same prompts.
    assert looked(dated).outcomes_left == 0
    session = looked([*dated, "seeds=[0,1]"])
    store = ProblemStore(Path("run"), session.stored)
    more = tasks(
        prepare(settings_of([*dated, "seeds=[0,1]"])),
        identify(prepared),
        session.done,
        store,
        session.prompts,
    )
    assert [task.prompt for task, _ in more] == [task.prompt for task in first]


def prepared_text(prepared: Prepared, task: Task) -> str:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(prepared.policy.tokenizer)
    text: str = tokenizer.decode(task.prompt.token_ids, skip_special_tokens=True)
    return text


def test_outcomes_of_other_prompts_have_other_keys(dated: list[str]) -> None:
    """Two runs that were begun on two days, of one set-up."""
    keys = []
    for number, day in enumerate(("2025-03-09T12:00:00+0000", "2025-03-10T12:00:00+0000")):
        begun = begin([*dated, f"folder=run-{number}"], day=day)
        keys += [key for task in begun for key in task.keys]
    assert len(set(keys)) == len(keys) == 16


def test_prompts_that_are_made_otherwise_are_refused(
    dated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another version of the tokenizer's library."""
    begin(dated)
    monkeypatch.setattr(PromptFormat, "prompt_ids", lambda *_: [1, 2, 3])
    with pytest.raises(UserError, match="the tokens of its prompt, or what its answers are judged by"):
        looked(dated)


def test_a_template_is_told_the_time_that_it_is_asked_for() -> None:
    class Clock:
        chat_template = TODAY

        def apply_chat_template(self, turns: object, **options: Any) -> str:
            year: str = options["strftime_now"]("%Y")
            return year

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [ord(char) for char in text]

    tokenizer: Any = Clock()
    ids = PromptFormat(chat=True).prompt_ids(tokenizer, "1 + 1?", datetime(1999, 12, 31))
    assert "".join(map(chr, ids)) == "1999"


def test_a_survey_makes_the_prompts_of_stored_problems_alone_and_once(
    common: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [*common, "dataset.path=p.jsonl", "seeds=[0,1]"]
    asked: list[str] = []
    make = PromptFormat.prompt_ids

    def counted(self: PromptFormat, tokenizer: Any, question: str, *rest: Any) -> list[int]:
        asked.append(question)
        return make(self, tokenizer, question, *rest)

    monkeypatch.setattr(PromptFormat, "prompt_ids", counted)
    assert looked(words).outcomes_left == 4 * 2 * 2
    assert asked == []
    begin(words, outcomes=8)
    write(tmp_path / "p.jsonl", [*ROWS, {"question": "9 + 9 = ?", "answer": "18"}])
    asked.clear()
    prepared = prepare(settings_of(words))
    start = opened(prepared)
    session = survey(prepared, start)
    assert asked == [row["question"] for row in ROWS]
    store = ProblemStore(Path("run"), session.stored)
    rest = list(tasks(prepared, start.identity, session.done, store, session.prompts))
    assert asked[4:] == ["9 + 9 = ?"] * 2
    assert len(rest) == 2


NOT_A_STREAM = "streamed"


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of a run comes as far as its first task."""

    def streamed(*_: object) -> None:
        raise RuntimeError(NOT_A_STREAM)

    monkeypatch.setattr(evaluation, "_stream", streamed)


@pytest.mark.usefixtures("streams")
def test_a_folder_without_an_outcome_refuses_nothing(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*common, "dataset.path=p.jsonl"]
    begin(words, outcomes=0)
    first, folder = Run("run").info, Path("run")
    ledger = [
        {
            "task_id": "t",
            "attempt": 1,
            "lease": 1,
            "purpose": "unknown",
            "kind": "lost",
            "flops": 9,
            "reason": "",
        }
    ]
    logged(folder, 1, {"ledger": ledger})
    for name in ("status.json", "mine.txt"):
        (folder / name).write_text("{}")
    other = [*words, "policy.max_tokens=19", "dataset.columns.answer=null"]
    # A dry run says so and touches nothing.
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert main(["evaluate", "--dry-run", *other]) == 0
    assert "begun anew: what is there is of another set-up" in " ".join(capsys.readouterr().out.split())
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files
    # The same set-up goes on, and what it has cost stays on its books.
    told: list[Session] = []
    with pytest.raises(RuntimeError, match=NOT_A_STREAM):
        evaluate(prepare(settings_of(words)), told.append)
    assert (told[0].anew, told[0].spent, Run("run").info["id"]) == (False, 9, first["id"])
    # The next try has what is edited in it under its old id.
    with pytest.raises(RuntimeError, match=NOT_A_STREAM):
        evaluate(prepare(settings_of(other)), told.append)
    assert (told[1].anew, told[1].spent, told[1].gone, told[1].outcomes_left) == (True, 0, 0, 8)
    record = Run("run").info
    assert record["id"] != first["id"]
    assert record["identity"]["max_tokens"] == 19
    assert sorted(path.name for path in folder.iterdir() if path.name != "lock") == [
        "config.yaml",
        "mine.txt",
        "run.json",
        "status.json",
    ]
    status = read_status(folder)
    assert status is not None
    assert status.reason == f"RuntimeError: {NOT_A_STREAM}"


@pytest.mark.usefixtures("streams")
def test_a_problem_that_was_edited_before_any_outcome_is_taken_as_it_is(common: list[str]) -> None:
    words = [*common, "dataset.path=p.jsonl"]
    begin(words, outcomes=0)
    write(Path("p.jsonl"), [ROWS[0] | {"answer": "7"}, *ROWS[1:]])
    with pytest.raises(RuntimeError, match=NOT_A_STREAM):
        evaluate(prepare(settings_of(words)))
    assert len(stored_problems(Path("run"))) == 0


def test_what_another_driver_writes_does_not_give_way(
    common: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*common, "dataset.path=p.jsonl"]
    begin(words, outcomes=0)
    before = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    other = prepare(settings_of([*words, "policy.max_tokens=19"]))

    class Waited(FolderLock):
        """It was held until its holder had made an outcome."""

        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            logged(folder, 1, {"outcomes": [outcome_row(outcome("a"), correct=None)]})

    monkeypatch.setattr(evaluation, "FolderLock", Waited)
    with pytest.raises(UserError, match="max_tokens was 20 and is 19"):
        evaluate(other)
    assert all(file.read_bytes() == content for file, content in before.items())


def test_outcomes_of_any_kind_keep_a_folder(common: list[str]) -> None:
    words = [*common, "dataset.path=p.jsonl"]
    [task, *_] = begin(words, outcomes=0)
    lost = replace(ended(task, 0), state="quarantined", reason="lost 3 times", answer=None)
    logged(Path("run"), 1, {"outcomes": [outcome_row(lost, correct=None)]})
    with pytest.raises(UserError, match="max_tokens was 20 and is 19"):
        opened(prepare(settings_of([*words, "policy.max_tokens=19"])))
