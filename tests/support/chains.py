"""A run in which a model is said to have drawn chains of attempts, made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.engines.model_config import model_hash
from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.api import settings_of
from orchestration.runs.identity import identify
from orchestration.runs.record import run_record, write_record
from orchestration.setup.prepare import prepare
from tests.support.model_folders import EOS

CHAINS = "revision(sequential=4,parallel=2)"


def attempt(index: int, ids: list[int], right: bool, parent: int = -1, **more: Any) -> dict[str, Any]:
    """A row of candidates: the attempt behind number `parent` in its chain, -1: the first."""
    base = {
        "key": "k",
        "problem_id": "p",
        "strategy": CHAINS,
        "seed": 0,
        "index": index,
        "parent": parent,
        "depth": 0,
        "steps": [f"{ids}"],
        "token_ids": [*ids, EOS],
        "step_tokens": [1, len(ids)] if len(ids) > 1 else [1],
        "finish_reason": "eos",
        "answer": "7",
        "correct": right,
        "kept": True,
    }
    return base | more


def write_chains(
    folder: Path, reviser: Path, *more: str, problems: int = 16, right: bool = True, strategy: str = CHAINS
) -> None:
    """A run of training problems, with two chains of two attempts for each: which of two equal answers is right stands in
    what was attempted before it; without `right` none is. `more` are further words of its evaluation."""
    words = ["dataset=arithmetic", "dataset.split=train", f"dataset.count={problems}", "verifier=none"]
    words += [f"policy.path={reviser}", "strategies=[greedy]", "policy.max_tokens=100", *more]
    prepared = prepare(settings_of(words))
    folder.mkdir(parents=True)
    write_record(folder, prepared, run_record(prepared, identify(prepared), None))
    record = json.loads((folder / "run.json").read_text())
    record["identity"]["reviser"] = model_hash(reviser)
    (folder / "run.json").write_text(json.dumps(record))
    rows = []
    for problem in prepared.dataset:
        told = {"key": problem.id, "problem_id": problem.id, "strategy": strategy}
        for chain in (0, 2):
            rows.append(attempt(chain, [30 + chain], False, **told))
            rows.append(attempt(chain + 1, [50], right and chain == 0, parent=chain, **told))
    for name, schema, content in (("candidates", CANDIDATES, rows), ("outcomes", OUTCOMES, [])):
        (folder / name).mkdir()
        pq.write_table(pa.Table.from_pylist(content, schema=schema), folder / name / "part-000000.parquet")
