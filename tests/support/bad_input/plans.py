"""What cannot be planned from: runs and sweeps with too little to learn from, files that are no plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.store.schema import CANDIDATES
from tests.support.bad_input.cases import Words, case, evaluate, table
from tests.support.planned import write_planned


def sweep(*more: str) -> Words:
    return ["calibrate", *evaluate(*more)[1:]]


def changed(folder: str, change: Callable[[dict[str, Any]], dict[str, Any]], **more: Any) -> str:
    """A run whose candidates were changed."""
    part = write_planned(Path(folder), ladder=(1, 4), **more) / "candidates" / "part-000001.parquet"
    rows = [row | change(row) for row in pq.read_table(part).to_pylist()]
    pq.write_table(pq.read_table(part).from_pylist(rows, schema=CANDIDATES), part)
    return folder


@case
def few_problems() -> Words:
    """a sweep of fewer problems than a plan takes"""
    return sweep("dataset.count=20")


@case
def few_rows() -> Words:
    """a sweep of a table that is too short"""
    rows = [{"question": f"{number} + 1 = ?", "answer": str(number + 1)} for number in range(20)]
    return sweep(*table(*rows)[5:], "dataset.count=null", "strategies=[best_of_n(n=4)]")


@case
def no_labels_to_learn_from() -> Words:
    """a sweep of problems without answers"""
    rows = [{"question": f"{number} + 1 = ?"} for number in range(60)]
    return sweep(*table(*rows)[5:], "dataset.columns.answer=null", "strategies=[best_of_n(n=4)]")


@case
def no_samples() -> Words:
    """a sweep in which nothing draws whole samples"""
    return sweep("strategies=[greedy,beam(n=4)]")


@case
def plain_votes() -> Words:
    """a sweep whose samples no plan is for"""
    return sweep("strategies=[majority(n=4)]")


@case
def few_solved() -> Words:
    """a plan from a run of few problems"""
    write_planned(Path("runs/few"), problems=12, ladder=(1, 4))
    return ["calibrate", "runs/few"]


@case
def all_wrong() -> Words:
    """a plan from a run of which every answer is wrong"""
    return ["calibrate", changed("runs/hard", lambda row: {"correct": False})]


@case
def all_right() -> Words:
    """allocators compared on a run of which every answer is right"""
    return ["compare-allocators", changed("runs/easy", lambda row: {"correct": True})]


@case
def no_steps() -> Words:
    """another budget asked of a run that kept no steps"""
    return ["whatif", changed("runs/answers", lambda row: {"steps": None, "token_ids": None})]


@case
def judged_by_a_writer() -> Words:
    """another budget asked of a run whose verifier wrote before it scored"""
    record = write_planned(Path("runs/judged"), problems=50, ladder=(1, 4)) / "run.json"
    told = json.loads(record.read_text())
    told["models"]["verifier"]["cost"] |= {"writes": 120, "chains": 1}
    record.write_text(json.dumps(told))
    return ["whatif", "runs/judged"]


@case
def few_samples() -> Words:
    """allocators compared on fewer samples than some begin with"""
    write_planned(Path("runs/few"), problems=50, ladder=(1, 4))
    return ["compare-allocators", "runs/few", "strategies=[majority(n=1)]"]


@case
def known_is_judged() -> Words:
    """allocators that would learn from the problems that they are judged on"""
    for name in ("runs/test", "runs/same"):
        write_planned(Path(name), problems=50, ladder=(1, 4))
    return ["compare-allocators", "runs/test", "known=runs/same"]


@case
def known_of_others() -> Words:
    """allocators that would learn from a run of another policy"""
    write_planned(Path("runs/test"), problems=50, ladder=(1, 4))
    record = write_planned(Path("runs/other"), problems=50, ladder=(1, 4), seed=1) / "run.json"
    record.write_text(record.read_text().replace('"policy": "p0"', '"policy": "p1"'))
    return ["compare-allocators", "runs/test", "known=runs/other"]


@case
def known_draws_otherwise() -> Words:
    """allocators that would learn from samples of another kind"""
    write_planned(Path("runs/test"), problems=50, ladder=(1, 4))
    write_planned(Path("runs/calibrate"), problems=50, ladder=(1, 4), seed=1)
    return ["compare-allocators", "runs/test", "strategies=[majority(n=4)]", "known=runs/calibrate"]


@case
def no_oracle() -> Words:
    """oracle difficulty without labels"""
    write_planned(Path("runs/blind"), problems=50, ladder=(1, 4), labels=False)
    return ["difficulty", "runs/blind"]


@case
def no_column_of_people() -> Words:
    """a column that does not say how hard problems are"""
    write_planned(Path("runs/old"), problems=50, ladder=(1, 4))
    return ["difficulty", "runs/old", "by=[levle]"]


@case
def verifier_gone() -> Words:
    """prompts to be judged by a verifier that is gone"""
    write_planned(Path("runs/old"), problems=50, ladder=(1, 4))
    return ["difficulty", "runs/old", "prompt=true"]


@case
def prompts_without_a_token() -> Words:
    """prompts to be judged by the policy's own confidence"""
    record = write_planned(Path("runs/old"), problems=50, ladder=(1, 4)) / "run.json"
    told = json.loads(record.read_text())
    del told["models"]["verifier"]
    told["identity"]["verifier"] = f"mean_logprob of {told['identity']['policy']}"
    record.write_text(json.dumps(told))
    return ["difficulty", "runs/old", "prompt=true"]


