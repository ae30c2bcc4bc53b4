"""Tasks of code and of choices, from a table in a published layout to grades in the report."""

from __future__ import annotations

import json
from pathlib import Path

from orchestration.commands.main import main
from orchestration.runs.run import Run
from tests.support.here import without_ray
from tests.support.kernel import needs_sandbox
from tests.support.writers import make_writer

RIGHT = "```python\ndef one():\n    return 1\n```"
WRONG = "```python\ndef one():\n    return 2\n```"


def solved(folder: Path, dataset: str, rows: list[dict[str, object]], texts: list[str]) -> Run:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        f"dataset={dataset}",
        f"dataset.path={folder / 'rows.jsonl'}",
        "policy=base",
        "verifier=none",
        "report=table",
    ]
    words += [
        f"policy.path={make_writer(folder / 'policy', texts)}",
        "policy.max_tokens=4",
        "policy.delimiter=null",
    ]
    with without_ray():
        assert (
            main(["evaluate", *words, "strategies=[greedy,majority(n=12)]", f"folder={folder / 'run'}"]) == 0
        )
    return Run(folder / "run")


@needs_sandbox
def test_code_task_runs_to_grades_in_the_sandbox(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    hostile = f"```python\nopen({str(outside)!r}, 'w').write('here')\ndef one():\n    return 1\n```"
    rows: list[dict[str, object]] = [
        {
            "task_id": f"HumanEval/{place}",
            "prompt": f'def one():\n    """Return one, the number {place}."""\n',
            "canonical_solution": "    return 1\n",
            "test": f"def check(candidate):\n    assert candidate() == {number}\n",
            "entry_point": "one",
        }
        for place, number in enumerate((1, 2, 3))
    ]
    run = solved(tmp_path, "humaneval", rows, [RIGHT, WRONG, hostile, "I do not know."])
    drawn = run.candidates(strategy="majority(n=12)").to_pylist()
    for row in drawn:
        answer, place = row["answer"], int(row["problem_id"].rpartition("/")[2])
        plain = answer is not None and "open(" not in answer
        assert row["correct"] is (plain and f"return {place + 1}" in answer), row
        assert (row["ballot"] or "").startswith("program ") is (answer is not None)
    assert {row["correct"] for row in drawn} == {True, False}
    assert {row["answer"] for row in drawn} >= {None, "def one():\n    return 1", "def one():\n    return 2"}
    assert not outside.exists()
    # Who votes alike is chosen by how many they are.
    (chosen,) = [
        row
        for row in run.outcomes().to_pylist()
        if row["strategy"] == "majority(n=12)" and row["problem_id"] == "HumanEval/0"
    ]
    votes = [
        row["answer"] for row in drawn if row["problem_id"] == "HumanEval/0" and row["answer"] is not None
    ]
    assert votes.count(chosen["answer"]) == max(map(votes.count, votes))
    assert "33" in (tmp_path / "run" / "report" / "report.md").read_text()


def test_multiple_choice_runs_to_grades(tmp_path: Path) -> None:
    choices = {"text": ["ice", "fire", "snow"], "label": ["A", "B", "C"]}
    rows: list[dict[str, object]] = [
        {"id": key, "question": f"Which is {word}?", "choices": choices, "answerKey": key}
        for key, word in (("A", "cold"), ("B", "warm"), ("C", "white"))
    ]
    run = solved(tmp_path, "arc", rows, ["#### B", "The answer is (A).", "I do not know."])
    drawn = run.candidates(strategy="majority(n=12)").to_pylist()
    assert {row["answer"] for row in drawn} == {"A", "B", None}
    assert all(row["correct"] is (row["answer"] == row["problem_id"]) for row in drawn)
    asked = run.problem("B").question
    assert asked == "Which is warm?\n\nA. ice\nB. fire\nC. snow\n\nEnd with the letter of the right choice."
