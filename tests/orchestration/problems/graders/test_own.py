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
from orchestration.commands.grade import ballots, graded
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
        ("text", "3\n4", r"'3\n4'; dataset.grader=math reads it"),
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


ROWS = [
    {"text": r"so \boxed{\frac12}", "answer": "0.5"},
    {"text": "#### 0.5", "answer": "0.5"},
    {"text": "no idea", "answer": "0.5"},
    {"text": "#### [bold]3[/bold]", "answer": "3"},
    {"text": 5},
    {"text": "#### 4", "answer": "$$"},
]


def test_grade_shows_what_a_run_would_read_vote_and_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    rows = list(graded(Table(path, Columns("text", None)), make_grader("math"), "math", GradeColumns()))
    assert [row.right for row in rows] == [True, True, False, False, None, None]
    found = ballots(rows)
    assert found[0] == found[1] != ""
    assert found[2] == ""
    assert main(["grade", str(path)]) == 0
    said = capsys.readouterr().out
    assert "2 of 4 right; 1 of 6 not read" in said
    assert "[bold]3[/bold]" in said
    assert "row 4: skipped: no text in 'text'" in said
    assert "row 5: no verdict" in said
    assert main(["grade", str(path), "count=2", f"grader={{_target_: {OWN}}}"]) == 0
    assert "1 of 2 right; 0 of 2 not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a file of solutions"),
        (["/nowhere.jsonl"], "there is no such file"),
        (["FILE", "grader=maths"], "did you mean 'math'?"),
        (["FILE", "columns.text=solution"], "it has answer, text"),
    ],
)
def test_a_file_that_cannot_be_graded_is_told(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    assert main(["grade", *[str(path) if word == "FILE" else word for word in words]]) == 2
    assert message in capsys.readouterr().err
