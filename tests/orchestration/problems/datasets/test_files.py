"""Files as people have them: CSV, JSON documents, gzipped, in UTF-16; and what is said of those that cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.problems import Columns, Problem, Quarantined, Table

ROWS = [
    {"question": "1 + 2 = ?", "answer": "3"},
    {"question": "für 3, und\n4?", "answer": "007"},
    {"question": 'say "x"', "answer": "1.0"},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PRETTY = json.dumps(ROWS, indent=2, ensure_ascii=False)
COMMAS = 'question,answer\n1 + 2 = ?,3\n"für 3, und\n4?",007\n"say ""x""",1.0\n'
FORMS = {
    "d.jsonl": LINES,
    "a.JSONL": LINES,
    "pretty.json": PRETTY,
    "flat.json": json.dumps(ROWS),
    "lines.json": LINES,
    "several.json": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "wrapped.json": json.dumps({"data": ROWS}),
    "pretty.jsonl": PRETTY,
    "flat.jsonl": json.dumps(ROWS),
    "d.csv": COMMAS,
    "dos.csv": COMMAS.replace("\n", "\r\n").replace("und\r\n4", "und\n4"),
    "semicolons.csv": COMMAS.replace("?,3", "?;3").replace('",', '";').replace("question,", "question;"),
    "d.tsv": COMMAS.replace("?,3", "?\t3").replace('",', '"\t').replace("question,", "question\t"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_and_encoding_gives_the_same_problems(name: str, encoding: str, tmp_path: Path) -> None:
    data = FORMS[name].encode(encoding)
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        found = list(Table(path).rows())
        assert [(row.question, row.answer) for row in found if isinstance(row, Problem)] == [
            (row["question"], row["answer"]) for row in ROWS
        ]
        assert len(found) == len(ROWS)


def test_cells_that_cannot_be_meant_are_left_out_with_their_reason(tmp_path: Path) -> None:
    rows = [
        b"question,answer",
        b"a?,1",
        b"what is 1,000 + 1?,1001",
        b"b?",
        b"",
        b"f\xfcr?,2",
        b"c?,",
        b",5",
        b"e?,6",
    ]
    (tmp_path / "d.csv").write_bytes(b"\n".join(rows))
    found = list(Table(tmp_path / "d.csv").rows())
    assert [row.question for row in found if isinstance(row, Problem)] == ["a?", "c?", "e?"]
    # An empty cell is no answer, as null is.
    assert [row.answer for row in found if isinstance(row, Problem)] == ["1", None, "6"]
    assert [row.text for row in found if isinstance(row, Quarantined)] == [
        "other cells than columns (3 for 2: a text with a ',' needs quotes)",
        "other cells than columns (1 for 2: a text with a ',' needs quotes)",
        "not UTF-8 (byte 0xfc)",
        "no question ('question' is missing)",
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.json", b'[{"question": "a?"},', "not JSON: "),
        ("d.json", b"[1, 2]", "no row of it is an object"),
        ("d.json", b"[]", "the file has no rows"),
        ("d.csv", b"question,answer\n", "the file has no rows"),
        ("d.csv", b"", "the file has no rows"),
        ("d.csv", b"question,answer,answer\na?,1,2\n", "two of its columns are called 'answer': rename one"),
        ("d.jsonl.gz", b"no gzip", "it is damaged: Not a gzipped file"),
        ("d.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-12], "it is damaged: "),
        ("d.csv", COMMAS.encode("utf-16")[:-1], "it is not UTF-16-LE to its end"),
        ("d.xlsx", b"", r"the file must end in \.jsonl, \.json, \.csv or \.tsv"),
        ("d.parquet.gz", b"", r"the file must end in"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_is_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        list(Table(tmp_path / name, Columns(answer=None)).rows())
    assert str(error.value).startswith(f"dataset.path = '{tmp_path / name}'")
    assert "\n" not in str(error.value)


def test_a_row_of_empty_cells_is_left_out_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("question,answer\n\na?,1\n,\n\n ,\nb?,2\n,,,\n\n")
    found = list(Table(tmp_path / "d.csv").rows())
    said = [row.question if isinstance(row, Problem) else row.text for row in found]
    empty = "an empty row (all of its 2 cells are empty)"
    assert said == ["a?", empty, empty, "b?", "an empty row (all of its 4 cells are empty)"]


def test_a_line_that_is_a_list_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('["a"]\n' + LINES)
    first, *rest = Table(tmp_path / "d.jsonl").rows()
    assert isinstance(first, Quarantined)
    assert first.text == "not a JSON object (it is a list)"
    assert len(rest) == len(ROWS)