@case
def no_scores_for_a_vote() -> Words:
    """a weighted vote of samples without scores"""
    write_planned(Path("runs/plain"), problems=50, ladder=(1, 4))
    return ["whatif", "runs/plain", "strategies=[majority(n=4)]", "vote=weighted"]


@case
def budgets_and_prices() -> Words:
    """budgets and prices at once"""
    return ["whatif", "runs/old", "budgets=[1e9]", "prices=[1e-9]"]


@case
def no_bins_by_prompts() -> Words:
    """a plan whose bins nothing tells"""
    write_planned(Path("runs/old"), problems=50, ladder=(1, 4))
    return ["calibrate", "runs/old", "plan.difficulty=prompt"]


@case
def bins_without_a_token() -> Words:
    """bins by prompts of the policy's own confidence"""
    words = [word for word in sweep() if not word.startswith("verifier")]
    return [*words, "verifier=confidence", "plan.difficulty=prompt"]


@case
def misspelt_difficulty() -> Words:
    """a difficulty that is misspelt"""
    return ["calibrate", "runs/old", "plan.difficulty=promt"]


@case
def other_models_beside() -> Words:
    """a run of other models beside a report's own"""
    for name in ("one", "other"):
        write_planned(Path("runs") / name, problems=4, ladder=(1, 4))
    record = Path("runs/other/run.json")
    record.write_text(record.read_text().replace('"policy": "p0"', '"policy": "p1"'))
    return ["report", "runs/one", "report.beside=[runs/other]"]


@case
def drawn_settings() -> Words:
    """settings of a sweep for a run that is there"""
    return ["calibrate", "runs/old", "dataset.count=400"]


@case
def run_that_is_none() -> Words:
    """a plan from a folder that is no run"""
    Path("notes").mkdir()
    return ["calibrate", "notes"]


@case
def no_plan_there() -> Words:
    """a plan that is not there"""
    return ["explain", "plan.yaml"]


@case
def no_plan() -> Words:
    """a file that is no plan"""
    Path("plan.yaml").write_text("made: yesterday\n")
    return ["explain", "plan.yaml"]


@case
def plan_of_another_format() -> Words:
    """a plan of another format"""
    Path("plan.yaml").write_text("format: 99\n")
    return ["explain", "plan.yaml"]
