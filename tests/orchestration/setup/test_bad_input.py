"""Every row of docs/errors.md by the real command, with real files: its message, exit code 2, nothing started or written.

A case is a function that makes the files in the current folder and gives the words of the command; its docstring is the
first cell of the row that it belongs to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from actors.store.log import FolderLock
from actors.store.schema import RUN_FORMAT
from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.runs.identity import identify
from orchestration.runs.record import run_record, write_record
from orchestration.runs.run import Run
from orchestration.setup.prepare import prepare
from tests.orchestration.runs.test_run import logged
from tests.support.handmade import write_run
from tests.support.places import ROOT
from tests.support.unprivileged import unprivileged

DOCS = ROOT / "docs" / "errors.md"
Words = list[str]
Case = Callable[[], Words]

CASES: dict[str, Case] = {}
ROW_CASES: dict[str, Case] = {}
# Reasons that come with a model's answer, met in one run together.
REASONS = (
    "a prompt longer than the policy's context",
    "a prompt and solution longer than the verifier's context",
)
# Numbers in these messages follow from model, prompts or machine.
NUMBERS = {
    *REASONS,
    "a budget below one generation",
    "prompts that all exceed the context",
    "solutions that exceed the context with every prompt",
    "more replicas than cores",
    "a run of another version",
}
# The first cell names a state of the file system that the case cannot leave behind.
UNPRIVILEGED = {"a folder that may not be written"}


def documented() -> dict[str, str]:
    """Message of every row of the tables, by its first cell."""
    lines = [line for line in DOCS.read_text().splitlines() if re.match(r"\| .* \| `.*` \| .* \|$", line)]
    cells = [re.fullmatch(r"\| (.*?) \| `(.*)` \| (.*) \|", line) for line in lines]
    rows = [(cell[1], cell[2]) for cell in cells if cell is not None]
    assert len(dict(rows)) == len(rows) == len(lines)
    return dict(rows)


def pattern(name: str) -> re.Pattern[str]:
    text = re.escape(documented()[name]).replace("…", ".+")
    return re.compile(re.sub(r"\d[\d,]*", r"[\\d,]+", text) if name in NUMBERS else text)


def case(test: Case) -> Case:
    CASES[str(test.__doc__)] = test
    return test


def row_case(test: Case) -> Case:
    ROW_CASES[str(test.__doc__)] = test
    return test


def evaluate(*more: str) -> Words:
    words = ["policy.path=policy", "verifier.path=prm", "policy.max_tokens=40", "policy.typical_tokens=30"]
    return ["evaluate", *words, *more]


def table(*rows: object, name: str = "problems.jsonl", more: Words | None = None) -> Words:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    words = ["dataset=table", f"dataset.path={name}", "dataset.grader=number", *(more or [])]
    return evaluate("strategies=[greedy]", *words)


def edit(name: str, **changes: object) -> None:
    Path(name).write_text(json.dumps(json.loads(Path(name).read_text()) | changes))


# Locks that a case holds until it is over.
HELD: list[FolderLock] = []

GOOD = {"question": "1 + 2 = ?", "answer": "3"}
OTHER = {"question": "3 + 4 = ?", "answer": "7"}
LONG = {"question": "1 + " * 400 + "1 = ?", "answer": "401"}

# Commands and settings


@case
def misspelt_command() -> Words:
    """a misspelt command"""
    return ["evalute"]


@case
def misspelt_setting() -> Words:
    """a misspelt setting"""
    return evaluate("dataset.cuont=3")


@case
def misspelt_option() -> Words:
    """a misspelt option of a group"""
    return evaluate("dataset=tabel")


@case
def setting_of_another_option() -> Words:
    """a setting that another option has"""
    return evaluate("dataset.path=problems.jsonl")


@case
def setting_not_given() -> Words:
    """a setting that has to be given"""
    return evaluate("dataset=table")


@case
def no_setting() -> Words:
    """a word that is no setting"""
    return evaluate("greedy")


@case
def other_kind_of_value() -> Words:
    """a value of another kind"""
    return evaluate("policy.max_tokens=many")


# Strategies and budgets


@case
def misspelt_strategy() -> Words:
    """a misspelt strategy"""
    return evaluate("strategies=[gredy]")


@case
def misspelt_parameter() -> Words:
    """a misspelt parameter of a strategy"""
    return evaluate("strategies=[beam(n=16,widht=4)]")


@case
def width() -> Words:
    """a width that does not divide N"""
    return evaluate("strategies=[beam(n=16,width=3)]")


@case
def verifier_needed() -> Words:
    """a strategy that needs a verifier, and none set"""
    words = [word for word in evaluate("strategies=[greedy,beam(n=16)]") if not word.startswith("verifier")]
    return [*words, "verifier=none"]


@case
def budget_below_zero() -> Words:
    """a budget below zero"""
    return evaluate("budget.flops=-1")


@case
def two_budgets() -> Words:
    """two budgets"""
    return evaluate("budget.flops=1e9", "budget.tokens=1e3")


@case
def budget_below_one_generation() -> Words:
    """a budget below one generation"""
    return evaluate("budget.flops=1000")


# Data


@case
def no_such_file() -> Words:
    """no such file"""
    return [*table(GOOD)[:-2], "dataset.path=problem.jsonl"]


@case
def folder_for_a_file() -> Words:
    """a folder for a file"""
    return [*table(GOOD, name="data/problems.jsonl"), "dataset.path=data"]


@case
def empty_file() -> Words:
    """an empty file"""
    return table()


@case
def other_kind_of_file() -> Words:
    """another kind of file"""
    return table("question,answer", "1 + 2 = ?,3", name="problems.csv")


@case
def damaged_parquet() -> Words:
    """a damaged Parquet file"""
    return table("PAR1", name="problems.parquet")


@case
def unknown_column() -> Words:
    """an unknown column"""
    return table(GOOD, more=["dataset.columns.question=qestion"])


@case
def no_answers() -> Words:
    """no answers in the file"""
    return table({"question": "1 + 2 = ?"})


@case
def no_row_that_can_be_used() -> Words:
    """not one row that can be used"""
    return table(GOOD | {"question": " "}, "{")


@case
def all_prompts_too_long() -> Words:
    """prompts that all exceed the context"""
    return table(LONG, LONG | {"question": LONG["question"] + " now"})


@case
def solutions_too_long() -> Words:
    """solutions that exceed the context with every prompt"""
    return table(GOOD, OTHER, more=["policy.max_tokens=250"])


# Single rows


@row_case
def row_without_question() -> Words:
    """a row without a question"""
    return table(GOOD, {"answer": "3"}, OTHER)


@row_case
def question_twice() -> Words:
    """a question given twice"""
    return table(GOOD | {"id": "a"}, GOOD | {"id": "b"}, OTHER | {"id": "c"}, more=["dataset.columns.id=id"])


@row_case
def id_twice() -> Words:
    """an id given twice"""
    return table(GOOD | {"id": "a"}, OTHER | {"id": "a"}, more=["dataset.columns.id=id"])


@row_case
def broken_row() -> Words:
    """a broken row in the middle of a file"""
    return table(GOOD, '{"question": "5 + ', OTHER)


@row_case
def not_utf_8() -> Words:
    """a line that is not UTF-8"""
    words = table(GOOD, OTHER)
    rows = [GOOD, OTHER | {"question": "für 3 + 4 = ?"}]
    Path("problems.jsonl").write_bytes(
        "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode("latin-1")
    )
    return words


@row_case
def no_object() -> Words:
    """a row that is no object"""
    return table(GOOD, ["5 + 6 = ?", "11"], OTHER)


@row_case
def strange_answer() -> Words:
    """an answer that is neither text nor number"""
    return table(GOOD, OTHER | {"answer": ["7"]})


@row_case
def surrogate() -> Words:
    """half of a surrogate pair in a text"""
    return table(GOOD, '{"question": "\\ud83d ?", "answer": "1"}', OTHER)


# Models


@case
def no_model() -> Words:
    """no such model"""
    return evaluate("policy.path=polcy")


@case
def no_weights() -> Words:
    """a model without weights"""
    Path("policy/model.safetensors").unlink()
    return evaluate()


@case
def adapter() -> Words:
    """an adapter alone"""
    Path("policy/model.safetensors").rename("policy/adapter_model.safetensors")
    return evaluate()


@case
def pickled() -> Words:
    """pickled weights alone"""
    Path("policy/model.safetensors").rename("policy/pytorch_model.bin")
    return evaluate()


@case
def cut_off() -> Words:
    """weights that are cut off"""
    file = Path("policy/model.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    return evaluate()


@case
def missing_shard() -> Words:
    """a shard that is missing"""
    names = {f"t{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    Path("policy/model.safetensors").unlink()
    save_file({"t1": np.zeros(9, np.float32)}, Path("policy") / names["t1"])
    Path("policy/model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return evaluate()


@case
def damaged_config() -> Words:
    """a damaged config"""
    Path("policy/config.json").write_text('{"model_type": "llama", ')
    return evaluate()


@case
def no_tokenizer() -> Words:
    """no tokenizer"""
    Path("policy/tokenizer.json").unlink()
    return evaluate()


@case
def foreign_tokenizer() -> Words:
    """another model's tokenizer"""
    edit("policy/config.json", vocab_size=100)
    return evaluate()


