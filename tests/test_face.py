"""What `import flopwise` offers: its names, their types as a user's mypy sees them, and what it does not load.

What the functions do is tested where they are made.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import flopwise
from tests.support.documents import PAGES, ROOT, blocks, file_of, spans
from tests.support.handmade import write_run
from tests.support.imports import loaded_by
from tests.support.log_files import ledger_part
from tests.support.standing import at, writer

NAMES = [
    "Answer",
    "Candidate",
    "Decision",
    "EngineCounters",
    "Finding",
    "Forecast",
    "Grouping",
    "Market",
    "Models",
    "Plan",
    "PolicyClient",
    "Progress",
    "Prompt",
    "PurseEmpty",
    "Reader",
    "Report",
    "ReportSettings",
    "Result",
    "ReviserClient",
    "Run",
    "RunStatus",
    "Sample",
    "Sampling",
    "ScoreRequest",
    "Scorer",
    "Scores",
    "Solution",
    "Strategy",
    "Terms",
    "UserError",
    "VerifierClient",
    "calibrate",
    "doctor",
    "draw",
    "evaluate",
    "load",
    "report",
    "score",
    "settings_of",
    "solution_of",
    "status",
    "step_logprobs",
    "together",
    "whole_sample",
    "whole_samples",
]

PARAMETERS = {
    "calibrate": "strategies *folder *dataset *count *policy *verifier *reviser *settings *on_progress others",
    "doctor": "strategies *folder *dataset *count *policy *verifier *reviser *settings others",
    "draw": "policy prefix place sampling *one_step",
    "evaluate": "strategies *folder *dataset *count *seeds *policy *verifier *reviser *budget *settings *on_progress others",
    "load": "folder",
    "report": "run settings out others",
    "score": "verifier solution after",
    "settings_of": "words",
    "solution_of": "candidates answer",
    "status": "run",
    "step_logprobs": "logprobs step_ends tokens",
    "together": "work",
    "whole_sample": "models index sampling *with_scores",
    "whole_samples": "models n sampling *with_scores",
}
"""Parameters of each function; a star stands before those that are given by name alone. `others` takes nothing: what it is
given is refused by name."""

TYPED = """
from typing import assert_type

import flopwise
from mine.strategies import Shortest
from mine.verifiers import Sums

strategy: flopwise.Strategy = Shortest(4)
verifier: flopwise.Scorer = Sums(0.2)
wrong: flopwise.Strategy = verifier  # type: ignore[assignment]
flopwise.nothing  # type: ignore[attr-defined]
flopwise.evaluate(["greedy"], folder=3)  # type: ignore[arg-type]
flopwise.evaluate(["greedy"], folder="x", max_tokens=3)  # type: ignore[arg-type]
flopwise.report("x", level=0.9)  # type: ignore[arg-type]
half = flopwise.Answer("0.5", "1/2")
assert_type(half.ballot, str)


def told(progress: flopwise.Progress) -> None: ...


run = flopwise.evaluate(["greedy", {"_target_": "mine.strategies.Shortest", "n": 4}], folder="runs/x", on_progress=told)
assert_type(run, flopwise.Run)
assert_type(flopwise.load("runs/x"), flopwise.Run)
assert_type(flopwise.calibrate(folder="runs/y").table.chance(0), float)
assert_type(flopwise.report(run, flopwise.ReportSettings(level=0.9)), flopwise.Report)
assert_type(flopwise.settings_of(["seeds=[1]"]).report, flopwise.ReportSettings)
for result in run.results():
    assert_type(result, flopwise.Result)
    assert_type(result.correct, bool | None)
assert_type(flopwise.doctor("greedy", verifier="none"), tuple[flopwise.Finding, ...])
stands = flopwise.status(run)
assert_type(stands, flopwise.RunStatus)
assert_type(stands.outcomes["answered"] + stands.books[0].flops, int)
if stands.last_word is not None:
    assert_type(stands.last_word.command, str)


async def search(models: flopwise.Models) -> flopwise.Solution:
    greedy = flopwise.Sampling(temperature=0.0)
    assert_type(await flopwise.draw(models.policy, (), (0,), greedy, one_step=True), flopwise.Sample | None)
    assert_type(await flopwise.score(models.verifier, (1, 2)), tuple[float, ...] | None)
    assert_type(await flopwise.whole_sample(models, 0, greedy, with_scores=False), flopwise.Candidate | None)
    samples = await flopwise.whole_samples(models, 4, greedy, with_scores=True)
    assert_type(samples, tuple[flopwise.Candidate, ...])
    answers = await flopwise.together(models.reader.answer(one.token_ids) for one in samples)
    assert_type(answers, list[str | None])
    return flopwise.solution_of(samples, answers[0])
"""
"""A user's script; an error that it expects and that mypy does not find is an error, too."""


def write_user_code(folder: Path) -> list[str]:
    """The script, and whatever the pages and the docstring show of `flopwise`, as files; returns their names."""
    shown = [block for page in PAGES for block in blocks(page) if block.language == "python"]
    texts = {file_of(block) or f"page_{number}.py": block.text for number, block in enumerate(shown)}
    texts = {name: text for name, text in texts.items() if "flopwise" in text}
    [example] = re.findall(
        r"^(    import flopwise\n.*?)^\S", flopwise.__doc__ or "", re.MULTILINE | re.DOTALL
    )
    texts |= {"typed.py": TYPED, "docstring.py": textwrap.dedent(example)}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert {"mine/strategies.py", "mine/verifiers.py"} < set(texts)
    return sorted(texts)


