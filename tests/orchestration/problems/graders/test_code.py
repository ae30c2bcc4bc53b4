"""Programs: where they stand in a solution, which are one, and that their tests decide."""

from __future__ import annotations

import json

import pytest

from actors.errors import UserError
from actors.strategy import ballot_of
from orchestration.problems import CodeGrader, make_grader
from orchestration.problems.graders.code import program_in
from tests.support.kernel import needs_sandbox

CODE = CodeGrader()

SOLUTION = "def add(a, b):\n    return a + b\n"

WRITTEN = {
    "in a fence": f"Add them:\n\n```python\n{SOLUTION}```\nThat is all.",
    "in a fence without a name": f"```\n{SOLUTION}```",
    "in a fence that is not closed": f"```py\n{SOLUTION}",
    "before an example": f"```python\n{SOLUTION}```\nFor example:\n```python\nprint(add(1, 2))\n```\n```text\n3\n```",
    "behind a draft": f"```python\ndef add(a, b):\n    return a\n```\nThat is wrong. Again:\n```python\n{SOLUTION}```",
    "behind a thought": f"<think>\n```python\ndef add(): ...\n```\n</think>\n```python\n{SOLUTION}```",
    "as plain text": SOLUTION,
    "between sentences": f"Here it is:\n\n{SOLUTION}\nThis adds two numbers.",
    "before the end of its turn": f"```python\n{SOLUTION}```<|im_end|>\n```python\ndef add(): ...\n```",
    "commented": '```python\ndef add(a, b):\n    """Sum."""\n    # easy\n    return (a\n            + b)\n```',
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
def test_one_program_is_one_ballot_however_it_is_written(text: str) -> None:
    answer = CODE.extract(text)
    assert answer is not None
    assert ballot_of(answer) == ballot_of(CODE.extract(SOLUTION) or "")


@pytest.mark.parametrize(
    "text", ["I do not know.", "", "```bash\nls\n```", "```python\n```", "```python\ndef (:\n```", "Sure"]
)
def test_what_is_no_program_has_no_answer(text: str) -> None:
    assert CODE.extract(text) is None


def test_other_programs_have_other_ballots() -> None:
    first, second = CODE.extract(SOLUTION), CODE.extract("def add(a, b):\n    return b + a")
    assert first is not None
    assert second is not None
    assert ballot_of(first) != ballot_of(second)


def test_body_of_a_function_ends_where_its_indentation_does() -> None:
    answer = CODE.extract("    total = a + b\n\n    return total\n\n\ndef main():\n    print(add(1, 2))\n")
    assert answer == "    total = a + b\n\n    return total"


def test_many_fences_are_read_in_linear_time() -> None:
    assert program_in("```python\n" * 20_000 + "x = 1") == "```python\n" * 19_999 + "x = 1"
    assert CODE.extract("(" * 50_000) is None
    assert CODE.extract(f"x = {'-' * 50_000}1") is None


HUMANEVAL = json.dumps(
    {
        "prompt": 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """Return the sum."""\n',
        "entry_point": "total",
        "tests": [
            "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
        ],
    }
)
MBPP = json.dumps(
    {"setup": "import math", "tests": ["assert total([1, 2]) == 3", "assert math.isclose(total([]), 0)"]}
)


@needs_sandbox
@pytest.mark.parametrize("reference", [HUMANEVAL, MBPP], ids=["humaneval", "mbpp"])
def test_tests_decide(reference: str) -> None:
    right = CODE.extract("```python\ndef total(numbers):\n    return sum(numbers)\n```")
    wrong = CODE.extract("```python\ndef total(numbers):\n    return 3\n```")
    assert CODE.reads(reference)
    assert CODE.correct(right, reference)
    assert not CODE.correct(wrong, reference)
    assert not CODE.correct(None, reference)
    # As a stored answer is: a plain text.
    assert CODE.correct(str(right), reference)


@needs_sandbox
def test_what_the_question_imports_is_there() -> None:
    assert CODE.correct(CODE.extract("    return sum(numbers)\n\nprint(total([1]))"), HUMANEVAL)
    assert CODE.correct(
        CODE.extract("def total(numbers: List[int]) -> int:\n    return sum(numbers)"), HUMANEVAL
    )


@pytest.mark.parametrize(
    "reference",
    ["", "3", "{}", '{"tests": []}', '{"tests": ["def (:"]}', '{"tests": "assert"}', '{"tests": [""]}'],
)
def test_reference_without_tests_in_python_is_not_read(reference: str) -> None:
    assert not CODE.reads(reference)


def test_machine_that_cannot_confine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.problems.graders.code.why_not", lambda: "it is darwin on arm64")
    with pytest.raises(
        UserError, match=r"dataset.grader = 'code': this machine cannot confine .*it is darwin on arm64"
    ):
        make_grader("code")
