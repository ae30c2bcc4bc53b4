"""A run as `flopwise show` tells it: which problems came out how, and of one why."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.analysis.filters import Filter, meant
from orchestration.commands.main import main
from orchestration.runs.problem_store import PROBLEMS
from tests.support.handmade import write_run

SCHEMAS = {"outcomes": OUTCOMES, "candidates": CANDIDATES, "problems": PROBLEMS}
KNOWN = [
    "greedy",
    "majority(n=4)",
    "majority(n=16)",
    "beam(n=4,width=4)",
    "beam(n=16,width=4)",
    "beam(n=8,width=2)",
]


def edit(folder: Path, table: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / table / "part-000001.parquet"
    rows = [row | change(row) for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[table]), path)


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says, without white space and lines of its layout."""
    assert main(["show", *map(str, words)]) == 0
    return " ".join(re.sub(r"[\u2500-\u257f]+", " ", capsys.readouterr().out).split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", problems=3, ladder=(1, 4), lengths=False)


def test_a_problem_shows_what_was_asked_and_how_the_vote_went(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of four samples two agree, one cannot be read, and the last was cut off; the verifier likes the third most.
    told = [("7", "eos", 0.2), ("7", "eos", 0.3), ("42", "eos", 0.9), (None, "eos", 0.5)]
    edit(
        folder,
        "candidates",
        lambda row: (
            {
                "answer": told[row["index"]][0],
                "correct": told[row["index"]][0] == "42",
                "finish_reason": told[row["index"]][1],
                "scores": [0.1, told[row["index"]][2]] if row["scores"] else [],
            }
            if row["strategy"] in ("majority(n=4)", "best_of_n(n=4)")
            else {}
        ),
    )
    edit(
        folder,
        "outcomes",
        lambda row: {"majority(n=4)": {"answer": "7"}, "best_of_n(n=4)": {"answer": "42"}}.get(
            row["strategy"], {}
        ),
    )
    edit(
        folder,
        "problems",
        lambda row: {
            "metadata": json.dumps({"level": 3, "subject": "[red]algebra"}),
            "prompt": "<s>Solve it.\nquestion 1?\x1b[2J\n",
        },
    )
    out = shown(capsys, folder, "p0001", "count=1")
    assert "level: 3, subject: [red]algebra" in out
    assert "prompt (20 tokens): <s>Solve it. question 1?\\x1b[2J" in out
    assert "reference: 42" in out
    plain = out[out.index("majority(n=4) answer 7") :]
    assert (
        "vote for votes 7 2 wrong chosen 42 1 right 3 of 4 candidates vote; 1 without a readable answer"
        in plain
    )
    assert "candidate 0: answer 7 wrong (ended, 60 tokens)" in plain
    scored = out[out.index("best_of_n(n=4) answer 42") :]
    assert "vote for votes weight 42 1 0.90 right chosen 7 2 0.50 wrong" in scored
    assert (
        "vote; 1 without a readable answer candidate 2: answer 42 right (ended, 60 tokens, value 0.90)"
        in scored
    )
    assert "best_of_n(n=4) 42" in out, "what each chose stands in one table"


def test_candidates_come_best_first_and_say_why_they_ended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {0: ("length", True, 0.9), 1: ("eos", True, 0.4), 2: ("eos", False, 1.0), 3: ("eos", True, 0.6)}
    edit(
        folder,
        "candidates",
        lambda row: {
            "finish_reason": ends[row["index"]][0],
            "kept": ends[row["index"]][1],
            "scores": [0.5, ends[row["index"]][2]],
        },
    )
    out = shown(capsys, folder, "p0001", "strategy=best_of_n")
    titles = [part.split(":")[0] for part in out.split("candidate ")[1:]]
    assert titles == ["0", "3", "1", "2"]
    assert "2 of 4 candidates vote; 1 unfinished; 1 dropped" in out
    assert "(cut off by the token limit, 60 tokens, value 0.90)" in out
    assert "(ended, 60 tokens, value 1.00, dropped)" in out


def test_one_of_a_kind_is_no_plural(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "outcomes", lambda row: {"generations": 1, "attributed_tokens": 1})
    edit(
        folder, "candidates", lambda row: {"tokens": 1, "finish_reason": "eos" if row["index"] else "length"}
    )
    out = shown(capsys, folder, "p0001", "count=3")
    assert "1 generation, 1 token" in out
    assert "1 token, value" in out
    assert "1 more candidate; strategy=best_of_n(n=4) shows all" in out
    assert not re.search(r"\b1 (generations|tokens|more candidates)", out)
    assert "p0000" in shown(capsys, folder, "right=[]")


def test_answers_of_one_ballot_are_one_vote_however_they_are_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["1/2", "0.5", "7", "2/4"]
    edit(
        folder,
        "candidates",
        lambda row: (
            {"answer": told[row["index"]], "correct": False, "ballot": "7" if row["index"] == 2 else "1/2"}
            if row["strategy"] == "majority(n=4)"
            else {}
        ),
    )
    edit(folder, "outcomes", lambda row: {"answer": "1/2"} if row["strategy"] == "majority(n=4)" else {})
    out = shown(capsys, folder, "p0001", "strategy=majority")
    assert "vote for votes 1/2 3 wrong chosen 7 1 wrong 4 of 4 candidates vote" in out
    assert [part.split(" ")[0] for part in out.split("candidate ")[1:]] == ["0:", "1:", "3:", "2:"]


def test_the_beginning_of_a_name_will_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(
        folder,
        "problems",
        lambda row: {"problem_id": row["problem_id"] + "-[/x]"} if row["problem_id"] == "p0001" else {},
    )
    assert "question 1?" in shown(capsys, folder, "p0001")
    assert main(["show", str(folder), "p00"]) == 2
    assert "3 problems of" in (err := capsys.readouterr().err)
    assert "begin so (p0000, p0001-[/x], p0002); give more of it" in err
    assert main(["show", str(folder), "q"]) == 2
    assert main(["show", str(folder), "p0001", "wrong=greedy"]) == 2
    assert "p0001 is named: leave one of them out" in capsys.readouterr().err


def test_problems_are_chosen_by_how_they_came_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {"p0000": (True, False), "p0001": (False, True), "p0002": (False, False)}

    def change(row: dict[str, Any]) -> dict[str, Any]:
        beam, vote = verdicts[row["problem_id"]]
        if row["strategy"] == "greedy" and row["problem_id"] == "p0002":
            return {"state": "quarantined", "answer": None, "correct": None, "reason": "no"}
        return {"correct": beam if row["strategy"].startswith("beam") else vote}

    edit(folder, "outcomes", change)
    out = shown(capsys, folder, "wrong=beam", "right=[majority,greedy]")
    assert "1 of 3 problems: beam(n=4,width=4) wrong, majority(n=4) right, greedy right." in out
    assert "p0001" in out
    assert "p0000" not in out
    out = shown(capsys, folder, "state=quarantined")
    assert "p0002" in out
    assert "1 of 3 problems: an outcome quarantined." in out
    assert "0 of 3 problems" in shown(capsys, folder, "state=quarantined", "strategy=beam")
    assert "0 of 3 problems" in shown(capsys, folder, "wrong=[beam,greedy]")
    for words, message in (
        (["strategy=bem"], "strategy = 'bem': the run has no such strategy (did you mean 'beam'?)"),
        (["wrong=baem"], "the run has no such strategy (did you mean 'beam'?)"),
        (["state=quarantine"], "did you mean 'quarantined'?"),
    ):
        assert main(["show", str(folder), *words]) == 2
        assert message in capsys.readouterr().err


def test_a_name_stands_for_the_largest_budget_of_each_of_its_series() -> None:
    assert meant("wrong", "majority", KNOWN) == ["majority(n=16)"]
    assert meant("wrong", "majority(n=4)", KNOWN) == ["majority(n=4)"]
    assert meant("wrong", "beam(n=4)", KNOWN) == ["beam(n=4,width=4)"]
    assert meant("wrong", "beam", KNOWN) == ["beam(n=16,width=4)", "beam(n=8,width=2)"]
    assert meant("wrong", "beam(width=4)", KNOWN) == ["beam(n=16,width=4)"]
    assert meant("wrong", "mine.Search", ["mine.Search(n=2)", "mine.Search(n=8)"]) == ["mine.Search(n=8)"]


def test_all_that_is_asked_holds_with_one_seed() -> None:
    def row(problem: str, strategy: str, seed: int, correct: bool | None) -> dict[str, Any]:
        return {
            "problem_id": problem,
            "strategy": strategy,
            "seed": seed,
            "state": "answered",
            "correct": correct,
        }

    rows = [
        *(row("a", "greedy", seed, seed == 0) for seed in (0, 1)),
        *(row("a", "majority(n=4)", seed, seed == 0) for seed in (0, 1)),
        *(row("b", "greedy", seed, seed == 0) for seed in (0, 1)),
        *(row("b", "majority(n=4)", seed, seed == 1) for seed in (0, 1)),
    ]
    asked = Filter.read(["greedy"], ["majority"], None, [], ["greedy", "majority(n=4)"])
    assert asked.problems(rows) == ["b"]
    with pytest.raises(UserError, match="have no answers: nothing is right or wrong"):
        asked.problems(one | {"correct": None} for one in rows)
