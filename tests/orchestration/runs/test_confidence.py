"""Runs of the bundled models whose verifier is the policy's own confidence: what is stored, and what is found again."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from orchestration.api import Run, calibrate, evaluate, report
from orchestration.runs.folder import read_record
from orchestration.setup.domains import MODELS
from tests.support.here import without_ray
from tests.support.served import ServerProcess

STRATEGIES = ["best_of_n(n=4)", "beam(n=4,width=2)", "particle_filtering(n=4)", "lookahead(n=4,width=2,k=1)"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "first"
    with without_ray():
        return evaluate(STRATEGIES, folder=folder, count=3, verifier="confidence")


def rows(run: Run, table: str) -> list[dict[str, Any]]:
    parts = sorted((run.folder / table).glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def likelihoods(samples: list[dict[str, Any]], problem: str, ids: list[int]) -> list[float]:
    """The log-probabilities of a solution's tokens, put together from the draws that are stored of it."""
    at = len(ids)
    found: list[float] = []
    while at:
        draw = next(
            one
            for one in samples
            if one["problem_id"] == problem
            and one["start"] < at
            and one["token_ids"] == ids[one["start"] : at]
        )
        found = draw["logprobs"] + found
        at = draw["start"]
    return found


def test_scores_are_what_the_stored_samples_say(first: Run) -> None:
    samples, candidates = rows(first, "samples"), rows(first, "candidates")
    assert {one["strategy"].partition("(")[0] for one in candidates} == {
        s.partition("(")[0] for s in STRATEGIES
    }
    told: set[float] = set()
    for one in candidates:
        told_by = likelihoods(samples, one["problem_id"], one["token_ids"])
        means = [math.exp(math.fsum(told_by[:end]) / end) for end in one["step_tokens"]]
        assert one["scores"] == pytest.approx(means, abs=1e-6)
        told |= set(means)
    stored = rows(first, "scores")
    assert len({row["key"] for row in stored}) == len(stored) > 20
    values = [row["value"] for row in stored]
    assert all(min(abs(value - mean) for value in values) < 1e-6 for mean in told)


def test_nothing_is_charged_for_it(first: Run) -> None:
    record, outcomes = read_record(first.folder, "run"), first.outcomes()
    assert list(record["models"]) == ["policy"]
    assert record["identity"]["verifier"] == f"mean_logprob of {record['identity']['policy']}"
    assert {row["purpose"] for row in rows(first, "ledger")} == {"policy"}
    assert pc.sum(outcomes["verifier_tokens"]).as_py() == 0
    paper, tokens = (pc.sum(outcomes[name]).as_py() for name in ("spent_flops", "policy_tokens"))
    assert paper == 2 * record["models"]["policy"]["cost"]["parameters"] * tokens


def test_a_weighted_vote_is_that_by_likelihood(first: Run) -> None:
    measures = report(first).measures
    assert measures.verifier is not None
    assert measures.verifier.overall == pytest.approx(measures.verifier.likelihood_overall)


def test_what_is_there_is_drawn_no_second_time(first: Run, tmp_path: Path) -> None:
    again = [*STRATEGIES, "majority(n=4)", "best_of_n(n=2,weighted=false)"]
    with without_ray():
        run = evaluate(
            again,
            folder=tmp_path / "again",
            count=3,
            verifier="confidence",
            settings=[f"reuse=[{first.folder}]"],
        )
    assert pc.sum(run.outcomes()["spent_flops"]).as_py() == 0
    assert rows(run, "samples") == rows(run, "scores") == []
    before = {(one["key"], one["index"]): one["scores"] for one in rows(first, "candidates")}
    after = {(one["key"], one["index"]): one["scores"] for one in rows(run, "candidates")}
    assert before.items() <= after.items()


def drawn(of: Run) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(one["strategy"], one["problem_id"], *one["token_ids"]): one for one in rows(of, "candidates")}


def check_alike(here: Run, elsewhere: Run) -> int:
    """Whether equal solutions have equal scores; returns how many are equal."""
    mine, theirs = drawn(here), drawn(elsewhere)
    both = mine.keys() & theirs.keys()
    for name in both:
        assert theirs[name]["scores"] == pytest.approx(mine[name]["scores"], abs=1e-4)
    return len(both)


def test_behind_an_address_it_is_the_same(first: Run, server: ServerProcess, tmp_path: Path) -> None:
    url = server.serve("confident", MODELS / "countdown" / "policy")
    with without_ray():
        run = evaluate(
            STRATEGIES[:2],
            folder=tmp_path / "served",
            count=1,
            verifier="confidence",
            settings=["policy.engine=http", f"policy.url={url}"],
        )
    assert check_alike(first, run) == len(drawn(run)) > 2


@pytest.mark.vllm
@pytest.mark.slow
def test_on_vllm_it_is_the_same(first: Run, tmp_path: Path) -> None:
    with without_ray():
        run = evaluate(
            STRATEGIES[:2],
            folder=tmp_path / "vllm",
            count=3,
            verifier="confidence",
            settings=["policy.engine=vllm"],
        )
    # It draws otherwise, and of short solutions some are the same.
    assert check_alike(first, run) > 2
    for one in rows(run, "candidates"):
        sums = itertools.accumulate(one["logprobs"])
        means = [math.exp(total / end) for total, end in zip(sums, one["step_tokens"], strict=True)]
        assert one["scores"] == pytest.approx(means, abs=1e-6)


def test_a_plan_is_made_with_it_and_for_it_alone(tmp_path: Path) -> None:
    swept = ["best_of_n(n=4)", "beam(n=4)"]
    with without_ray():
        plan = calibrate(swept, folder=tmp_path / "swept", count=50, verifier="confidence")
        assert plan.made.models["verifier"].startswith("mean_logprob of ")
        assert not plan.offer.prompt
        given = {
            "folder": tmp_path / "priced",
            "count": 4,
            "budget": 4e9,
            "settings": ["budget.allocation=global"],
        }
        by_plan = f"compute_optimal(plan='{tmp_path / 'swept' / 'plan.yaml'}')"
        run = evaluate(by_plan, verifier="confidence", **given)
        with pytest.raises(UserError, match="made with another verifier"):
            evaluate(by_plan, **given | {"folder": tmp_path / "other"})
    outcomes = run.outcomes()
    assert pc.sum(outcomes["verifier_tokens"]).as_py() == 0
    assert "answered" in outcomes["state"].to_pylist()