@case
def no_chat_template() -> Words:
    """a chat prompt for a model without a chat template"""
    return evaluate("policy.prompt.chat=true")


@case
def other_vocabulary() -> Words:
    """a verifier with another vocabulary"""
    tokenizer = json.loads(Path("prm/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    Path("prm/tokenizer.json").write_text(json.dumps(tokenizer))
    return evaluate()


@case
def foreign_value_head() -> Words:
    """another model's value head"""
    edit("prm/value_head.json", hidden_size=64)
    return evaluate()


@case
def no_verifier() -> Words:
    """a verifier that is none"""
    return evaluate("verifier.path=policy")


# Classes of a user's own

MINE = """
class Shortest:
    def __init__(self, n): ...

class Named:
    text, uses_verifier, sequences = "named", False, 1

    def __init__(self, n): ...

    async def solve(self, prompt, models): ...

class Sums:
    def __init__(self, wrong=0.1): ...

class Weighed:
    def __init__(self, weight): ...
"""


def mine(*more: str) -> Words:
    """Settings of a run with a module that has a strategy and two verifiers."""
    Path("mine.py").write_text(MINE)
    words = [word for word in evaluate() if not word.startswith("verifier")]
    return [*words, "cluster.packages=[mine.py]", "strategies=[best_of_n(n=2)]", *more]


def my_verifier(mapping: str) -> Words:
    return mine(f"verifier={mapping}")


@case
def strategy_not_found() -> Words:
    """a strategy's module that is not found"""
    return evaluate("strategies=[{_target_: mine.Shortest, n: 4}]")


@case
def misspelt_class() -> Words:
    """a misspelt class of a strategy"""
    return mine("strategies=[mine.Shortst(n=4)]")


@case
def no_such_parameter() -> Words:
    """a parameter that a strategy's class does not take"""
    return mine("strategies=[greedy,{_target_: mine.Shortest, m: 4}]")


@case
def no_strategy() -> Words:
    """a class that is no strategy"""
    return mine("strategies=[{_target_: mine.Sums}]")


@case
def one_text_for_two() -> Words:
    """two strategies of one text"""
    return mine("strategies=[mine.Named(n=2),mine.Named(n=3)]")


@case
def no_class() -> Words:
    """a mapping without a class"""
    return mine("strategies=[{n: 4}]")


@case
def verifier_not_found() -> Words:
    """a verifier's module that is not found"""
    return [*evaluate()[:1], "verifier={_target_: mine.Sums, parameters: 0}", "policy.path=policy"]


@case
def no_such_parameter_of_a_verifier() -> Words:
    """a parameter that a verifier's class does not take"""
    return mine(
        "verifier=custom", "verifier._target_=mine.Sums", "verifier.wrnog=0.2", "verifier.parameters=0"
    )


@case
def parameter_lacks() -> Words:
    """a parameter that a verifier's class lacks"""
    return my_verifier("{_target_: mine.Weighed, parameters: 0}")


@case
def parameter_of_ours() -> Words:
    """a parameter that flopwise gives"""
    return my_verifier("{_target_: mine.Sums, device: cuda, parameters: 0}")


@case
def path_that_is_not_taken() -> Words:
    """a path that a verifier's class does not take"""
    Path("rules").mkdir()
    return my_verifier("{_target_: mine.Sums, path: rules, parameters: 0}")


@case
def no_such_path() -> Words:
    """a verifier's path that is not there"""
    Path("rules").mkdir()
    return my_verifier("{_target_: mine.Sums, path: rulse, parameters: 0}")


@case
def no_cost() -> Words:
    """a verifier whose cost is not known"""
    return my_verifier("{_target_: mine.Sums}")


@case
def no_such_package() -> Words:
    """a package that is not there"""
    Path("mine").mkdir()
    return evaluate("cluster.packages=[mien]")


@case
def package_of_no_modules() -> Words:
    """a package of no modules"""
    Path("empty").mkdir()
    return evaluate("cluster.packages=[empty]")


@case
def name_that_is_taken() -> Words:
    """a package whose name is taken"""
    Path("json").mkdir()
    Path("json/__init__.py").touch()
    return evaluate("cluster.packages=[json]")


# Engines


@case
def no_vllm() -> Words:
    """vLLM asked for and not installed"""
    # As if it were not, where it is.
    sys.modules["vllm"] = None  # type: ignore[assignment]
    return evaluate("policy.engine=vllm")


@case
def misspelt_engine() -> Words:
    """an engine that there is not"""
    return evaluate("policy.engine=vlm")


@case
def unseeded_local() -> Words:
    """draws without seeds on the local engine"""
    return evaluate("policy.reproducible=false")


@case
def parallel_without_gpus() -> Words:
    """one model over more GPUs than its replica has"""
    return evaluate("cluster.policy.tensor_parallel=2")


@case
def share_of_memory() -> Words:
    """a share of memory that is none"""
    return evaluate("cluster.policy.memory=1.5")


# Machine and run folder


@case
def memory_on_the_local_engine() -> Words:
    """a setting of vLLM for a model on the local engine"""
    return evaluate("strategies=[greedy]", "cluster.policy.memory=0.5")


@case
def too_many_replicas() -> Words:
    """more replicas than cores"""
    return evaluate("cluster.policy.replicas=64000")


def run_json(text: str) -> Words:
    Path("runs/old").mkdir(parents=True)
    Path("runs/old/run.json").write_text(text)
    return evaluate("folder=runs/old")


@case
def other_version() -> Words:
    """a run of another version"""
    return run_json(json.dumps({"format": 99, "versions": {"flopwise": "9.0.0"}}))


@case
def damaged_run_json() -> Words:
    """a damaged run.json"""
    return run_json('{"format": 1, "identi')


@case
def lacking_run_json() -> Words:
    """a run.json that lacks something"""
    rest = {"seeds": [0], "strategies": [], "budget_flops": None}
    return run_json(json.dumps({"format": RUN_FORMAT} | rest))


def begun(*more: str) -> Path:
    folder = Path("runs/old")
    folder.mkdir(parents=True)
    prepared = prepare(settings_of(evaluate(*more)[1:]))
    write_record(folder, prepared, run_record(prepared, identify(prepared), None))
    return folder


@case
def spent_budget() -> Words:
    """a budget that the folder has spent already"""
    folder = begun("budget.flops=2e7")
    rows: list[dict[str, object]] = [
        {"purpose": "policy", "kind": "kept", "flops": 9_000_000},
        {"purpose": "unknown", "kind": "lost", "flops": 1_000_000},
    ]
    logged(folder, 2, {"ledger": rows, "holds": [(7, "p1/0", 1, "policy-0", 2_000_005)]})
    FolderLock(folder).release()
    return evaluate(f"folder={folder}", "budget.flops=1e7")


@case
def other_set_up() -> Words:
    """results of another set-up in the folder"""
    return evaluate(f"folder={begun()}", "policy.max_tokens=41")


@case
def other_writer() -> Words:
    """a run that another process writes"""
    HELD.append(FolderLock(begun()))
    return evaluate("folder=runs/old")


@case
def other_files() -> Words:
    """a folder of other files"""
    Path("thesis").mkdir()
    for name in ("photo.jpg", "chapter-1.tex", ".DS_Store"):
        (Path("thesis") / name).write_text("mine")
    return evaluate("folder=thesis")


@case
def file_for_a_folder() -> Words:
    """a file for a folder"""
    Path("thesis.tex").write_text("mine")
    return evaluate("folder=thesis.tex")


@case
def locked_folder() -> Words:
    """a folder that may not be written"""
    Path("locked").mkdir(mode=0o555)
    return evaluate("folder=locked/run")


@case
def full_disk() -> Words:
    """a full disk"""
    Path("runs/full").mkdir(parents=True)
    # Where config.yaml, the first of all files, is written before it takes its name.
    Path("runs/full/.config.yaml.tmp").symlink_to("/dev/full")
    return evaluate("folder=runs/full")


@case
def reuse_of_no_run() -> Words:
    """samples of no run to use again"""
    write_run(Path("runs/first"), problems=1)
    return evaluate("reuse=[runs/frist]")


@case
def no_run() -> Words:
    """a report of no run"""
    write_run(Path("runs/evaluate"), problems=1)
    return ["report", "runs/evalute"]


@pytest.fixture
def here(models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a policy and a verifier, in which nothing may be started."""
    for name, folder in zip(("policy", "prm"), models, strict=True):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FolderLock.__init__, "__defaults__", (0.1,))
    # A user's package is found beside it, and stays imported.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in ("mine", "vllm"):
        if name in sys.modules and name not in before:
            del sys.modules[name]
    for lock in HELD:
        lock.release()
    HELD.clear()


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("actors.cluster.ray_start.start_ray", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, every folder and link with None."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if plain else None
    return found


@pytest.mark.usefixtures("here", "nothing_starts")
def test_a_dry_run_tells_what_is_left_of_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*spent_budget()[:-1], "--dry-run"]
    assert main([*words, "budget.flops=1e7"]) == 2
    assert re.fullmatch(
        rf"error: {pattern('a budget that the folder has spent already').pattern}\n", capsys.readouterr().err
    )
    assert main([*words, "budget.flops=12000005"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1.20e7 FLOPs (paper), 1.20e7 of it spent in this folder, 0.00e0 left: about 0 generations" in out
    assert "What is left of the budget does not suffice: it pays about 0% of what is expected" in out
    assert main([*words, "budget.flops=1e15"]) == 0
    assert "What is left of the budget suffices" in capsys.readouterr().out
    assert main([word for word in words if not word.startswith("folder")] + ["budget.flops=1e15"]) == 0
    assert "The budget suffices" in capsys.readouterr().out


def test_every_row_of_the_docs_has_a_case() -> None:
    assert {*CASES, *ROW_CASES, *REASONS} == set(documented())
    assert len(CASES) + len(ROW_CASES) + len(REASONS) == len(documented())
    assert NUMBERS | UNPRIVILEGED <= set(documented())


@pytest.mark.usefixtures("here", "nothing_starts")
def test_a_start_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        main(table(GOOD, OTHER))


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_line_and_nothing_is_started_or_written(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = CASES[name]()
    before = contents(here)
    with unprivileged() if name in UNPRIVILEGED else nullcontext():
        assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    assert re.fullmatch(rf"error: {pattern(name).pattern}", said.err[:-1]), said.err
    assert contents(here) == before


@pytest.mark.usefixtures("here", "nothing_starts")
@pytest.mark.parametrize("budget", ["flops=4e6", "generations=1", "tokens=39", "generations=1 budget=exact"])
def test_a_budget_pays_one_generation_at_its_worst(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    amount, *option = budget.split()
    assert main(evaluate("strategies=[beam(n=4)]", f"budget.{amount}", *option)) == 2
    assert f"error: budget.{amount.split('=')[0]} = " in capsys.readouterr().err
    name = amount.split("=")[0]
    plenty = {"flops": "1e10", "generations": "4", "tokens": "80"}[name]
    assert main(evaluate("--dry-run", f"budget.{name}={plenty}", *option)) == 0


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("name", ROW_CASES)
def test_a_row_is_left_out_with_its_reason(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ROW_CASES[name]()
    before = contents(here)
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [line for line in said.out.splitlines() if pattern(name).fullmatch(line)], said.out
    assert contents(here) == before


def test_what_a_run_leaves_out_is_kept_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("prm/config.json", max_position_embeddings=150)
    middling = {"question": "1 + " * 70 + "1 = ?", "answer": "71"}
    bad = [{"answer": "[/red]"}, "{", GOOD, '{"question": "\\ud83d ?"}', OTHER | {"answer": []}, ["list"]]
    words = table(GOOD, *bad, middling, OTHER, LONG, "{}", more=["folder=run", "report=table"])
    words = [word for word in words if not word.startswith("strategies")]
    words += ["strategies=[greedy,best_of_n(n=2)]"]
    assert main(words) == 0
    out = capsys.readouterr().out
    # At the start, in the folder, at the end, in the report.
    assert "row 1 of problems.jsonl is no problem: no question ('question' is missing)" in out
    assert "and 2 more rows that are no problems, which a run lists in run/quarantined.jsonl" in out
    rows = [json.loads(line) for line in Path("run/quarantined.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6, 10]
    assert rows[2] == {
        "row": 3,
        "reason": "question given twice",
        "detail": "the question stands in row 0 already",
    }
    assert "quarantined 7 of the data's rows: see run/quarantined.jsonl" in out
    assert "quarantined 3 of the outcomes: see run/outcomes" in out
    page = Path("run/report/report.md").read_text()
    assert "| rows | no question | 'question' is missing | 2 |" in page
    outcomes = [row for row in Run("run").outcomes().to_pylist() if row["state"] == "quarantined"]
    reasons = {(row["strategy"], row["reason"]) for row in outcomes}
    assert len(reasons) == 3
    for name, strategies in zip(REASONS, (["best_of_n(n=2)", "greedy"], ["best_of_n(n=2)"]), strict=True):
        assert sorted(text for text, why in reasons if pattern(name).fullmatch(why)) == strategies
        assert re.search(rf"\| outcomes \| .* \| {pattern(name).pattern} \| {len(strategies)} \|", page)
    assert sum(row["spent_flops"] for row in outcomes) == 0
    assert len(pq.read_table("run/problems")) == 4
    # The next start reads the data anew.
    table(GOOD, OTHER, middling, LONG)
    assert main(words) == 0
    assert not Path("run/quarantined.jsonl").exists()
    assert os.listdir("run/report")
