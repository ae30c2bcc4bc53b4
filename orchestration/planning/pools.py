"""What a run has stored of each problem, ready to be drawn again without a model: whole samples, and what searches found.

It knows the columns of candidates and outcomes, and what tokens cost; nothing of allocators. Invariants: a pool is
whole, or left out; a sample costs its tokens, and scoring it those of its steps that no sample before it shares, as an
ideal cache has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from actors.errors import UserError
from actors.strategy import Answer, Candidate, Role
from actors.work import CostModel, prompt_cost
from orchestration.flops import ModelCost
from orchestration.runs.run import Run

_COLUMNS = [
    "problem_id",
    "seed",
    "index",
    "step_tokens",
    "token_ids",
    "tokens",
    "logprobs",
    "scores",
    "steps",
    "finish_reason",
    "answer",
    "ballot",
    "correct",
    "kept",
    "parent",
    "depth",
]


NOTHING_KNOWN: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Drawn:
    """One whole sample: whether it is right, the FLOPs to draw it, and of each of its steps the name of the prefix that
    ends there and the FLOPs to score that step."""

    candidate: Candidate
    correct: bool
    flops: int
    reads: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found: its candidates, whether the answer that it chose is right, and its FLOPs."""

    candidates: tuple[Candidate, ...]
    correct: bool
    flops: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verifier's value of a prompt alone, and the FLOPs to tell it."""

    value: float
    flops: int


@dataclass(frozen=True, slots=True)
class Pool:
    """One problem with one run seed. `prompt` None: nobody has judged it alone."""

    problem: str
    samples: tuple[Drawn, ...]
    searches: Mapping[str, Found]
    prompt: Judgement | None = None

    @property
    def rate(self) -> float:
        """The share of its samples that are right."""
        return sum(one.correct for one in self.samples) / len(self.samples)


def read_pools(
    run: Run,
    samples: str,
    searches: Sequence[str],
    costs: Mapping[Role, CostModel],
    *,
    seed: int | None = None,
    prompts: Mapping[str, float] = NOTHING_KNOWN,
) -> list[Pool]:
    """Every problem of a run that has all samples of the strategy `samples`, and an outcome of each search; of the
    first run seed, or the one given. `prompts` are the verifier's values of prompts alone, by problem. Raises UserError for a
    strategy that the run does not have, or whose answers nobody knows."""
    outcomes, ungraded = _outcomes(run, seed)
    for text in (samples, *searches):
        if text in outcomes:
            continue
        why = "has no answer of it; draw them first"
        if text in ungraded:
            why = "knows of none of its answers whether it is right; what is learnt from needs labels"
        raise UserError.of("strategies", text, f"{run.folder} {why}")
    wanted = [one for one in outcomes[samples] if all(one in outcomes[text] for text in searches)]
    drawn = _candidates(run, samples, seed)
    judge = costs.get("verifier")
    if isinstance(judge, ModelCost) and judge.chains:
        mend = "was scored by a judge that writes, and its samples do not tell what their scores cost; take another verifier"
        raise UserError.of("run", str(run.folder), f"it {mend}")
    if "verifier" in costs and any(
        row["step_tokens"] and row["steps"] is None for row in next(iter(drawn.values()), [])
    ):
        mend = "kept no steps of its samples, which tell what their scores cost; draw them with keep=all or keep=no_token_ids"
        raise UserError.of("run", str(run.folder), f"it {mend}")
    found = {text: _candidates(run, text, seed) for text in searches}
    most = max((len(rows) for rows in drawn.values()), default=0)
    judged = _judgements(run, prompts, costs)
    pools = []
    for problem in wanted:
        rows = drawn.get(problem, [])
        if len(rows) < most or any(not found[text].get(problem) for text in searches):
            continue
        pools.append(
            Pool(
                problem,
                tuple(_drawn(row, costs) for row in rows),
                {
                    text: Found(
                        tuple(_candidate(row) for row in found[text][problem]),
                        bool(outcomes[text][problem]["correct"]),
                        int(outcomes[text][problem]["attributed_flops"]),
                    )
                    for text in searches
                },
                judged.get(problem),
            )
        )
    return pools


def _judgements(
    run: Run, prompts: Mapping[str, float], costs: Mapping[Role, CostModel]
) -> dict[str, Judgement]:
    """What judges the prompts alone, and what it takes: as many tokens of the verifier as they have."""
    if not prompts or "verifier" not in costs:
        return {}
    rows = run.problems(["problem_id", "prompt_tokens"]).to_pylist()
    return {
        row["problem_id"]: Judgement(
            prompts[row["problem_id"]], prompt_cost(costs["verifier"], row["prompt_tokens"]).paper
        )
        for row in rows
        if row["problem_id"] in prompts and row["prompt_tokens"]
    }


def _outcomes(run: Run, seed: int | None) -> tuple[dict[str, dict[str, dict[str, Any]]], set[str]]:
    """By strategy and problem, those that were answered and graded; and strategies that have answers without a grade."""
    columns = ["strategy", "problem_id", "seed", "state", "correct", "attributed_flops"]
    rows = run.outcomes().select(columns).to_pylist()
    first = min((row["seed"] for row in rows), default=0) if seed is None else seed
    found: dict[str, dict[str, dict[str, Any]]] = {}
    ungraded: set[str] = set()
    for row in rows:
        if row["seed"] == first and row["state"] == "answered":
            if row["correct"] is None:
                ungraded.add(row["strategy"])
            else:
                found.setdefault(row["strategy"], {})[row["problem_id"]] = row
    return found, ungraded


def _candidates(run: Run, strategy: str, seed: int | None) -> dict[str, list[dict[str, Any]]]:
    rows = run.candidates(strategy=strategy, columns=_COLUMNS).to_pylist()
    first = min((row["seed"] for row in rows), default=0) if seed is None else seed
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["seed"] == first:
            found.setdefault(row["problem_id"], []).append(row)
    return {problem: sorted(mine, key=lambda row: int(row["index"])) for problem, mine in found.items()}


def _candidate(row: Mapping[str, Any]) -> Candidate:
    answer = row["answer"]
    return Candidate(
        index=row["index"],
        # Texts and tokens decide nothing here, and would fill the memory.
        token_ids=(),
        step_ends=tuple(row["step_tokens"] or ()),
        logprobs=tuple(row["logprobs"] or ()),
        scores=tuple(row["scores"] or ()),
        finish=row["finish_reason"],
        answer=None if answer is None else Answer(answer, row["ballot"] or answer),
        kept=row["kept"] is not False,
        parent=row["parent"],
        depth=row["depth"],
    )


def _drawn(row: Mapping[str, Any], costs: Mapping[Role, CostModel]) -> Drawn:
    tokens = row["tokens"] or len(row["token_ids"] or ())
    reads, prefix, before = [], "", 0
    verifier = costs.get("verifier")
    for text, end in zip(row["steps"] or (), row["step_tokens"] or (), strict=True):
        prefix = f"{prefix}{text}\0"
        if verifier is not None:
            reads.append((prefix, verifier.paper(end - before)))
        before = end
    return Drawn(_candidate(row), bool(row["correct"]), costs["policy"].paper(tokens), tuple(reads))
