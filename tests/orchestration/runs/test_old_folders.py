"""A run folder of the present format that an earlier version wrote is read, means the same and has the same keys."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from actors.strategy import asked_by
from orchestration.commands.main import main
from orchestration.problems import Problem
from orchestration.report.write import make_report
from orchestration.runs.identity import Identity, ModelIdentity, outcome_key, problem_hash
from orchestration.runs.run import Run
from orchestration.runs.status import read_status
from orchestration.setup.settings import ReportSettings
from orchestration.strategies.parse import parse
from tests.support.places import ROOT

OLD = ROOT / "tests" / "support" / "old_run"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Three problems by six strategies with two seeds, and the tables of the report that was made of them then."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def same(one: str, other: str) -> bool:
    """Equal texts, or numbers that are equal up to how sums are rounded."""
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=1e-9)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["table.csv", "differences.csv"])
def test_its_report_has_the_same_numbers(old: Path, name: str) -> None:
    before = rows_of(old / "report" / name)
    make_report(Run(old), ReportSettings(figures=[]))
    after = rows_of(old / "report" / name)
    assert len(after) == len(before) > 0
    for row, known in zip(after, before, strict=True):
        different = {key: (known[key], row[key]) for key in known if not same(row[key], known[key])}
        assert different == {}, row["strategy"]


def test_its_outcomes_have_the_keys_that_they_would_have_today(old: Path) -> None:
    run = Run(old)
    known: dict[str, Any] = json.loads((old / "run.json").read_text())["identity"]
    identity = Identity(
        models={
            "policy": ModelIdentity(known["policy"], known["tokenizer"], known["dtype"], known["engine"]),
            "verifier": ModelIdentity(
                known["verifier"], known["tokenizer"], known["verifier_dtype"], known["verifier_engine"]
            ),
        },
        **{name: known[name] for name in ("grader", "prompt", "delimiter", "max_tokens")},
    )
    assert identity.flat() == known
    problems = {
        row["problem_id"]: problem_hash(Problem(row["problem_id"], row["question"], row["answer"]))
        for row in run.problems().to_pylist()
    }
    outcomes = run.outcomes().to_pylist()
    assert len(outcomes) == 3 * 6 * 2
    for row in outcomes:
        strategy = parse(row["strategy"])
        content = problems[row["problem_id"]]
        assert row["key"] == outcome_key(content, strategy.text, asked_by(strategy), row["seed"], identity)


def test_how_it_stands_is_told_from_its_tables(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its status.json has a format of its own, which is not read any more."""
    assert json.loads((old / "status.json").read_text())["format"] == 1
    assert read_status(old) is None
    assert main(["status", str(old)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{old}: finished" in out
    assert "36 outcomes: 36 answered" in out
    assert main(["show", str(old)]) == 0


def test_samples_and_scores_have_the_salts_that_they_would_have_today() -> None:
    models = {
        "policy": ModelIdentity("a1", "b2", "float32", "local"),
        "verifier": ModelIdentity("c3", "b2", "float32", "local"),
    }
    identity = Identity(models, "number-1", "{question}", "\n", 256)  # type: ignore[arg-type]
    assert identity.salt("policy") == "69acab0e4ee93562793821eca7066a29"
    assert identity.salt("verifier") == "e4b5de47be93923d5becd4bb781ecebc"
