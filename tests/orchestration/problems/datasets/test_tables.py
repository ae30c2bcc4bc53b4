"""A user's tables: every row a problem or quarantined with its reason, mistakes named in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from orchestration.problems import Columns, Problem, Quarantined, Table, load
from tests.support.unprivileged import unprivileged


def _jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_good_rows_of_both_formats_are_the_same_problems(tmp_path: Path) -> None:
    rows = [{"question": f"{i} + 1?", "answer": i + 1} for i in range(3_000)]
    lines = _jsonl(tmp_path / "sums.jsonl", list(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "sums.parquet")
    first, second = list(Table(lines)), list(Table(tmp_path / "sums.parquet"))
    assert first == second
    assert first[5] == Problem(first[5].id, "5 + 1?", "6")
    assert len({p.id for p in first}) == 3_000


def test_broken_rows_are_quarantined_in_place(tmp_path: Path) -> None:
    path = _jsonl(
        tmp_path / "d.jsonl",
        [
            {"q": "one?", "a": "1", "key": "A1"},
            '{"q": "cut of',
            {"q": "", "a": "1", "key": "x"},
            [1, 2],
            {"q": "two?", "a": ["2"], "key": "y"},
            {"q": "three?", "a": True, "key": "z"},
            {"q": "again?", "a": "1", "key": "A1"},
            {"q": "another case?", "a": "1", "key": "a1"},
            {"q": "no label?", "key": 17},
            {"q": "no key?", "a": "1"},
            "[" * 100_000,
        ],
    )
    rows = list(Table(path, Columns("q", "a", "key")).rows())
    assert [p.id for p in rows if isinstance(p, Problem)] == ["A1", "a1", "17"]
    broken = {r.row: r.text for r in rows if isinstance(r, Quarantined)}
    assert sorted(broken) == [1, 2, 3, 4, 5, 6, 9, 10]
    assert "not JSON" in broken[1]
    assert broken[2] == "no question ('q' is empty)"
    assert "object" in broken[3]
    assert "neither a text nor a number" in broken[4]
    assert broken[6] == "id given twice (id 'A1' stands in row 0 already)"
    assert "'key'" in broken[9]


def test_a_question_counts_once_whatever_its_ids(tmp_path: Path) -> None:
    rows = [
        {"question": q, "id": i}
        for q, i in (("a?", 1), ("b?", 2), (" a?\n", 3), ("b?", 2), ("A?", 4), ("c?", 3))
    ]
    path = _jsonl(tmp_path / "d.jsonl", list(rows))
    found = list(Table(path, Columns(answer=None, id="id")).rows())
    # A row that is left out claims nothing: the id 3 is still free for the last one.
    assert [p.id for p in found if isinstance(p, Problem)] == ["1", "2", "4", "3"]
    assert [(r.row, r.reason, r.detail) for r in found if isinstance(r, Quarantined)] == [
        (2, "question given twice", "the question stands in row 0 already"),
        (3, "question given twice", "the question stands in row 1 already"),
    ]
    # Without ids of its own too, and a limit counts problems.
    assert [p.question for p in Table(path, Columns(answer=None), count=3)] == ["a?", "b?", "A?"]


def test_a_column_called_id_names_the_problems_where_it_names_each(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": "1", "id": i} for i in range(3)]
    path = _jsonl(tmp_path / "d.jsonl", [*rows, {"id": 1}, "{", {"question": "0?", "id": 0}])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    for one in (path, tmp_path / "d.parquet"):
        table = Table(one)
        assert [(p.id, p.metadata) for p in table] == [(str(i), {}) for i in range(3)]
        assert table.note == ""
    made = list(Table(path, Columns(id=None)))
    assert [p.id[:4] for p in made] == ["row-"] * 3
    assert made[0].metadata == {"id": 0}
    assert list(Table(path).named_by(None)) == made


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ({"question": "b?", "id": "x"}, "'x' is given to two questions, again in row 1"),
        ({"question": "b?", "id": " "}, "in row 1 it is empty"),
        ({"question": "b?"}, "in row 1 it is missing"),
        ({"question": "b?", "id": 1.5}, "in row 1 it is a number"),
    ],
)
def test_a_column_called_id_that_does_not_leaves_the_names_to_the_content(
    last: dict[str, object], why: str, tmp_path: Path
) -> None:
    path = _jsonl(tmp_path / "d.jsonl", [{"question": "a?", "id": "x"}, last])
    table = Table(path, Columns(answer=None))
    assert [p.id for p in table] == [p.id for p in Table(path, Columns(answer=None, id=None))]
    assert table.note.startswith(f"column 'id' of d.jsonl does not name the problems ({why}): ")
    # Asked for, such rows are left out.
    assert [type(row) for row in Table(path, Columns(answer=None, id="id")).rows()] == [Problem, Quarantined]


def test_strings_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    lines = [
        '{"question": "\\ud800?"}',
        '{"question": "a?", "answer": "\\udfff"}',
        '{"question": "b?", "id": "\\ud800"}',
    ]
    path = _jsonl(tmp_path / "d.jsonl", [*lines, '{"question": "\\ud83d\\ude00?"}'])
    reasons = [r.reason for r in Table(path).rows() if isinstance(r, Quarantined)]
    assert reasons == ["characters that no text may hold"] * 2
    last = list(Table(path, Columns(id="id")).rows())[2]
    assert isinstance(last, Quarantined)
    assert last.detail == "the id has half of a surrogate pair"
    assert [p.question for p in Table(path)] == ["b?", "\N{GRINNING FACE}?"]


def test_a_parquet_file_that_breaks_off_in_the_middle_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"question": [f"{i} and {i * 7919 % 10007}?" for i in range(20_000)]})
    pq.write_table(table, path, row_group_size=5_000, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged Parquet file"):
        list(Table(path, Columns(answer=None)).rows())


def test_parquet_nulls_and_no_labels(tmp_path: Path) -> None:
    table = pa.table({"question": ["a?", None, "c?"], "answer": pa.array([1.5, 2.0, None])})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = list(Table(tmp_path / "t.parquet").rows())
    assert [type(r) for r in rows] == [Problem, Quarantined, Problem]
    assert [p.answer for p in Table(tmp_path / "t.parquet")] == ["1.5", None]
    unlabelled = Table(tmp_path / "t.parquet", Columns(answer=None))
    assert [p.answer for p in unlabelled] == [None, None]


def test_no_number_is_no_answer(tmp_path: Path) -> None:
    path = _jsonl(
        tmp_path / "d.jsonl", ['{"question": "a?", "answer": NaN}', '{"question": "b?", "answer": "nan"}']
    )
    assert [p.answer for p in Table(path)] == [None, "nan"]


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "d.jsonl", [{"question": "a?", "answer": "1"}])
    path.chmod(0)
    with unprivileged(), pytest.raises(UserError, match="you may not read it"):
        Table(path)
    (tmp_path / "locked").mkdir(mode=0)
    with unprivileged(), pytest.raises(UserError, match="you may not read it"):
        Table(tmp_path / "locked" / "d.jsonl")


def test_ids_and_so_seeds_know_nothing_of_labels(tmp_path: Path) -> None:
    def ids(answers: list[object], **columns: str | None) -> list[str]:
        rows = [{"question": f"{i}?", "answer": answer} for i, answer in enumerate(answers)]
        return [p.id for p in load(path=_jsonl(tmp_path / "d.jsonl", list(rows)), columns=columns)]

    assert ids([1, 2, 3]) == ids([3, None, "two"]) == ids([1, 2, 3], answer=None)


def test_count_stops_early(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "d.jsonl", [{"question": f"{i}?", "answer": "1"} for i in range(10)])
    assert [p.question for p in load(path=path, count=4)] == ["0?", "1?", "2?", "3?"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "problems.jsonl", [{"problem": "1?", "solution": "1"}])
    with pytest.raises(UserError, match="did you mean 'problem'"):
        load(path=path, columns={"question": "problems", "answer": None})
    with pytest.raises(UserError, match=r"dataset\.columns\.answer.*problem, solution"):
        load(path=path, columns={"question": "problem"})
    with pytest.raises(UserError, match="did you mean 'answer'"):
        load(path=path, columns={"anser": "solution"})
    with pytest.raises(UserError, match=r"no such file .*problems\.jsonl"):
        load(path=tmp_path / "problem.jsonl")
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(UserError, match=r"it is a folder; name a file in it, e\.g\. .*\.jsonl"):
        load(path=tmp_path)
    with pytest.raises(UserError, match=r"must end in \.jsonl"):
        load(path=tmp_path / "x.txt")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no rows"):
        load(path=tmp_path / "empty.jsonl")
    (tmp_path / "bad.jsonl").write_text("not json\n")
    with pytest.raises(UserError, match="no row of it is an object"):
        load(path=tmp_path / "bad.jsonl")
    (tmp_path / "bad.parquet").write_text("PAR?")
    with pytest.raises(UserError, match="not a Parquet file"):
        load(path=tmp_path / "bad.parquet")
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "none.parquet")
    with pytest.raises(UserError, match="no rows"):
        load(path=tmp_path / "none.parquet", columns={"answer": None})


def test_further_columns_are_kept_as_metadata(tmp_path: Path) -> None:
    rows = [
        {"question": "a?", "answer": "1", "level": 3, "subject": "algebra", "tags": ["x", 2.5]},
        {"question": "b?", "answer": "2", "level": None, "subject": "geometry", "tags": []},
    ]
    expected = [{name: row[name] for name in ("level", "subject", "tags")} for row in rows]
    del expected[1]["level"]
    path = _jsonl(tmp_path / "d.jsonl", list(rows))
    assert [p.metadata for p in Table(path)] == expected
    # An answer that is not to be read is a column like others.
    assert [p.metadata["answer"] for p in Table(path, Columns(answer=None))] == ["1", "2"]
    table = pa.table(
        {
            "question": ["a?", "b?"],
            "level": pa.array([3, None]),
            "share": pa.array([0.5, float("nan")]),
            "subject": pa.array(["algebra", "geometry"]).dictionary_encode(),
            "year": pa.array([0, 2**30], pa.int32()).cast(pa.date32()),
            "box": [{"x": 1}, {"x": 2}],
            "image": [b"\xff", b"\x00"],
            "twice": [1, 2],
        }
    )
    pq.write_table(table, tmp_path / "d.parquet")
    first, second = (p.metadata for p in Table(tmp_path / "d.parquet", Columns(answer=None)))
    assert first == {
        "level": 3,
        "share": 0.5,
        "subject": "algebra",
        "year": "1970-01-01",
        "box": {"x": 1},
        "twice": 1,
    }
    assert set(second) == {"subject", "year", "box", "twice"}, (
        "no missing value, and no date that ends the stream"
    )
    pq.write_table(table.rename_columns([*table.column_names[:-1], "level"]), tmp_path / "d.parquet")
    assert len(list(Table(tmp_path / "d.parquet", Columns(answer=None)))) == 2


def test_whatever_a_column_holds_can_be_stored(tmp_path: Path) -> None:
    """The run writes it as JSON in UTF-8, and nothing of it may end a run."""
    odd = '"half": "\\ud800", "\\udfff": 1, "far": 1e999, "no": NaN, "deep": %s, "long": %s'
    deep, digits = "[" * 400 + "]" * 400, "9" * 400
    path = _jsonl(tmp_path / "d.jsonl", ['{"question": "a?", %s}' % (odd % (deep, digits))])
    [problem] = Table(path, Columns(answer=None))
    stored = json.dumps(problem.metadata, ensure_ascii=False, allow_nan=False).encode()
    assert json.loads(stored) == problem.metadata
    assert set(problem.metadata) == {"half", "?", "deep", "long"}


def test_where_tests_judge_nobody_has_to_say_that_there_are_no_answers(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "code.jsonl", [{"question": "add", "tests": "assert add(1, 2) == 3"}])
    [one] = Table(path, Columns(tests="tests"))
    assert one.reference == '{"tests": ["assert add(1, 2) == 3"]}'
    with pytest.raises(UserError, match=r"^dataset.columns.answer = 'gold': code.jsonl has no such column"):
        list(Table(path, Columns(answer="gold", tests="tests")))


def test_no_column_is_guessed_that_is_hardly_alike(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "d.jsonl", [{"prompt": "1 + 1?", "solution": "2"}])
    with pytest.raises(UserError, match=r"^dataset.columns.question = .*; it has prompt, solution$"):
        list(Table(path))