def test_the_face_has_these_names() -> None:
    assert flopwise.__all__ == NAMES
    assert set(NAMES) <= set(dir(flopwise))
    with pytest.raises(AttributeError, match="'flopwise' has no attribute 'evalute'"):
        flopwise.evalute  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_every_name_says_what_it_is(name: str) -> None:
    found = getattr(flopwise, name)
    text = inspect.getdoc(found) or ""
    # A dataclass without a docstring has its signature for one.
    assert text
    assert not text.startswith(f"{name}(")
    assert inspect.isfunction(found) == (name in PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_functions_take_what_is_documented(name: str) -> None:
    parameters = inspect.signature(getattr(flopwise, name)).parameters.values()
    shown = [f"*{one.name}" if one.kind is one.KEYWORD_ONLY else one.name for one in parameters]
    assert shown == PARAMETERS[name].split()


def test_the_exceptions_are_those_of_the_tree() -> None:
    named = re.findall(r"[├└]── (\w+)", flopwise.__doc__ or "")
    raised = [name for name in NAMES if inspect.isclass(getattr(flopwise, name))]
    assert named == ["UserError", "PurseEmpty"]
    assert set(named) == {name for name in raised if issubclass(getattr(flopwise, name), Exception)}


def test_the_stub_names_the_same_from_the_same_modules() -> None:
    tree = ast.parse((ROOT / "flopwise-stubs" / "__init__.pyi").read_text())
    places = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    [listed] = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    assert listed == NAMES
    assert set(places) == set(NAMES)
    for name, module in places.items():
        assert getattr(importlib.import_module(module or ""), name) is getattr(flopwise, name)


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "ray", "vllm", "pyarrow", "numpy", "hydra", "matplotlib")
    assert loaded_by("import flopwise", heavy) == []
    # What a worker needs of a user's own strategy and verifier.
    own = "from flopwise import Models, Prompt, Sampling, Scores, Solution, solution_of, whole_samples"
    assert loaded_by(own, heavy) == []
    assert loaded_by("from flopwise import *", heavy[:4]) == []


def test_pages_import_nothing_else_of_ours() -> None:
    code = [block.text for page in PAGES for block in blocks(page) if block.language == "python"]
    found = re.findall(r"^\s*(?:from|import) (actors|orchestration|conf)\b", "\n".join(code), re.MULTILINE)
    assert found == []
    named = {
        name
        for page in PAGES
        for span in spans(page)
        for name in re.findall(r"\bflopwise\.([A-Za-z_]+)", span)
    }
    assert {"Strategy", "Models", "load", "status"} <= named <= set(NAMES)


def test_a_users_code_has_the_types_it_expects(tmp_path: Path) -> None:
    names = write_user_code(tmp_path)
    places = os.environ | {"MYPYPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    # Nothing of other projects is looked into: none of their types is asked for.
    quick = ["--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent", "--cache-dir=cache"]
    # In a process of its own, for mypy changes how this one collects garbage.
    words = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--explicit-package-bases",
        *quick,
        *names,
    ]
    done = subprocess.run(words, cwd=tmp_path, env=places, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == f"Success: no issues found in {len(names)} source files\n"


def test_the_module_is_the_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flopwise", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"flopwise \d+\.\d+\.\d+\n", done.stdout)


def test_a_run_that_is_there_is_loaded_and_has_a_status(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=3, ladder=(1,))
    ledger_part(folder, 1, [{"purpose": "policy", "kind": "kept", "flops": 7}])
    run = flopwise.load(folder)
    assert [result.outcome["strategy"] for result in run.results()] == ["greedy", "majority(n=1)"] * 3
    stands = flopwise.status(run)
    assert (stands.state, stands.reason, stands.last_word) == ("finished", "", None)
    assert stands.outcomes == {"answered": 6}
    assert [(entry.purpose, entry.kind, entry.flops) for entry in stands.books] == [("policy", "kept", 7)]


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=1, ladder=(1,))
    with pytest.raises(ValueError, match="a reason"), writer(folder):
        raise ValueError("a reason")
    stands = flopwise.status(str(folder))
    assert (stands.state, stands.reason) == ("failed", "ValueError: a reason")
    assert stands.last_word is not None
    assert stands.last_word.command == "flopwise evaluate 'a b'"
    with writer(folder) as run:
        run.update(at(9, 20))
    again = flopwise.status(folder)
    assert again.last_word is not None
    done = again.last_word.totals
    assert (done.problems_done, done.outcomes_done, done.outcomes_left) == (20, 40, 0)
    assert again == replace(stands, state="finished", reason="", last_word=again.last_word)


@pytest.mark.parametrize("ask", [flopwise.load, flopwise.status])
def test_where_there_is_no_run_it_says_so(ask: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(flopwise.UserError, match="no run there"):
        ask(tmp_path)
