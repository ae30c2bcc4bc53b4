"""Worked examples of a run's prompts: where they are taken from, what they are part of, and what they leave as it was."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.api import settings_of
from orchestration.problems.problem import split_of
from orchestration.runs.identity import identify
from orchestration.runs.prompts import Prompts
from orchestration.runs.record import now
from orchestration.setup.prepare import Prepared, prepare

SMALL = [
    "domain=arithmetic",
    "strategies=[greedy]",
    "verifier=none",
    "policy.max_tokens=10",
    "policy.typical_tokens=10",
]
EASY = ["dataset.options={legs: [1,1], sums: 0.0}"]


def prepared(words: Sequence[str], *more: str) -> Prepared:
    return prepare(settings_of([*words, *SMALL, *EASY, *more]))


def rows(file: Path, *given: dict[str, object]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in given)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return f"policy.prompt.examples={file}"


def test_the_train_split_gives_examples_that_a_seed_chooses(words: list[str]) -> None:
    two = prepared(words, "policy.prompt.shots=2")
    examples = two.prompt.examples
    assert len(examples) == 3
    assert {split_of(question) for question, _ in examples} == {"train"}
    assert all("\n#### " in solution for _, solution in examples)
    assert prepared(words, "policy.prompt.shots=1").prompt.examples == examples[:2], "more go on from fewer"
    assert (
        prepared(words, "policy.prompt.shots=2", "policy.prompt.examples_seed=1").prompt.examples != examples
    )
    # Their steps end as the policy's.
    other = prepared(words, "policy.prompt.shots=2", 'policy.delimiter="\n\n"')
    assert [solution for _, solution in other.prompt.examples] == [
        solution.replace("\n", "\n\n") for _, solution in examples
    ]


def test_examples_are_in_lengths_and_ids_and_the_same_for_all_problems(words: list[str]) -> None:
    none, two = prepared(words), prepared(words, "policy.prompt.shots=2")
    begun = now()

    def ids(one: Prepared) -> list[tuple[int, ...]]:
        prompts = Prompts(one.prompt, one.policy.tokenizer, begun)
        return [prompts.ids(problem.question) for problem in one.dataset]

    lengths = [len(prompt) for prompt in ids(two)]
    assert (two.longest_prompt, two.prompt_tokens) == (max(lengths), round(sum(lengths) / len(lengths)))
    shared = len(ids(two)[0]) - len(ids(none)[0])
    assert shared > 20
    assert len({prompt[:shared] for prompt in ids(two)}) == 1


def test_a_file_is_read_whatever_its_columns_and_place(words: list[str], tmp_path: Path) -> None:
    one = {"question": "1 + 1?", "solution": "1 + 1 = 2"}
    worked = {"question": "2 + 2?", "solution": "2 + 2 = 4\n#### 4", "answer": 4}
    gsm = {"question": "3 + 3?", "answer": "3 + 3 = 6\n#### 6"}
    told = {"question": "4 + 4?", "solution": "It is eight.", "answer": 8}
    found = prepared(words, "policy.prompt.shots=2", rows(tmp_path / "a.jsonl", one, worked, gsm, told))
    assert sorted(found.prompt.examples) == [
        ("2 + 2?", "2 + 2 = 4\n#### 4"),
        ("3 + 3?", "3 + 3 = 6\n#### 6"),
        ("4 + 4?", "It is eight.\n#### 8"),
    ], "an example without an answer that the grader reads teaches to give none"
    moved = prepared(words, "policy.prompt.shots=2", rows(tmp_path / "b.jsonl.gz", told, gsm, one, worked))
    assert moved.prompt == found.prompt
    assert identify(moved) == identify(found)
    edited = rows(tmp_path / "b.jsonl.gz", told, gsm, worked | {"solution": "4.\n#### 4"})
    assert identify(prepared(words, "policy.prompt.shots=2", edited)) != identify(found)
    with pytest.raises(
        UserError, match=r"policy.prompt.shots = 4: .* has 3 worked examples that end in an answer"
    ):
        prepared(words, "policy.prompt.shots=4", f"policy.prompt.examples={tmp_path / 'a.jsonl'}")


def test_a_table_of_other_names_names_those_of_its_examples(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("q,a\n1 + 2 = ?,3\n5 + 5?,10\n")
    table = [word for word in words if not word.startswith("dataset")] + SMALL
    table += [
        "dataset=table",
        f"dataset.path={tmp_path / 'd.csv'}",
        "dataset.columns.question=q",
        "dataset.columns.answer=a",
    ]
    # The data set's own rows: no question is its own example.
    table += ["policy.prompt.shots=2", f"policy.prompt.examples={tmp_path / 'd.csv'}"]
    found = prepare(settings_of(table))
    texts = [found.prompt.text(problem.question) for problem in found.dataset]
    assert texts == ["5 + 5?\n#### 10\n\n1 + 2 = ?\n", "1 + 2 = ?\n#### 3\n\n5 + 5?\n"]


def test_without_examples_an_outcome_is_what_it_was(words: list[str]) -> None:
    none = prepared(words, "policy.prompt.template=Q: {question}", "policy.prompt.examples_seed=7")
    assert identify(none).prompt == '{"chat": false, "system": null, "template": "Q: {question}"}'


def test_the_bundled_policy_has_never_seen_an_example(words: list[str]) -> None:
    """Measured: with two, greedy gets none of 100 problems right, and 57 without."""
    own = [word for word in words if not word.startswith("policy.path=")]
    assert prepared(own).notes == ()
    (note,) = prepared(own, "policy.prompt.shots=1").notes
    assert "policy.prompt.shots is for models of yours" in note
    assert prepared(words, "policy.prompt.shots=1").notes == ()
