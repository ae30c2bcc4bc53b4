"""Identity, what may go on in a folder, and reading runs that are whole, interrupted or broken."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.ledger import Entry
from actors.store import log
from actors.store.digests import DigestMap
from actors.store.rows import rows_of
from actors.store.schema import CANDIDATES, OUTCOMES
from actors.strategy import ROLES, Role
from orchestration.problems import Problem
from orchestration.runs import run as run_module
from orchestration.runs.folder import write_atomically
from orchestration.runs.identity import Identity, KeyMaker, ModelIdentity, content_hash, outcome_key
from orchestration.runs.problem_store import ProblemStore, stored_problems
from orchestration.runs.record import check_same
from orchestration.runs.run import Run
from orchestration.strategies.parse import parse
from tests.support.handmade import write_run
from tests.support.log_files import ledger_part, logged

IDENTITY = Identity(
    models={
        "policy": ModelIdentity("a1", "b2", "float32", "local cpu"),
        "verifier": ModelIdentity("c3", "b2", "float32", "local cpu"),
    },
    grader="number-1",
    prompt="{question}",
    delimiter="\n",
    max_tokens=256,
)
PROBLEM = Problem("p1", "1 + 1 = ?", "2")
PROMPT = (1, 5, 6, 7)
BOTH: tuple[Role, ...] = ("policy", "verifier")


def key(
    identity: Identity = IDENTITY,
    strategy: str = "beam(n=4,width=4)",
    *,
    asks: bool = True,
    asked: Collection[Role] | None = None,
    problem: Problem = PROBLEM,
    prompt: tuple[int, ...] = PROMPT,
    seed: int = 0,
) -> str:
    roles = asked or (BOTH if asks else ["policy"])
    return outcome_key(problem.id, content_hash(problem, prompt), strategy, roles, seed, identity)


def with_model(role: Role, name: str) -> Identity:
    """The identity with one part of one model changed."""
    old = IDENTITY.models[role]
    new = replace(old, **{name: f"{getattr(old, name)}x"})
    return replace(IDENTITY, models={**IDENTITY.models, role: new})


@pytest.mark.parametrize("name", [field.name for field in fields(Identity) if field.name != "models"])
def test_every_part_of_the_set_up_changes_the_key(name: str) -> None:
    changed: dict[str, Any] = {name: 7 if name == "max_tokens" else "x"}
    other = replace(IDENTITY, **changed)
    assert key(other) != key()
    assert key(other, "greedy", asks=False) != key(strategy="greedy", asks=False)


@pytest.mark.parametrize("name", [field.name for field in fields(ModelIdentity)])
def test_every_part_of_a_model_changes_the_key(name: str) -> None:
    assert key(with_model("policy", name)) != key()
    assert key(with_model("policy", name), asks=False) != key(asks=False)
    # A verifier scores token ids, whatever text they stand for.
    assert (key(with_model("verifier", name)) != key()) == (name != "tokenizer")
    assert key(with_model("verifier", name), asks=False) == key(asks=False)


def test_another_role_adds_its_part_to_the_key() -> None:
    reviser = ModelIdentity("d4", "b2", "float32", "local cpu")
    joined = replace(IDENTITY, models={**IDENTITY.models, "reviser": reviser})
    other = replace(joined, models={**joined.models, "reviser": replace(reviser, tokenizer="e5")})
    keys = {key(one, asked=ROLES) for one in (joined, other)}
    assert len(keys | {key()}) == 3
    # What does not ask it stays what it was.
    assert key(joined) == key()
    assert key(joined, asks=False) == key(asks=False)


def test_problem_strategy_and_seed_change_the_key() -> None:
    known = {key()}
    for problem in (
        replace(PROBLEM, id="p2"),
        replace(PROBLEM, question="1 + 2 = ?"),
        replace(PROBLEM, answer="3"),
        replace(PROBLEM, answer=None),
        replace(PROBLEM, reference="3"),
    ):
        known.add(key(problem=problem))
    known.add(key(strategy="beam(n=8,width=4)"))
    known.add(key(seed=1))
    # The same question in another prompt, or cut into other tokens.
    known.add(key(prompt=(1, 5, 6, 8)))
    known.add(key(prompt=(1, 5, 6)))
    assert len(known) == 10
    # What is not content does not.
    assert key(problem=replace(PROBLEM, metadata={"length": 2}, solution="2")) == key()


def test_keys_are_made_together_as_they_are_alone() -> None:
    strategies = [parse(text) for text in ("greedy", "beam(n=4,width=4)")]
    content = content_hash(PROBLEM, PROMPT)
    made = KeyMaker(strategies, IDENTITY).keys("p1", content, 3)
    assert [one for one, _ in made] == strategies
    assert [found for _, found in made] == [key(strategy="greedy", asks=False, seed=3), key(seed=3)]


def test_the_key_is_the_same_everywhere_and_for_ever() -> None:
    assert key() == "796945edbf2b956223602ba255193419"


def test_another_set_up_is_refused_with_the_difference(tmp_path: Path) -> None:
    known = {"policy": "a1", "max_tokens": 256}
    check_same(tmp_path, known, {"policy": "a1", "max_tokens": 256})
    with pytest.raises(
        UserError, match=r'policy.path was "a1" and is "z9"; policy.max_tokens was 256 and is 128\)'
    ) as error:
        check_same(tmp_path, known, {"policy": "z9", "max_tokens": 128})
    assert "choose another folder" in str(error.value)


def test_many_differences_are_one_line_that_can_be_read(tmp_path: Path) -> None:
    def prompt(**more: object) -> str:
        return json.dumps({"template": "{question}", "chat": False, "system": None} | more)

    known = {
        "dtype": "float32",
        "engine": "local cpu",
        "prompt": prompt(),
        "grader": "number 1",
        "budget.unit": "paper",
    }
    wanted = {
        "dtype": "bfloat16",
        "engine": "vllm",
        "prompt": prompt(chat=True, shots=2, system="Solve it. " * 50),
    }
    with pytest.raises(UserError) as error:
        check_same(tmp_path, known, wanted | {"grader": "math 2", "budget.unit": "exact"})
    line = str(error.value).partition("(")[2]
    assert line.startswith(
        'policy.dtype was "float32" and is "bfloat16"; policy.engine was "local cpu" and is "vllm"; '
        "policy.prompt.chat was false and is true; and 4 more differ); choose another"
    )
    with pytest.raises(UserError) as error:
        check_same(tmp_path, {"prompt": prompt()}, {"prompt": prompt(system="Solve it. " * 50, shots=2)})
    told = (
        r"policy.prompt.system was null and is \"Solve it\. .{60,70}\"; policy.prompt.shots was 0 and is 2\);"
    )
    assert re.search(told, str(error.value))
    # What an earlier version wrote otherwise differs, whatever it says.
    with pytest.raises(UserError, match=r"policy\.prompt was "):
        check_same(tmp_path, {"prompt": prompt()}, {"prompt": prompt(shots=0)})


def test_a_run_prints_as_what_it_is(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=5)
    ledger_part(folder, 1, [{"purpose": "policy", "kind": "kept", "flops": 1_230_000}])
    assert repr(Run(folder)) == f"Run('{folder}', finished, 40 outcomes, 1.23e+06 FLOPs (paper) spent)"
    logged(folder, 9, {"outcomes": [{"key": "k", "state": "unaffordable"}]})
    assert "finished, 41 outcomes (40 answered, 1 unaffordable), " in str(Run(folder))
    # Whatever becomes of the folder.
    run = Run(folder)
    (folder / "status.json").write_text("{")
    assert repr(run) == f"Run('{folder}')"


def test_reading_a_finished_run(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", problems=5))
    assert len(run.outcomes()) == 5 * 8
    assert set(run.outcomes().column_names) == set(OUTCOMES.names)
    assert len(run.candidates(strategy="majority(n=4)")) == 20
    assert len(run.candidates(strategy="majority(n=4)", problem="p0002")) == 4
    assert run.candidates(columns=["tokens"]).column_names == ["tokens"]
    assert run.problem("p0003").question == "question 3?"
    assert run.problem("p0003").metadata == {"family": "sums", "length": 5}
    results = list(run.results())
    assert len(results) == 40
    beam = next(one for one in results if one.outcome["strategy"] == "beam(n=16,width=4)")
    assert beam.answer == beam.candidates[0]["answer"]
    assert beam.correct == (beam.answer == "42")
    with pytest.raises(UserError, match="did you mean 'p0003'"):
        run.problem("p003")


def test_reading_what_no_run_is(tmp_path: Path) -> None:
    write_run(tmp_path / "first", problems=2)
    with pytest.raises(UserError, match="did you mean"):
        Run(tmp_path / "frist")
    (tmp_path / "first" / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format is 99"):
        Run(tmp_path / "first")


def test_an_interrupted_run_is_read_from_its_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    part = pq.read_table(folder / "outcomes" / "part-000001.parquet")
    rows = rows_of(part)
    (folder / "outcomes" / "part-000001.parquet").unlink()
    (folder / "candidates" / "part-000001.parquet").unlink()
    segment = logged(folder, 1, {"task": "t", "outcomes": rows, "candidates": []})
    segment.write_bytes(segment.read_bytes() + b"torn")
    run = Run(folder)
    assert run.outcomes().sort_by("key").equals(part.sort_by("key"))
    assert len(run.candidates()) == 0
    assert len(list(run.results())) == len(rows)


def test_a_later_outcome_of_the_same_key_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    old = Run(folder)
    before = old.outcomes().to_pylist()
    again = next(row for row in before if row["strategy"] == "majority(n=4)")
    candidates = [row for row in old.candidates().to_pylist() if row["key"] == again["key"]]
    write_part(folder, "outcomes", [again | {"answer": "7"}])
    write_part(folder, "candidates", [row | {"answer": "7"} for row in candidates[:3]])
    run = Run(folder)
    table = run.outcomes().to_pylist()
    assert len(table) == len(before)
    assert [row["answer"] for row in table if row["key"] == again["key"]] == ["7"]
    kept = run.candidates(problem=again["problem_id"], strategy="majority(n=4)", columns=["answer"])
    assert kept.to_pylist() == [{"answer": "7"}] * 3
    assert len(run.candidates(strategy="majority(n=4)")) == 7
    results = [one for one in run.results() if one.outcome["key"] == again["key"]]
    assert [(one.answer, len(one.candidates)) for one in results] == [("7", 3)]


def write_part(folder: Path, table: str, rows: list[dict[str, object]]) -> None:
    schema = OUTCOMES if table == "outcomes" else CANDIDATES
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / table / "part-000002.parquet")


def test_problems_are_stored_once(tmp_path: Path) -> None:
    other, prompt = replace(PROBLEM, id="p2", answer=None), (1, 5)
    store = ProblemStore(tmp_path, stored_problems(tmp_path))
    assert store.content("p1") is None
    contents = store.store([(PROBLEM, PROMPT), (PROBLEM, PROMPT)])
    assert contents == [store.content("p1")] * 2 == [content_hash(PROBLEM, PROMPT)] * 2
    again = ProblemStore(tmp_path, stored_problems(tmp_path))
    assert again.store([(PROBLEM, PROMPT), (other, prompt)]) == [contents[0], content_hash(other, prompt)]
    parts = sorted(path.name for path in (tmp_path / "problems").iterdir())
    assert parts == ["part-000001.parquet", "part-000002.parquet"]
    ids = [pq.read_table(tmp_path / "problems" / part)["problem_id"].to_pylist() for part in parts]
    assert ids == [["p1"], ["p2"]]
    assert {name: stored_problems(tmp_path).get(name) for name in ("p1", "p2", "p3")} == {
        "p1": contents[0],
        "p2": content_hash(other, prompt),
        "p3": None,
    }


@pytest.mark.parametrize(
    ("problem", "prompt", "what"),
    [
        (
            replace(PROBLEM, question="1 + 2 = ?"),
            PROMPT,
            'its question was "1 \\+ 1 = \\?" in .* and is "1 \\+ 2 = ',
        ),
        (replace(PROBLEM, answer=None), PROMPT, 'its answer was "2" in .* and is null'),
        (replace(PROBLEM, reference="3"), PROMPT, "what its answers are judged by, are not those of before"),
        (PROBLEM, (1, 5), "the tokens of its prompt, or what"),
    ],
)
def test_what_is_stored_under_an_id_never_changes(
    problem: Problem, prompt: tuple[int, ...], what: str, tmp_path: Path
) -> None:
    ProblemStore(tmp_path, stored_problems(tmp_path)).store([(PROBLEM, PROMPT)])
    for store in (
        ProblemStore(tmp_path, stored_problems(tmp_path)),
        ProblemStore(tmp_path / "b", DigestMap()),
    ):
        if store.content("p1") is None:
            # Within one batch as well.
            (tmp_path / "b" / "problems" / "part-000001.parquet").hardlink_to(
                tmp_path / "problems" / "part-000001.parquet"
            )
        with pytest.raises(UserError, match=f"^dataset problem = 'p1': .*{what}.*choose another folder"):
            store.store([(PROBLEM, PROMPT), (problem, prompt)])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_books_are_those_of_parts_and_log_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    assert Run(folder).books() == ()
    row = {"purpose": "policy", "kind": "kept", "flops": 10}
    ledger_part(folder, 1, [row, row, row | {"purpose": "verifier", "flops": 3}])
    logged(folder, 2, {"ledger": [row, row | {"kind": "pruned", "flops": 7}]})
    # A crash between the ledger's part and the outcomes': the segment still stands, and counts alone.
    ledger_part(folder, 2, [row, row])
    assert Run(folder).books() == (
        Entry("policy", "kept", 30),
        Entry("policy", "pruned", 7),
        Entry("verifier", "kept", 3),
    )


def test_books_are_read_again_where_a_segment_became_a_part_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    row = {"purpose": "policy", "kind": "kept", "flops": 10}
    segment = logged(folder, 2, {"ledger": [row]})
    read = log.read_ledger

    def overtaken(of: Path) -> tuple[Entry, ...]:
        if segment.is_file():
            # As where the parts were listed before, and the log after the segment had become one.
            ledger_part(folder, 2, [row])
            write_part(folder, "outcomes", [])
            segment.unlink()
            return ()
        return read(of)

    monkeypatch.setattr(run_module, "read_ledger", overtaken)
    assert Run(folder).books() == (Entry("policy", "kept", 10),)


def test_states_count_the_last_row_of_every_outcome(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=3, ladder=(1,))
    rows = rows_of(pq.read_table(folder / "outcomes" / "part-000001.parquet"))
    assert Run(folder).states() == {"answered": len(rows)}
    unpaid = rows[0] | {"key": "new", "state": "unaffordable"}
    logged(folder, 2, {"outcomes": [unpaid, rows[1] | {"state": "quarantined"}], "ledger": []})
    assert Run(folder).states() == {"answered": len(rows) - 1, "quarantined": 1, "unaffordable": 1}


def test_an_outcome_without_an_answer_in_the_end_has_no_candidates(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=3, ladder=(1,))
    rows = rows_of(pq.read_table(folder / "outcomes" / "part-000001.parquet"))
    before = Run(folder).candidates()
    gone = rows[1] | {"state": "quarantined", "answer": None, "reason": "ValueError: no"}
    logged(folder, 2, {"outcomes": [gone], "candidates": [], "ledger": []})
    keys = [key for key in before["key"].to_pylist() if key != gone["key"]]
    assert len(keys) < len(before)
    assert Run(folder).candidates()["key"].to_pylist() == keys


def test_where_no_outcome_has_an_answer_in_the_end_there_are_no_candidates(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2, ladder=(1,))
    rows = rows_of(pq.read_table(folder / "outcomes" / "part-000001.parquet"))
    gone = [row | {"state": "quarantined", "answer": None, "correct": None} for row in rows]
    logged(folder, 2, {"outcomes": gone, "candidates": [], "ledger": []})
    left = Run(folder).candidates(problem="p0001", columns=["key", "tokens"])
    assert (len(left), left.column_names) == (0, ["key", "tokens"])
    assert [len(one.candidates) for one in Run(folder).results()] == [0] * len(rows)


def test_a_segment_that_becomes_a_part_meanwhile_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", problems=3, ladder=(1,))
    new = rows_of(pq.read_table(folder / "outcomes" / "part-000001.parquet"))[0] | {"key": "new"}
    segment = logged(folder, 2, {"outcomes": [new]})
    read = log.live_records

    def overtaken(of: Path) -> Iterator[dict[str, Any]]:
        if segment.is_file():
            write_part(folder, "outcomes", [new])
            segment.unlink()
            raise FileNotFoundError(segment)
        return read(of)

    monkeypatch.setattr(run_module, "live_records", overtaken)
    assert sum(Run(folder).states().values()) == 7
