"""Every data set of reasoning-gym by its name: a problem of each, judged by its own scoring."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reasoning_gym.factory import DATASETS

from actors.errors import UserError
from orchestration.api import settings_of
from orchestration.problems import Problem, load, make_grader
from orchestration.problems.workers import gym
from orchestration.setup.prepare import prepare

# They name no answer of theirs, for there are several: where an entry has an example of one, and of which kind it is.
WITHOUT_ANSWER = {
    "boxnet": None,
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
    "rush_hour": None,
}
# Its scoring asks whether there is an answer, not which: a text that says False is as true as any.
LENIENT = {"game_of_life_halting"}
# Made of other data sets, which an option has to hold whole; options are plain values here.
REFUSED = {"composite"}


def scored(problem: Problem, answer: str) -> float:
    """As the grader has it scored, in this process."""
    grader = make_grader("gym")
    reference, read = grader.reference_of(problem), grader.extract(f"So it is this.\n#### {answer}")
    assert reference is not None
    assert read is not None
    return gym.score(read, reference)


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - REFUSED))
def test_a_problem_of_each_is_judged_by_its_own_scoring(name: str) -> None:
    (problem,) = load(name, split="train", count=1)
    assert problem.question
    example: Any = problem.answer
    if name in WITHOUT_ANSWER:
        assert problem.answer is None
        key = WITHOUT_ANSWER[name]
        example = key and json.loads(str(problem.reference))["entry"]["metadata"][key]
        example = json.dumps(example) if isinstance(example, dict) else example
    if example is not None:
        assert scored(problem, str(example)) == 1.0
    if name in LENIENT:
        return
    try:
        wrong = scored(problem, "no answer at all")
    except Exception:  # what its scoring raises counts as wrong
        wrong = 0.0
    assert wrong < 1.0


def test_a_run_of_each_kind_has_its_own_grader() -> None:
    for name in ("chain_sum", "gsm_symbolic", "graph_color"):
        words = ["dataset=gym", f"dataset.name={name}", "dataset.count=1", "verifier=none"]
        prepared = prepare(settings_of([*words, "strategies=[greedy]"]))
        (problem,) = prepared.dataset
        assert prepared.grader.reference_of(problem) is not None


def test_one_that_is_made_of_others_is_refused_by_name() -> None:
    for name in REFUSED:
        with pytest.raises(UserError, match=f"^dataset.options = .*: {name} refuses them"):
            next(iter(load(name, count=1)))
