"""Every row of docs/errors.md by the real command, with real files: its message, exit code 2, nothing started or written.

The cases are made in `tests.support.bad_input`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.store.log import FolderLock
from actors.store.schema import OUTCOMES
from orchestration.commands.main import main
from orchestration.runs.run import Run
from tests.support.bad_input.cases import (
    CASES,
    GOOD,
    HELD,
    LONG,
    NUMBERS,
    OTHER,
    REASONS,
    ROW_CASES,
    UNPRIVILEGED,
    documented,
    edit,
    evaluate,
    pattern,
    table,
)
from tests.support.bad_input.machine import begun, spent_budget
from tests.support.here import without_ray
from tests.support.log_files import ledger_part, logged
from tests.support.unprivileged import unprivileged


@pytest.fixture
def here(models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a policy and a verifier, in which nothing may be started."""
    for name, folder in zip(("policy", "prm"), models, strict=True):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    monkeypatch.setattr(FolderLock.__init__, "__defaults__", (0.1,))
    # A user's package is found beside it, and stays imported.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {name: sys.modules.get(name) for name in ("mine", "vllm", "peft")}
    yield tmp_path
    # What a case sets is forgotten after it.
    os.environ.clear()
    os.environ.update(environment)
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    for lock in HELD:
        lock.release()
    HELD.clear()


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("actors.cluster.placement.start_ray", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("here", "nothing_starts")
def test_a_resume_sees_what_was_spent_beyond_64_bits(capsys: pytest.CaptureFixture[str]) -> None:
    folder, more = begun("budget.flops=2e19"), 3 * 10**29 + 7
    row: dict[str, object] = {"purpose": "policy", "kind": "kept", "flops": 6 * 10**18}
    ledger_part(folder, 2, [row, row])
    (folder / "outcomes").mkdir()
    pq.write_table(OUTCOMES.empty_table(), folder / "outcomes" / "part-000002.parquet")
    words = [*evaluate(f"folder={folder}"), "--dry-run"]
    assert main([*words, "budget.flops=11e18"]) == 2
    assert f"has spent {12 * 10**18:,} already" in capsys.readouterr().err
    logged(folder, 3, {"ledger": [row | {"flops": more}]})
    assert main([*words, "budget.flops=2e19"]) == 2
    assert f"has spent {12 * 10**18 + more:,} already" in capsys.readouterr().err
    assert main([*words, "budget.flops=1e30"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1.00e30 FLOPs (paper), 3.00e29 of it spent in this folder, 7.00e29 left" in out


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, every folder and link with None."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if plain else None
    return found


@pytest.mark.usefixtures("here", "nothing_starts")
def test_a_dry_run_tells_what_is_left_of_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*spent_budget()[:-1], "--dry-run"]
    assert main([*words, "budget.flops=1e7"]) == 2
    assert re.fullmatch(
        rf"error: {pattern('a budget that the folder has spent already').pattern}\n", capsys.readouterr().err
    )
    assert main([*words, "budget.flops=12000005"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1.20e7 FLOPs (paper), 1.20e7 of it spent in this folder, 0.00e0 left: about 0 generations" in out
    assert "What is left of the budget does not suffice: it pays about 0% of what is expected" in out
    assert main([*words, "budget.flops=1e15"]) == 0
    assert "What is left of the budget suffices" in capsys.readouterr().out
    assert main([word for word in words if not word.startswith("folder")] + ["budget.flops=1e15"]) == 0
    assert "The budget suffices" in capsys.readouterr().out


def test_every_row_of_the_docs_has_a_case() -> None:
    assert {*CASES, *ROW_CASES, *REASONS} == set(documented())
    assert len(CASES) + len(ROW_CASES) + len(REASONS) == len(documented())
    assert NUMBERS | UNPRIVILEGED <= set(documented())


@pytest.mark.usefixtures("here", "nothing_starts")
def test_a_start_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        main(table(GOOD, OTHER))


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_line_and_nothing_is_started_or_written(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = CASES[name]()
    before = contents(here)
    with unprivileged() if name in UNPRIVILEGED else nullcontext():
        assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    assert re.fullmatch(rf"error: {pattern(name).pattern}", said.err[:-1]), said.err
    assert contents(here) == before


@pytest.mark.usefixtures("here", "nothing_starts")
@pytest.mark.parametrize("budget", ["flops=4e6", "generations=1", "tokens=39", "generations=1 budget=exact"])
def test_a_budget_pays_one_generation_at_its_worst(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    amount, *option = budget.split()
    assert main(evaluate("strategies=[beam(n=4)]", f"budget.{amount}", *option)) == 2
    assert f"error: budget.{amount.split('=')[0]} = " in capsys.readouterr().err
    name = amount.split("=")[0]
    plenty = {"flops": "1e10", "generations": "4", "tokens": "80"}[name]
    assert main(evaluate("--dry-run", f"budget.{name}={plenty}", *option)) == 0


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("name", ROW_CASES)
def test_a_row_is_left_out_with_its_reason(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ROW_CASES[name]()
    before = contents(here)
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [line for line in said.out.splitlines() if pattern(name).fullmatch(line)], said.out
    assert contents(here) == before


def test_what_a_run_leaves_out_is_kept_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("prm/config.json", max_position_embeddings=150)
    middling = {"question": "1 + " * 70 + "1 = ?", "answer": "71"}
    bad = [{"answer": "[/red]"}, "{", GOOD, '{"question": "\\ud83d ?"}', OTHER | {"answer": []}, ["list"]]
    words = table(GOOD, *bad, middling, OTHER, LONG, "{}", more=["folder=run", "report=table"])
    shutil.copytree("policy", "reviser")
    edit("reviser/config.json", max_position_embeddings=150)
    revised = "revision(sequential=2,parallel=1,select=majority)"
    words = [word for word in words if not word.startswith("strategies")]
    words += [f"strategies=[greedy,best_of_n(n=2),{revised}]", "reviser=folder", "reviser.path=reviser"]
    words += [f"cluster.{role}.cpus=0.5" for role in ("policy", "reviser")]
    with without_ray():
        assert main(words) == 3
    out = capsys.readouterr().out
    # At the start, in the folder, at the end, in the report.
    assert "row 1 of problems.jsonl was skipped: no question ('question' is missing)" in out
    assert "and 2 more rows were skipped; a run lists them in run/quarantined.jsonl" in out
    rows = [json.loads(line) for line in Path("run/quarantined.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6, 10]
    assert rows[2] == {
        "row": 3,
        "reason": "question given twice",
        "detail": "the question stands in row 0 already",
    }
    assert "quarantined 7 of the data's rows: see run/quarantined.jsonl" in out
    told = "quarantined 5 of the outcomes, which have no number: see run/report/report.md; retry=quarantined tries them again"
    assert told in out
    page = Path("run/report/report.md").read_text()
    assert "| rows | no question | row 1: 'question' is missing | 2 |" in page
    outcomes = [row for row in Run("run").outcomes().to_pylist() if row["state"] == "quarantined"]
    reasons = {(row["strategy"], row["reason"]) for row in outcomes}
    assert len(reasons) == 5
    refused = (["best_of_n(n=2)", "greedy", revised], ["best_of_n(n=2)"], [revised])
    for name, strategies in zip(REASONS, refused, strict=True):
        assert sorted(text for text, why in reasons if pattern(name).fullmatch(why)) == strategies
        assert re.search(rf"\| outcomes \| {pattern(name).pattern} \| [^|]+ \| {len(strategies)} \|", page)
    assert sum(row["spent_flops"] for row in outcomes) == 0
    assert len(pq.read_table("run/problems")) == 4
    # The next start reads the data anew.
    table(GOOD, OTHER, middling, LONG)
    with without_ray():
        assert main(words) == 3
    assert not Path("run/quarantined.jsonl").exists()
    assert os.listdir("run/report")
