"""Data files, and single rows of them, that cannot be used."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

from orchestration.problems.graders import code
from tests.support.bad_input.cases import GOOD, HELD, LONG, OTHER, Words, case, evaluate, row_case, table


@case
def no_such_file() -> Words:
    """no such file"""
    return [*table(GOOD)[:-2], "dataset.path=problem.jsonl"]


@case
def no_hub() -> Words:
    """a data set on a hub that cannot be reached"""
    offline()
    return evaluate("dataset=gsm8k", "strategies=[greedy]")


def offline() -> None:
    """As if no hub could be reached, and nothing had been fetched before."""
    constants = importlib.import_module("huggingface_hub.constants")
    HELD.append(_Set(constants, "HF_HUB_OFFLINE", True))
    HELD.append(_Set(constants, "HF_HUB_CACHE", "cache"))


@case
def name_of_no_hub() -> Words:
    """a name that a hub does not have"""
    return evaluate("dataset=gsm8k", "dataset.hub=gsm8k", "strategies=[greedy]")


@case
def no_count() -> Words:
    """no number of problems that are made"""
    return evaluate("dataset.count=null")


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
    return table("question,answer", name="problems.xlsx")


@case
def damaged_gzip() -> Words:
    """a damaged file"""
    return table(GOOD, name="problems.jsonl.gz")


@case
def damaged_json() -> Words:
    """a damaged JSON document"""
    return table(f"[{json.dumps(GOOD)},", name="problems.json")


@case
def columns_of_one_name() -> Words:
    """two columns of one name"""
    return table("question,answer,answer", "1 + 2 = ?,3,3", name="problems.csv")


@case
def damaged_parquet() -> Words:
    """a damaged Parquet file"""
    return table("PAR1", name="problems.parquet")


@case
def column_to_group_by() -> Words:
    """a column to group by that no problem has"""
    return table(GOOD | {"level": 1}, more=["report.by=[levle]"])


@case
def unknown_column() -> Words:
    """an unknown column"""
    return table(GOOD, more=["dataset.columns.question=qestion"])


@case
def unreadable_place() -> Words:
    """a place in a column that cannot be read"""
    return table(GOOD, more=["dataset.columns.answer=answers[first]"])


@case
def choices_not_shown() -> Words:
    """a question asked without its choices"""
    return table(GOOD | {"choices": ["3", "4"]}, more=["dataset.columns.choices=choices"])


@case
def nothing_to_show() -> Words:
    """a template with what no column holds"""
    return table(GOOD, more=["dataset.template={question} {tests}"])


@case
def no_tests() -> Words:
    """programs without tests"""
    return table(GOOD, more=["dataset.grader=code"])


@case
def tests_not_run() -> Words:
    """tests that nobody runs"""
    return table(GOOD | {"tests": ["assert True"]}, more=["dataset.columns.tests=tests"])


class _Set:
    """A module has another value of a name until this is released."""

    def __init__(self, module: ModuleType, name: str, value: object) -> None:
        self._module, self._name, self._before = module, name, getattr(module, name)
        setattr(module, name, value)

    def release(self) -> None:
        setattr(self._module, self._name, self._before)


@case
def no_sandbox() -> Words:
    """programs on a machine that cannot confine them"""
    why = "it is darwin on arm64, and it takes Linux on x86_64 or aarch64"
    HELD.append(_Set(code, "why_not", lambda: why))
    return table(GOOD, more=["dataset.grader=code"])


def _solutions(*words: str) -> Words:
    """A command that grades a file of solutions."""
    table({"text": "#### 3", "gold": "3"}, name="solutions.jsonl")
    return ["grade", "solutions.jsonl", *words]


@case
def unknown_column_of_solutions() -> Words:
    """an unknown column of `flopwise grade`"""
    return _solutions("columns.answer=glod")


@case
def unknown_grader_of_solutions() -> Words:
    """an unknown grader of `flopwise grade`"""
    return _solutions("grader=maths")


@case
def no_file_of_solutions() -> Words:
    """no such file for `flopwise grade`"""
    return [*_solutions()[:1], "solution.jsonl"]


@case
def no_answers() -> Words:
    """no answers in the file"""
    return table({"question": "1 + 2 = ?"})


@case
def no_row_that_can_be_used() -> Words:
    """not one row that can be used"""
    return table(GOOD | {"question": " "}, "{")


@case
def unread_answers() -> Words:
    """answers that the grader reads none of"""
    return table(GOOD | {"answer": "Paris"}, OTHER | {"answer": "Rome"})


@case
def unread_generated_answers() -> Words:
    """generated problems whose answers the grader does not read"""
    return [
        "evaluate",
        "dataset=gym",
        "dataset.name=caesar_cipher",
        "dataset.grader=number",
        "dataset.count=2",
    ]


@case
def ranges_without_a_problem() -> Words:
    """ranges without a problem"""
    return evaluate("dataset=countdown", "dataset.options.targets=[5000,6000]")


@case
def shares_that_are_not_all() -> Words:
    """shares that are not all"""
    return evaluate("dataset=countdown", "dataset.options.shares=[0.5,0.4]")


@case
def more_numbers_than_a_problem_has() -> Words:
    """more numbers than a problem has"""
    return evaluate("dataset=countdown", "dataset.options.shares=[0,0,0,0,0,1]")


@case
def nothing_to_learn_from() -> Words:
    """a policy that is to learn from problems without worked solutions"""
    return ["train", "policy", "mine", "dataset=gcd"]


@case
def options_without_names() -> Words:
    """options without names"""
    return evaluate("dataset.options={1: 2}")


@case
def all_prompts_too_long() -> Words:
    """prompts that all exceed the context"""
    return table(LONG, LONG | {"question": LONG["question"] + " now"})


@case
def solutions_too_long() -> Words:
    """solutions that exceed the context with every prompt"""
    return table(GOOD, OTHER, more=["policy.max_tokens=250"])


def _shown(*rows: object, shots: int = 1, more: Words | None = None) -> Words:
    """A command whose prompts show examples of a file of these rows."""
    table(*rows, name="examples.jsonl")
    examples = [f"policy.prompt.shots={shots}", "policy.prompt.examples=examples.jsonl"]
    return evaluate("strategies=[greedy]", *examples, *(more or []))


WORKED = {"question": "2 + 2 = ?", "solution": "2 + 2 = 4\n#### 4"}


@case
def no_train_split() -> Words:
    """examples of a table without a file of them"""
    return table(GOOD, more=["policy.prompt.shots=2"])


@case
def generated_without_solutions() -> Words:
    """examples of generated problems that have no worked solutions"""
    return evaluate("dataset=gym", "dataset.name=chain_sum", "policy.prompt.shots=2")


@case
def file_without_solutions() -> Words:
    """a file of examples without worked solutions"""
    return _shown({"question": "2 + 2 = ?", "working": "4"})


@case
def examples_without_questions() -> Words:
    """a file of examples without questions"""
    return _shown({"problem": "2 + 2 = ?", "solution": "#### 4"})


@case
def no_file_of_examples() -> Words:
    """no such file of examples"""
    return [*_shown(WORKED), "policy.prompt.examples=example.jsonl"]


@case
def unread_examples() -> Words:
    """examples that end in no answer"""
    return _shown(WORKED | {"solution": "It is four"})


@case
def more_shots_than_examples() -> Words:
    """more examples asked for than there are"""
    return _shown(WORKED, WORKED | {"question": "4 + 0 = ?"}, shots=3)


@case
def examples_not_shown() -> Words:
    """a file of examples of which none is shown"""
    return _shown(WORKED, shots=0)


@case
def long_examples() -> Words:
    """examples that do not fit the context"""
    return _shown(WORKED | {"question": LONG["question"]})


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
    """an id given twice, with `dataset.columns.id=id`"""
    return table(GOOD | {"id": "a"}, OTHER | {"id": "a"}, more=["dataset.columns.id=id"])


@row_case
def answer_that_is_no_choice() -> Words:
    """an answer that is none of the choices"""
    rows = [one | {"choices": ["three", "seven"], "answer": key} for one, key in ((GOOD, "A"), (OTHER, "7"))]
    template = '"{question} {choices}"'
    words = ["dataset.columns.choices=choices", f"dataset.template={template}", "dataset.grader=choice"]
    return table(*rows, OTHER | {"question": "4 + 3 = ?", "choices": ["1", "7"], "answer": "B"}, more=words)


@row_case
def row_without_choices() -> Words:
    """a row without choices"""
    rows = [GOOD | {"choices": ["three", "seven"], "answer": "A"}, OTHER | {"answer": "B"}]
    template = '"{question} {choices}"'
    words = ["dataset.columns.choices=choices", f"dataset.template={template}", "dataset.grader=choice"]
    return table(*rows, OTHER | {"question": "4 + 3 = ?", "choices": ["1", "7"], "answer": "B"}, more=words)


@row_case
def row_without_tests() -> Words:
    """a row without tests"""
    rows = [one | {"tests": ["assert f() == 3"]} for one in (GOOD, OTHER)]
    words = ["dataset.columns.tests=tests", "dataset.columns.answer=null", "dataset.grader=code"]
    return table(rows[0], GOOD | {"question": "5 + 6 = ?", "tests": []}, rows[1], more=words)


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
def comma_without_quotes() -> Words:
    """a comma in no quotes"""
    return table("question,answer", "1 + 2 = ?,3", "What is 1,000 + 1?,1001", name="problems.csv")


@row_case
def empty_csv_row() -> Words:
    """a row of empty cells"""
    return table("question,answer", "1 + 2 = ?,3", ",", "3 + 4 = ?,7", name="problems.csv")


@row_case
def strange_answer() -> Words:
    """an answer that is neither text nor number"""
    return table(GOOD, OTHER | {"answer": ["7"]})


@row_case
def unread_answer() -> Words:
    """an answer that the grader does not read"""
    return table(GOOD, OTHER | {"answer": "Paris"})


@row_case
def surrogate() -> Words:
    """half of a surrogate pair in a text"""
    return table(GOOD, '{"question": "\\ud83d ?", "answer": "1"}', OTHER)
