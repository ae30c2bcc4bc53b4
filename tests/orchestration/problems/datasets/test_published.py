"""Published data sets by one word each: small files in exactly their layouts, as problems and by their graders."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.problems import Dataset, Grader, Problem
from orchestration.setup.compose import compose
from orchestration.setup.prepare import problems_of
from orchestration.setup.settings import EvaluateSettings

MATH_SOLUTION = r"We have $\frac12 + \frac12 = \boxed{1}$, so twice that is $\boxed{\frac{4}{2}}$."
GSM8K_SOLUTION = (
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nTogether 48+24 = <<48+24=72>>72 clips.\n#### 72"
)
HUMANEVAL_PROMPT = (
    "from typing import List\n\n\n"
    "def below_zero(operations: List[int]) -> bool:\n"
    '    """ Tell whether the balance falls below zero.\n'
    "    >>> below_zero([1, 2, 3])\n    False\n"
    '    """\n'
)
HUMANEVAL_TEST = (
    "\n\nMETADATA = {\n    'author': 'jt',\n    'dataset': 'test'\n}\n\n\n"
    "def check(candidate):\n    assert candidate([]) == False\n    assert candidate([1, -2]) == True\n"
)
HUMANEVAL_BODY = (
    "    balance = 0\n    for op in operations:\n        balance += op\n"
    "        if balance < 0:\n            return True\n    return False\n"
)

