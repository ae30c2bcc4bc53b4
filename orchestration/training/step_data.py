"""From a finished run of sampled solutions to labelled steps: what a process reward model is trained on.

An outcome reward model is trained on whole answers, each with the attempts of its chain before it. It reads the run's tables
alone and knows nothing of models. Invariant: a solution without a readable answer, or cut off,
labels nothing (paper section 5.1), every sample that labels nothing is counted under its reason, and no problem is in both
parts of a split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from actors.errors import counted
from actors.seeds import derive


@dataclass(frozen=True, slots=True)
class Solved:
    """A sampled solution: token ids (after the prompt), exclusive step ends, a soft label in [0, 1] a step (the share of
    correct continuations), whether its own answer is right, and the label of its prompt: the share of all samples of the
    problem that are right. `earlier` are the attempts that its policy had before it, oldest first."""

    problem_id: str
    token_ids: tuple[int, ...]
    step_ends: tuple[int, ...]
    labels: tuple[float, ...]
    correct: bool
    prompt_label: float
    earlier: tuple[tuple[int, ...], ...] = ()


CUT_OFF = "cut off at max_tokens"
UNREADABLE = "without a readable answer"
STEPLESS = "without a step"
TWICE = "equal to another of their problem"


@dataclass
class Drawn:
    """How many samples there were, and how many of them are not used, by the reason."""

    samples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        text = f"{counted(self.samples, 'sample')}, {self.samples - self.dropped.total():,} of them used"
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())
        return f"{text}; dropped: {why}" if why else text


def labelled_solutions(candidates: pa.Table, drawn: Drawn | None = None) -> Iterator[Solved]:
    """Yield every labelled sample of a run's candidates, problem by problem, identical samples of one problem once each;
    all of them are counted in `drawn`.

    A step's label is the share of correct rollouts from it (Math-Shepherd); where none was drawn, and at the last step,
    the correctness of the samples that go through it. Rollouts are the rows with a `parent`, from `depth` of its steps.
    """
    by_problem: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = [
        "problem_id",
        "index",
        "parent",
        "depth",
        "token_ids",
        "step_tokens",
        "finish_reason",
        "answer",
    ]
    table = candidates.select([*columns, "correct", "kept"])
    for batch in table.to_batches():
        for row in batch.to_pylist():
            by_problem[row["problem_id"]].append(row)
    for rows in by_problem.values():
        yield from _labelled(rows, Drawn() if drawn is None else drawn)


def labelled_answers(candidates: pa.Table, drawn: Drawn | None = None) -> Iterator[Solved]:
    """Yield every answer of a run's candidates that can be read, with what its chain drew before it; equal answers behind
    equal attempts once each; all are counted in `drawn`.

    Each step's label, and the prompt's, is whether the answer is right: what a value of an outcome reward model means (paper
    appendix K). A link of a chain is a kept candidate without a step in common with its `parent`, the attempt before it;
    attempts that were cut off or cannot be read were shown to none after them.
    """
    columns = ["key", "problem_id", "index", "parent", "depth", "token_ids", "step_tokens", "finish_reason"]
    table = candidates.select([*columns, "answer", "correct", "kept"])
    by_outcome: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in table.to_batches():
        for row in batch.to_pylist():
            if row["kept"]:
                by_outcome[row["key"]].append(row)
    for rows in by_outcome.values():
        yield from _answers(rows, Drawn() if drawn is None else drawn)


def _answers(rows: list[dict[str, Any]], drawn: Drawn) -> Iterator[Solved]:
    named = {row["index"]: row for row in rows}
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        drawn.samples += 1
        ids, why = tuple(row["token_ids"]), unusable(row)
        earlier = () if why else tuple(tuple(one["token_ids"]) for one in before(row, named))
        if why or not row["step_tokens"] or (earlier, ids) in seen:
            drawn.dropped[why or (TWICE if row["step_tokens"] else STEPLESS)] += 1
            continue
        seen.add((earlier, ids))
        right = bool(row["correct"])
        ends = tuple(row["step_tokens"])
        yield Solved(row["problem_id"], ids, ends, (float(right),) * len(ends), right, float(right), earlier)


def before(row: dict[str, Any], named: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The attempts that stood before one in its chain, oldest first, of the candidates of its outcome, by index. What was cut
    off or cannot be read was shown to none after it."""
    found: list[dict[str, Any]] = []
    # An attempt is numbered after what it read: damaged rows make no circle.
    while row["parent"] in named and row["parent"] < row["index"] and not row["depth"]:
        row = named[row["parent"]]
        if not unusable(row):
            found.append(row)
    return found[::-1]


def unusable(row: dict[str, Any]) -> str:
    """Why a sample labels nothing; empty where it does."""
    if row["finish_reason"] != "eos":
        return CUT_OFF
    return UNREADABLE if row["answer"] is None else ""


def _labelled(rows: list[dict[str, Any]], drawn: Drawn) -> Iterator[Solved]:
    samples = []
    for row in rows:
        if not row["kept"]:
            continue
        drawn.samples += 1
        if why := unusable(row):
            drawn.dropped[why] += 1
        else:
            samples.append(row)
    named = {r["index"]: r for r in rows if r["kept"]}
    rollouts: dict[tuple[int, ...], list[bool]] = defaultdict(list)
    outcomes: dict[tuple[int, ...], list[bool]] = defaultdict(list)
    for row in rows:
        if not row["kept"] and row["parent"] in named:
            parent = named[row["parent"]]
            prefix = tuple(parent["token_ids"][: parent["step_tokens"][row["depth"] - 1]])
            rollouts[prefix].append(bool(row["correct"]))
    # Those that label no step count: to run out of tokens is to be wrong.
    share = sum(bool(row["correct"]) for row in named.values()) / max(1, len(named))
    for row in samples:
        for end in row["step_tokens"]:
            outcomes[tuple(row["token_ids"][:end])].append(bool(row["correct"]))
    seen: set[tuple[int, ...]] = set()
    for row in samples:
        ids = tuple(row["token_ids"])
        if ids in seen or not row["step_tokens"]:
            drawn.dropped[TWICE if ids in seen else STEPLESS] += 1
            continue
        seen.add(ids)
        labels = []
        for number, end in enumerate(row["step_tokens"], start=1):
            prefix = ids[:end]
            own = outcomes[prefix]
            judged = own if number == len(row["step_tokens"]) else rollouts.get(prefix, own)
            labels.append(sum(judged) / len(judged))
        right = bool(row["correct"])
        yield Solved(row["problem_id"], ids, tuple(row["step_tokens"]), tuple(labels), right, share)


def held_out(problem_id: str, share: float, seed: int) -> bool:
    """Whether a problem belongs to the held-out part: by a hash of its id, so that it never changes sides."""
    return derive("held-out", seed, problem_id) < share * (1 << 63)
