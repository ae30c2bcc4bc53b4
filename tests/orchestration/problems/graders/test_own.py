"""A grader of one's own, what each grader says of references, and `flopwise grade`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flopwise
from actors.errors import UserError
from actors.strategy import Answer, ballot_of
from orchestration.commands.grade import (
    NO_VERDICT,
    RIGHT,
    SKIPPED,
    UNREAD,
    WRONG,
    Graded,
    ballots,
    graded,
)
from orchestration.commands.main import main
from orchestration.problems import Columns, Grader, Quarantined, Table, load, make_grader, why_unread
from orchestration.setup.settings import GradeColumns

OWN = "tests.orchestration.problems.graders.test_own.LastWord"


class LastWord:
    """Reads the last word."""

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def extract(self, text: str) -> str | None:
        words = text.split()
        return words[-1] if len(words) >= self.least else None

    def correct(self, answer: str, reference: str) -> bool:
        return self.ballot(answer) == self.ballot(reference)

    def ballot(self, answer: str) -> str:
        return answer.casefold()


class Shares:
    """Says of each answer itself what it votes as."""

    def extract(self, text: str) -> str | None:
        return flopwise.Answer(text.split()[-1], "1/2") if text.endswith(("0.5", "50%")) else None

    def correct(self, answer: str, reference: str) -> bool:
        return reference in ("0.5", "50%")


def test_a_grader_may_give_answers_that_say_what_they_vote_as() -> None:
    grader = make_grader({"_target_": OWN.replace("LastWord", "Shares")})
    found = [grader.extract(text) for text in ("it is 0.5", "so 50%", "?")]
    assert found == ["0.5", "50%", None]
    assert [ballot_of(one) for one in found if one is not None] == ["1/2", "1/2"]
    assert grader.correct(found[1], "0.5")


class Half:
    def extract(self, text: str) -> str | None:
        return text


def test_a_grader_of_ones_own_reads_judges_and_says_who_votes_together() -> None:
    grader = make_grader({"_target_": OWN, "least": 2})
    assert isinstance(grader, Grader)
    answer = grader.extract("it is Paris")
    assert isinstance(answer, Answer)
    assert (str(answer), answer.ballot) == ("Paris", "paris")
    assert grader.extract("Paris") is None
    assert grader.correct(answer, "PARIS")
    assert not grader.correct(answer, "Rome")
    assert grader.reads("Paris")
    assert grader.version == f'{OWN}{{"least": 2}}'
    assert pickle.loads(pickle.dumps(grader)).correct(answer, "paris")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"_target_": f"{OWN}s"}, "did you mean 'LastWord'?"),
        ({"_target_": OWN, "lest": 2}, "did you mean 'least'?"),
        ({"_target_": "no.such.Class"}, "cannot import no.such"),
        ({"target": OWN}, "a mapping with _target_"),
        ({"_target_": OWN.replace("LastWord", "Half")}, "it has no method 'correct'"),
    ],
)
def test_a_grader_that_cannot_be_made_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        make_grader(given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "reference", "why"),
    [
        ("number", "18", ""),
        ("number", "so 3*6\n#### $18.00", ""),
        ("number", "Paris", "'Paris'; dataset.grader=text reads it"),
        ("number", r"\frac{x}{2}", r"'\\frac{x}{2}'; dataset.grader=math reads it"),
        ("number", "1e+23", ""),
        ("text", "New York", ""),
        ("text", "3\n4", r"'3\n4'; no grader reads it"),
        ("math", "Paris", ""),
        ("math", "$$", "'$$'; dataset.grader=text reads it"),
        ("math", "We add what is left, and so on. " * 12, "no grader reads it"),
        ("math", "We add what is left, and so on. " * 12 + r"Hence \boxed{4}.", ""),
    ],
)
def test_references_that_no_answer_can_equal_are_told(name: str, reference: str, why: str) -> None:
    told = why_unread(make_grader(name), name, reference)
    assert told == why or (why.startswith("no") and told.endswith(why))


@pytest.mark.parametrize("name", ["number", "text", "math"])
def test_what_reads_is_right_against_itself(name: str) -> None:
    grader = make_grader(name)
    for reference in (
        "18",
        "1,000",
        "-3.50",
        "1e+23",
        "1e-05",
        "$5",
        "12.5%",
        "Paris",
        r"\text{a}",
        "#### 4",
        "$",
        ".",
        "0.1",
    ):
        answer = grader.extract(f"so\n#### {reference.removeprefix('#### ')}")
        assert grader.correct(answer, reference) == grader.reads(reference), reference


def test_a_row_whose_answer_is_not_read_is_skipped_and_all_are_refused(tmp_path: Path) -> None:
    rows = [{"question": "a?", "answer": "1"}, {"question": "b?", "answer": "Paris"}, {"question": "c?"}]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    table = load(path=path, unread=lambda one: why_unread(make_grader("number"), "number", one))
    assert isinstance(table, Table)
    found = list(table.rows())
    assert [type(one).__name__ for one in found] == ["Problem", "Quarantined", "Problem"]
    assert isinstance(found[1], Quarantined)
    assert found[1].text == "the answer is none that the grader reads ('Paris'; dataset.grader=text reads it)"


def test_numbers_of_a_table_are_written_without_exponents_and_as_short_as_they_are(tmp_path: Path) -> None:
    values = [0.1, 1e-7, 1e23, 2.5, 3.0]
    table = pa.table({"question": [f"{one}?" for one in values], "answer": pa.array(values, pa.float32())})
    pq.write_table(table, tmp_path / "t.parquet")
    want = ["0.1", "0.0000001", "100000000000000000000000", "2.5", "3.0"]
    assert [one.answer for one in load(path=tmp_path / "t.parquet")] == want
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in table.to_pylist()[3:]))
    lines = [json.dumps({"question": f"{one}?", "answer": one}) for one in values]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert [one.answer for one in load(path=tmp_path / "t.jsonl")] == want


@pytest.mark.parametrize(
    ("reference", "bare"),
    [
        *(
            (one, False)
            for one in (
                "3",
                "1,000",
                r"\frac{\sqrt3}{2}",
                "x = 5",
                "(1, 2)",
                "12 or 13",
                "35 cm",
                "B",
                "3:30",
            )
        ),
        *(
            (one, False)
            for one in (
                r"\{1, 2\}",
                "x^2 + 1",
                "twenty-nine",
                "[1, 2)",
                "so \\boxed{7}",
                "some words\n#### 12",
            )
        ),
        *(
            (one, True)
            for one in (
                "see page 12",
                "Paris",
                "yes",
                "12 apples and 3 pears",
                "N/A",
                "x = tall",
                "red, blue",
            )
        ),
        *(
            (one, True)
            for one in ("2x +", "https://a.b/c", "(Paris, Rome)", "5 rest 2, see there", "#### see below")
        ),
    ],
)
def test_a_reference_that_is_no_mathematics_is_told_from_one_that_is(reference: str, bare: bool) -> None:
    grader = make_grader("math")
    assert grader.reads(reference)
    assert grader.as_text(reference) == bare
    # Told without a parser, but for what looks like an expression and is none.
    assert grader.as_text(reference, parse=False) == (bare and reference != "2x +")


def test_no_grader_is_named_that_would_keep_a_text() -> None:
    number = make_grader("number")
    for reference, mend in (
        ("12 apples and 3 pears", "dataset.grader=text reads it"),
        ("no. 12/B, see p. 3", "dataset.grader=text reads it"),
        (r"\frac{\sqrt3}{2}", "dataset.grader=math reads it"),
        ("12 or 13", "dataset.grader=math reads it"),
        ("word " * 50, "dataset.grader"),
    ):
        assert (mend in why_unread(number, "number", reference)) == (len(reference) < 100), reference


ROWS = [
    {"text": r"so \boxed{\frac12}", "answer": "0.5"},
    {"text": "#### 0.5", "answer": "0.5"},
    {"text": "no idea", "answer": "0.5"},
    {"text": "#### [bold]3[/bold]", "answer": "3"},
    {"text": 5},
    {"text": "#### 4", "answer": "$$"},
]


def grade(path: Path) -> list[Graded]:
    return list(graded(Table(path, Columns("text", None)), make_grader("math"), "math", GradeColumns()))


def test_grade_shows_what_a_run_would_read_vote_and_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    rows = grade(path)
    assert [row.verdict for row in rows] == [RIGHT, RIGHT, UNREAD, WRONG, SKIPPED, NO_VERDICT]
    assert [row.reference_read for row in rows] == ["0.5", "0.5", "0.5", "3", None, None]
    found = ballots(rows)
    assert found[0] is found[1] is rows[0]
    assert found[2] is None
    assert main(["grade", str(path)]) == 0
    said = capsys.readouterr().out
    assert (
        "6 rows: 2 right, 1 wrong, 1 unreadable, 1 reference unreadable, 1 skipped" in said.splitlines()[-1]
    )
    assert "[bold]3[/bold]" in said
    assert "row 4: skipped: no text in 'text'" in said
    assert "row 5: no verdict: the answer is none that the grader reads ('$$'; grader=text reads it)" in said
    assert main(["grade", str(path), "count=2", f"grader={{_target_: {OWN}}}"]) == 0
    assert "2 rows: 1 right, 1 wrong, 0 unreadable, 0 reference unreadable" in capsys.readouterr().out


def test_grade_says_where_a_ballot_is_judged_otherwise_than_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.csv"
    for order in ("#### 5,5 m\n#### 5 cm,5 m", "#### 5 cm,5 m\n#### 5,5 m"):
        path.write_text(f"text,answer\n{order}\n")
        rows = grade(path)
        assert {str(one.answer) for one in ballots(rows) if one is not None} == {"5 cm"}
        assert main(["grade", str(path)]) == 0
        assert "right, its ballot wrong" in capsys.readouterr().out


def test_grade_says_which_references_are_bare_text_and_which_rows_are_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.csv"
    path.write_text("text,gold\n#### 6,see page 12\n,\n#### 7,7\n#### 8,12 apples and 3 pears\n")
    assert main(["grade", str(path), "columns.answer=gold"]) == 0
    # Off a terminal a line is a line.
    lines = capsys.readouterr().out.splitlines()
    assert "row 1: skipped: an empty row (all of its 2 cells are empty)" in lines
    told = "2 of 3 references are compared as bare text (rows 0, 3): the grader reads no "
    assert any(line.startswith(told) for line in lines)
    assert lines[-1] == "4 rows: 1 right, 2 wrong, 0 unreadable, 0 reference unreadable, 1 skipped"
    # The column that is looked for by itself, and is not there.
    assert main(["grade", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "no column 'answer', so no verdicts: columns.answer names the references" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a file of solutions"),
        (["/nowhere.jsonl"], "there is no such file"),
        (["FILE", "grader=maths"], "did you mean 'math'?"),
        (["/nowhere.jsonl"], "error: file = '/nowhere.jsonl': there is no such file"),
        (["FILE", "grader=maths"], "error: grader = 'maths': "),
        (
            ["FILE", "columns.text=solution"],
            "error: columns.text = 'solution': solutions.jsonl has no such column",
        ),
        (
            ["FILE", "columns.answer=anwser"],
            "columns.answer = 'anwser': solutions.jsonl has no such column; it has answer, text (did you mean 'answer'?)",
        ),
        (["FILE", "columns.problem=id"], "error: columns.problem = 'id': solutions.jsonl has no such column"),
        (["FILE", "colums.answer=answer"], "colums.answer: no such setting (did you mean 'columns.answer'?)"),
        (["FILE", "count=-1"], "error: count = -1: it must be at least 1, or null for all"),
        (["FILE", "grader=gym"], "error: grader = 'gym': "),
        (["FILE", "grader={_target_: nowhere.X}"], "name its package in packages, or install it"),
    ],
)
def test_a_file_that_cannot_be_graded_is_told(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    assert main(["grade", *[str(path) if word == "FILE" else word for word in words]]) == 2
    assert message in capsys.readouterr().err