# Of each data set: the word, a row as it is published, what is asked, and a right and a wrong solution.
ROWS: list[tuple[str, dict[str, Any], str, str, str]] = [
    (
        "math500",
        {
            "problem": "What is $1+1$?", "solution": MATH_SOLUTION, "answer": "2", "subject": "Algebra", "level": 1,
            "unique_id": "test/algebra/1.json",
        },
        "What is $1+1$?", r"It is $\boxed{2}$.", r"It is $\boxed{3}$.",
    ),
    (
        "math",
        {"problem": "What is $1+1$?", "level": "Level 1", "type": "Algebra", "solution": MATH_SOLUTION},
        "What is $1+1$?", r"$\boxed{2}$", r"$\boxed{1}$",
    ),
    ("gsm8k", {"question": "How many clips?", "answer": GSM8K_SOLUTION}, "How many clips?", "#### 72", "#### 48"),
    (
        "aime",
        {
            "id": 60, "problem": "Find it.", "solution": "...", "answer": "073", "url": "https://x", "year": "2024",
        },
        "Find it.", r"\boxed{73}", r"\boxed{37}",
    ),
    (
        "aime",
        {"ID": "2024-I-1", "Problem": "Find it.", "Solution": "...", "Answer": 204},
        "Find it.", r"The answer is 204.", r"The answer is 240.",
    ),
    ("aime", {"question": "Find it.", "answer": "70"}, "Find it.", r"\boxed{70}", r"\boxed{71}"),
    ("amc", {"id": 0, "problem": "Find it.", "answer": 142.0, "url": "https://x"}, "Find it.", "#### 142", "#### 14"),
    ("amc", {"id": 0, "question": "Find it.", "answer": "27.0", "url": "https://x"}, "Find it.", "#### 27", "#### 2"),
    (
        "olympiadbench",
        {
            "id": 1606, "question": "Find $T$.", "solution": ["Thus ..."], "final_answer": ["$\\frac{1}{2 n+2}$"],
            "context": None, "image_1": None, "modality": "Text-only", "difficulty": "Competition",
            "is_multiple_answer": False, "unit": None, "answer_type": "Expression", "error": None,
            "question_type": "Open-ended", "subfield": "Algebra", "subject": "Maths", "language": "English",
        },
        "Find $T$.", r"$\boxed{\frac{1}{2(n+1)}}$", r"$\boxed{\frac{1}{2n+1}}$",
    ),
    (
        "arc",
        {
            "id": "Mercury_7175875", "question": "What boils?",
            "choices": {"text": ["water", "stone"], "label": ["A", "B"]}, "answerKey": "A",
        },
        "What boils?\n\nA. water\nB. stone\n\nEnd with the letter of the right choice.", "#### A", "#### B",
    ),
    (
        "arc",
        {
            "id": "NYSEDREGENTS_1", "question": {
                "stem": "What boils?", "choices": [{"text": "water", "label": "1"}, {"text": "stone", "label": "2"}],
            },
            "answerKey": "2",
        },
        "What boils?\n\n1. water\n2. stone\n\nEnd with the letter of the right choice.", "The answer is 2.", "#### 1",
    ),
    (
        "commonsenseqa",
        {
            "id": "1afa02df02c908a558b4036e80242fac", "question": "Where is a door?", "question_concept": "door",
            "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["bank", "library", "shop", "mall", "sea"]},
            "answerKey": "B",
        },
        "Where is a door?\n\nA. bank\nB. library\nC. shop\nD. mall\nE. sea\n\nEnd with the letter of the right choice.",
        r"So \boxed{\text{B}}.", "#### E",
    ),
    (
        "humaneval",
        {
            "task_id": "HumanEval/3", "prompt": HUMANEVAL_PROMPT, "canonical_solution": HUMANEVAL_BODY,
            "test": HUMANEVAL_TEST, "entry_point": "below_zero",
        },
        HUMANEVAL_PROMPT, HUMANEVAL_BODY, "    return False\n",
    ),
    (
        "mbpp",
        {
            "task_id": 126, "text": "Write a function to find the sum of common divisors.",
            "code": "def sum(a,b):\r\n  total = 0\r\n  return total", "test_setup_code": "",
            "test_list": ["assert sum(10,15) == 6", "assert sum(100,150) == 93"], "challenge_test_list": [],
        },
        "Write a function to find the sum of common divisors.\n\nThe program must pass these tests:\n\n"
        "assert sum(10,15) == 6\nassert sum(100,150) == 93",
        "```python\ndef sum(a, b):\n    return 6 if a == 10 else 93\n```", "```python\ndef sum(a, b):\n    return 6\n```",
    ),
    (
        "mbpp",
        {
            "source_file": "Benchmark Questions Verification V2.ipynb", "task_id": 2, "prompt": "Find shared elements.",
            "code": "def similar_elements(a, b):\n  return tuple(set(a) & set(b))", "test_imports": ["import math"],
            "test_list": ["assert set(similar_elements((3, 4),(5, 4))) == set((4,))", "assert math.pi > 3"],
        },
        "Find shared elements.\n\nThe program must pass these tests:\n\n"
        "assert set(similar_elements((3, 4),(5, 4))) == set((4,))\nassert math.pi > 3",
        "```python\ndef similar_elements(a, b):\n    return [x for x in a if x in b]\n```",
        "```python\ndef similar_elements(a, b):\n    return a\n```",
    ),
]  # fmt: skip


def read(word: str, path: Path, *more: str) -> tuple[Dataset, Grader]:
    words = [f"dataset={word}", f"dataset.path={path}", *more]
    return problems_of(compose("evaluate", words, EvaluateSettings).dataset)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize(("word", "row", "question", "right", "wrong"), ROWS)
def test_one_word_reads_the_published_layout(
    tmp_path: Path, kind: str, word: str, row: dict[str, Any], question: str, right: str, wrong: str
) -> None:
    if word in ("humaneval", "mbpp") and sys.platform != "linux":
        pytest.skip("the sandbox is Linux's")
    path = tmp_path / f"test.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps([row] if kind == "json" else row) + "\n")
    dataset, grader = read(word, path)
    (problem,) = dataset
    assert problem.question == question
    named = next((str(row[name]) for name in ("unique_id", "task_id", "ID", "id") if name in row), problem.id)
    assert problem.id == named
    reference = grader.reference_of(problem)
    assert reference is not None
    # Once is enough for what starts processes.
    if kind == "jsonl" or word not in ("humaneval", "mbpp"):
        assert grader.correct(grader.extract(right), reference)
        assert not grader.correct(grader.extract(wrong), reference)


