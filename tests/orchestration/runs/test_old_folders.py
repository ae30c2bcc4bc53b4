"""A run folder of the present format that an earlier version wrote is read and means the same, and is not gone on with."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import pytest

from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.report.write import make_report
from orchestration.runs.identity import KEYS, Identity, ModelIdentity
from orchestration.runs.run import Run
from orchestration.runs.session import opened
from orchestration.runs.status import read_status
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import ReportSettings
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
    """All but the intervals, which were those of a bootstrap then."""
    before = rows_of(old / "report" / name)
    make_report(Run(old), ReportSettings(figures=[]))
    after = rows_of(old / "report" / name)
    assert len(after) == len(before) > 0
    for row, known in zip(after, before, strict=True):
        kept = known.keys() - {"accuracy_low", "accuracy_high", "low", "high"}
        different = {key: (known[key], row[key]) for key in kept if not same(row[key], known[key])}
        assert different == {}, row["strategy"]


def test_it_is_not_gone_on_with(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its keys do not say all that a key says today: each outcome would be made again beside the old one."""
    before = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    words = ["strategies=[greedy,majority(n=4)]", "dataset.count=3", "seeds=[0,1]"]
    says = "have keys of version 1, which cannot be compared with those that this flopwise makes (2): "
    for more in ([], ["--dry-run"]):
        assert main(["evaluate", *more, *words, f"folder={old}"]) == 2
        complaint = capsys.readouterr().err
        assert (
            f"folder = '{old}': its outcomes {says}it can be read and reported; to go on, choose" in complaint
        )
        assert main(["evaluate", *more, *words, f"folder={old.parent / 'new'}", f"reuse=[{old}]"]) == 2
        assert f"reuse = '{old}': its samples {says}leave it out" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in old.rglob("*") if file.is_file()} == before
    assert not (old.parent / "new").exists()


def test_without_an_outcome_it_gives_way(old: Path) -> None:
    shutil.rmtree(old / "outcomes")
    words = ["strategies=[greedy]", "dataset.count=3", "verifier=none", f"folder={old}"]
    start = opened(prepare(settings_of(words)))
    assert (start.known, start.begun, start.anew) == (None, False, True)
    assert start.record["keys"] == KEYS


def test_how_it_stands_is_told_from_its_tables(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its status.json has a format of its own, which is not read any more."""
    assert json.loads((old / "status.json").read_text())["format"] == 1
    assert read_status(old) is None
    assert main(["status", str(old)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{old}: finished" in out
    assert "36 outcomes: 36 answered" in out
    assert main(["show", str(old)]) == 0


def test_salts_of_samples_and_scores_are_the_same_for_ever() -> None:
    models = {
        "policy": ModelIdentity("a1", "b2", "float32", "local cpu"),
        "verifier": ModelIdentity("c3", "b2", "float32", "local cpu"),
    }
    identity = Identity(models, "number-1", "{question}", "\n", 256)  # type: ignore[arg-type]
    assert identity.salt("policy") == "b127cd94add63f6548931c0bf2f12a45"
    assert identity.salt("verifier") == "fedf66004c2c7258ce96fd1e7c1bbad1"
