"""Programs: where they stand in a solution, which are one, and that their tests decide."""

from __future__ import annotations

import json
import time

import pytest

from actors.errors import UserError
from actors.strategy import ballot_of
from orchestration.problems import CodeGrader, make_grader
from orchestration.problems.graders.fences import programs_in
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
    "in a list": "1. So:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n2. Done.",
    "in a list, further in": "1. So:\n   ```python\n    def add(a, b):\n        return a + b\n   ```\n2. Done.",
    "in a list, by a tab": "- So:\n\t```python\n\tdef add(a, b):\n\t\treturn a + b\n\t```",
    "in a list, its fence alone": f"1. So:\n   ```python\n{SOLUTION}   ```\n2. Done.",
    "at the point of a list": "1. ```python\n   def add(a, b):\n       return a + b\n   ```\n2. Done.",
    "before its test": f"```python\n{SOLUTION}```\n```python\ndef test_add():\n    assert add(1, 2) == 3\n\ntest_add()\n```",
    "before its test cases": (
        f"```python\n{SOLUTION}```\n```python\nimport unittest\n\nclass TestAdd(unittest.TestCase):\n"
        "    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n```"
    ),
    "before two tests": (
        f"```python\n{SOLUTION}```\n```python\ndef test_add(): assert add(1, 2) == 4\n```\n"
        "```python\ndef main():\n    print(add(1, 2))\n\nmain()\n```"
    ),
    "behind a word in backticks": f"Take\n```add``` as its name.\n```python\n{SOLUTION}```",
    "with a fence in its docstring": (
        '```python\ndef add(a, b):\n    """Sum.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n```'
    ),
    "behind an open draft": f"<think>\n```python\nx = 'don\n</think>\n```python\n{SOLUTION}```",
    "cut off by the end of its turn": f"```python\n{SOLUTION}</s>\n```python\ndef add(): ...\n```",
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


QUOTED = [
    "def end(text):\n    return text.removesuffix('</s>')",
    'def end(text):\n    return [one for one in ("<s>", "</s>", "<|im_end|>") if text.endswith(one)]',
    'def end(text):\n    """Cut at\n    </s> or </think>.\n    """\n    return text.split("</think>")[-1]',
    'def end(text):\n    """</s>"""\n    return text.removesuffix("it\'s </s>")',
]


@pytest.mark.parametrize("program", QUOTED)
def test_end_of_a_turn_that_a_program_quotes_ends_nothing(program: str) -> None:
    text = f"<think>It's easy.</think>Here:\n```python\n{program}\n```\nThat's all.</s>```python\ndef end(): ...\n```"
    assert programs_in(text) == [f"{program}\n"]
    assert CODE.extract(text) == program


IN_PARTS = {
    "helper first": ("def twice(x):\n    return 2 * x", "def add(a, b):\n    return twice(a) - a + b"),
    "imports first": ("import operator", "def add(a, b):\n    return operator.add(a, b)"),
    "names in a chain": (
        "ONE = 1",
        "def one():\n    return ONE",
        "def add(a, b):\n    return a + b + one() - 1",
    ),
    "helper twice": (
        "def half(x): 1 / 0",
        "def half(x): return x / 2",
        "def add(a, b): return int(half(2 * a)) + b",
    ),
    "no function": ("add = lambda a, b: a + b", "print(add(1, 2))"),
    "with what does not run": ("1 / 0\nx = 1", "int(input())", "def add(a, b):\n    x = a\n    return x + b"),
    "no Python between": (
        "import operator",
        "add(1, 2) gives 3",
        "def add(a, b):\n    return operator.add(a, b)",
    ),
    "with a future": (
        "def B(): ...",
        "from __future__ import annotations\ndef add(a: B, b: B): return a + b",
    ),
    "asked for as a test": (
        "def two():\n    return 2",
        "def test_two(a):\n    return two()\ndef add(a, b): return a + b",
    ),
    "of a class": (
        "class Base:\n    by = 0",
        "class CheckBase(Base):\n    pass\nadd = lambda a, b: a + b + CheckBase.by",
    ),
}


@needs_sandbox
@pytest.mark.parametrize("parts", IN_PARTS.values(), ids=IN_PARTS.keys())
def test_program_in_parts_has_those_that_it_takes(parts: tuple[str, ...]) -> None:
    text = "\n".join(f"Then:\n```python\n{part}\n```" for part in parts)
    assert CODE.correct(CODE.extract(text), json.dumps({"tests": ["assert add(1, 2) == 3"]}))


def test_body_of_a_function_in_a_list_stays_a_body() -> None:
    assert (
        CODE.extract("1. So:\n   ```python\n       c = a + b\n       return c\n   ```")
        == "    c = a + b\n    return c"
    )


def test_body_of_a_function_ends_where_its_indentation_does() -> None:
    answer = CODE.extract("    total = a + b\n\n    return total\n\n\ndef main():\n    print(add(1, 2))\n")
    assert answer == "    total = a + b\n\n    return total"


def test_many_fences_are_read_in_linear_time() -> None:
    assert programs_in("```python\n" * 20_000 + "x = 1") == ["```python\n" * 19_999 + "x = 1"]
    for text in (
        "```python\n</think>\n",
        '```\n"""\n',
        '```python\n"""\n```\n',
        '\\"',
        "'</s>'",
        "'''\"\"\"",
        "</think>",
    ):
        start = time.process_time()
        programs_in("```python\n" + text * 20_000)
        programs_in(text * 20_000)
        assert time.process_time() - start < 2, text
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