def test_rows_without_an_answer_or_choices_are_told_apart(tmp_path: Path) -> None:
    good = ROWS[9][1]
    rows = [
        good,
        good | {"question": "No key?", "answerKey": ""},
        good | {"question": "Another key?", "answerKey": "C"},
        good | {"question": "No choices?", "choices": {"text": [], "label": []}},
        good | {"question": "No letters?", "choices": {"text": ["a", "b"], "label": ["A"]}},
        good | {"question": "One letter?", "choices": {"text": ["a", "b"], "label": ["A", "A"]}},
    ]
    (tmp_path / "arc.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset, _ = read("arc", tmp_path / "arc.jsonl", "dataset.columns.id=null")
    said = [row if isinstance(row, Problem) else row.text for row in dataset.rows()]  # type: ignore[attr-defined]
    assert isinstance(said[0], Problem)
    assert said[1:] == [
        "the answer is empty ('answerKey'; null or nothing says that there is none)",
        "the answer is none of the choices ('C'; they are A, B)",
        "no choices ('question.choices|choices' is an object)",
        "no choices ('question.choices|choices' has 2 choices, and not as many letters)",
        "no choices (the letters and choices in 'question.choices|choices' must be texts, each letter once)",
    ]


def test_rows_without_tests_are_told_apart(tmp_path: Path) -> None:
    good = ROWS[12][1]
    rows = [
        good | {"task_id": 1, "prompt": "def f(): ...\n", "test": ""},
        good | {"task_id": 2, "prompt": "def g(): ...\n", "entry_point": None},
        good | {"task_id": 3, "prompt": "def h(): ...\n", "test": "def check(:"},
    ]
    (tmp_path / "code.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset, _ = read("humaneval", tmp_path / "code.jsonl")
    said = [row.reason for row in dataset.rows()]  # type: ignore[attr-defined]
    assert said == ["no tests", "no entry point", "the answer is none that the grader reads"]


def test_nested_places_and_several_of_them(tmp_path: Path) -> None:
    rows = [
        {
            "q": {"text": "one?"},
            "answers": {"text": ["1", "2"], "start": [0, 3]},
            "a.b": "first",
            "other": None,
        },
        {"q": {"text": None}, "other": "two?", "answers": {"text": []}, "a.b": "second"},
    ]
    columns = ["question=q.text|other", "answer=answers.text[0]", "id=a.b"]
    words = [f"dataset.columns.{one}" for one in columns]
    (tmp_path / "nested.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "nested.parquet")
    for name in ("nested.jsonl", "nested.parquet"):
        dataset, _ = read("table", tmp_path / name, *words)
        assert [(one.id, one.question, one.answer) for one in dataset] == [
            ("first", "one?", "1"),
            ("second", "two?", None),
        ]


def test_question_may_hold_what_a_template_does(tmp_path: Path) -> None:
    row = {"question": "What is {choices}?", "answer": "A", "choices": ["this {question}", "that"]}
    (tmp_path / "odd.jsonl").write_text(json.dumps(row))
    words = [
        "dataset.columns.choices=choices",
        'dataset.template="{question}\\n{choices}"',
        "dataset.grader=choice",
    ]
    (problem,) = read("table", tmp_path / "odd.jsonl", *words)[0]
    assert problem.question == "What is {choices}?\nA. this {question}\nB. that"


def test_code_has_a_system_turn_of_its_own_unless_one_is_given() -> None:
    words = ["dataset=mbpp", "dataset.path=x.jsonl", "policy=chat", "policy.path=x", "verifier=none"]
    assert "Python" in str(compose("evaluate", words, EvaluateSettings).policy.prompt.system)
    own = compose("evaluate", [*words, "policy.prompt.system=Mine"], EvaluateSettings)
    assert own.policy.prompt.system == "Mine"
    plain = ["dataset=mbpp", "dataset.path=x.jsonl", "policy=base", "policy.path=x", "verifier=none"]
    assert compose("evaluate", plain, EvaluateSettings).policy.prompt.system is None
