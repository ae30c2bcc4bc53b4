"""Predicted difficulty held against the oracle's and against people's labels, and the verifier's value of a prompt alone."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from actors.engines.model_config import model_hash
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.errors import UserError
from actors.store.digests import DigestMap
from orchestration.planning.difficulty_report import DifficultyReport, report_difficulty
from orchestration.planning.prompt_values import prompt_values, stored_values
from orchestration.planning.sources import read_source
from orchestration.problems import PromptFormat, load
from orchestration.runs.problem_store import PROBLEMS, ProblemStore
from orchestration.runs.prompts import Prompts
from orchestration.runs.run import Run
from tests.support.planned import write_planned
from tests.support.tiny_models import SHAPE

PROBLEM_COUNT = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_planned(tmp_path_factory.mktemp("difficulty") / "run", problems=PROBLEM_COUNT))


def reported(
    run: Run, *, samples: int = 4, by: tuple[str, ...] = (), alone: object = None
) -> DifficultyReport:
    return report_difficulty(run, read_source(run), samples, by, alone)  # type: ignore[arg-type]


def with_column(run: Run, folder: Path, name: str, value: object) -> Run:
    """The run with another column of its problems' metadata; `value` gives it by the problem's number."""
    other = Run(write_planned(folder, problems=PROBLEM_COUNT))
    part = other.folder / "problems" / "part-000001.parquet"
    table = pq.read_table(part)
    rows = [
        row | {"metadata": json.dumps({name: value(number)})}  # type: ignore[operator]
        for number, row in enumerate(table.to_pylist())
    ]
    pq.write_table(table.from_pylist(rows, schema=PROBLEMS), part)
    return other


def test_prediction_agrees_with_the_oracle_and_both_with_the_length(run: Run) -> None:
    found = reported(run)
    by = {(one.name, one.held): one for one in found.ways}
    guess = by["predicted, 4 samples", "oracle"].agreement
    assert 0.4 < guess.rank < 1
    assert guess.confusion.sum() == guess.problems == PROBLEM_COUNT
    # The made-up run has longer problems harder, so labels that rise with difficulty agree.
    assert by["oracle", "length"].agreement.rank > 0.6
    assert by["predicted, 4 samples", "length"].agreement.rank > 0.4
    assert not any(one.warning for one in found.ways)


def test_fewer_samples_predict_less(run: Run) -> None:
    [one], [eight] = (
        [way.agreement.rank for way in reported(run, samples=count).ways if way.name.startswith("predicted")][
            :1
        ]
        for count in (1, 8)
    )
    assert one < eight


def test_labels_about_something_else_are_warned_of(run: Run, tmp_path: Path) -> None:
    odd = with_column(run, tmp_path / "odd", "level", lambda number: f"Level {1 + number * 7919 % 5}")
    warnings = [one.warning for one in reported(odd).ways if one.warning]
    assert any("finds other problems hard than level says" in one for one in warnings)


def test_a_column_that_is_no_measure_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"by = 'levle': no problem has such a column; they have family, length"
    ):
        reported(run, by=("levle",))
    with pytest.raises(UserError, match="by = 'family': its values are no numbers that differ"):
        reported(run, by=("family",))


def test_a_prompts_own_value_is_held_against_the_oracle(run: Run) -> None:
    source = read_source(run)
    alone = {pool.problem: pool.rate for pool in source.pools}
    [told] = [one for one in reported(run, alone=alone).ways if "prompt alone" in one.name]
    assert told.agreement.rank > 0.9


def test_where_nothing_differs_or_little_is_known_there_is_no_number(run: Run) -> None:
    """It is said so, and nothing fails."""
    source = read_source(run)
    names = [pool.problem for pool in source.pools]
    few = reported(run, alone=dict.fromkeys(names[:4], 0.5))
    assert not any("prompt alone" in one.name for one in few.ways)
    assert any("4 prompts alone" in note for note in few.notes)
    [same] = [
        one for one in reported(run, alone=dict.fromkeys(names, 0.5)).ways if "prompt alone" in one.name
    ]
    assert same.agreement.rank is None
    assert "does not vary" in same.warning


def with_models(folder: Path, models: tuple[Path, Path], *, judges: bool) -> Run:
    """A run of three problems as its prompts were given, with a verifier that judges a prompt alone or does not."""
    write_planned(folder, problems=3)
    for part in (folder / "problems").iterdir():
        part.unlink()
    verifier = folder / "prm"
    shutil.copytree(models[1], verifier)
    torch.manual_seed(3)
    ValueHead(ValueHeadConfig(SHAPE.width, prompt=judges)).save(verifier)
    prompts = Prompts(PromptFormat(), models[0], "2026-01-01T00:00:00+0000")
    problems = list(itertools.islice(load("arithmetic", split="test", count=3), 3))
    ProblemStore(folder, DigestMap()).store(
        [(one, prompts.ids(one.question)) for one in problems], prompts.text
    )
    record = json.loads((folder / "run.json").read_text())
    record["models"]["policy"]["path"], record["models"]["verifier"]["path"] = str(models[0]), str(verifier)
    record["identity"] |= {"verifier": model_hash(verifier), "verifier_dtype": "float32"}
    (folder / "run.json").write_text(json.dumps(record))
    return Run(folder)


def test_values_of_prompts_are_told_once_by_the_runs_verifier_and_kept(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    judged = with_models(tmp_path / "run", models, judges=True)
    assert stored_values(judged) == {}
    found = prompt_values(judged)
    assert set(found) == set(judged.problems(["problem_id"])["problem_id"].to_pylist())
    assert all(0 < value < 1 for value in found.values())
    assert len(set(found.values())) == 3
    # What is kept needs no verifier.
    shutil.rmtree(tmp_path / "run" / "prm")
    assert prompt_values(judged) == stored_values(judged) == found


def test_a_verifier_that_judges_no_prompt_says_so(models: tuple[Path, Path], tmp_path: Path) -> None:
    blind = with_models(tmp_path / "run", models, judges=False)
    with pytest.raises(UserError, match="its verifier judges no prompt before a step"):
        prompt_values(blind)
    assert stored_values(blind) == {}


def test_a_verifier_that_is_gone_is_named(run: Run) -> None:
    with pytest.raises(UserError, match=r"is not at .* any more"):
        prompt_values(run)
