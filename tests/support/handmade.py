"""A run folder made by hand: known answers, scores that tell right from wrong, costs that add up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from actors.store.schema import CANDIDATES, OUTCOMES, RUN_FORMAT
from actors.strategy import Candidate
from orchestration.analysis.cells import Batches
from orchestration.analysis.collect import Collected, collect
from orchestration.runs.problem_store import PROBLEMS
from orchestration.runs.run import Run
from orchestration.strategies.parse import parse
from orchestration.strategies.selection import majority, weighted

TOKENS = 60
FLOPS_A_TOKEN = 1_700_000


def candidate(index: int, right: bool, slip: int, score: float, tokens: int = TOKENS) -> Candidate:
    return Candidate(
        index=index,
        token_ids=tuple(range(tokens)),
        step_ends=(tokens // 2, tokens),
        logprobs=(-0.5, -1.0 if right else -6.0),
        scores=(0.5, score),
        finish="eos",
        answer="42" if right else f"{slip}",
    )


def _outcome(
    problem: str,
    text: str,
    chosen: str | None,
    kept: int,
    n: int,
    *,
    dropped: int,
    verified: bool,
    labels: bool,
) -> dict[str, Any]:
    tokens = kept + dropped
    flops = FLOPS_A_TOKEN * tokens * (2 if verified else 1)
    return {
        "key": f"{problem} {text}",
        "problem_id": problem,
        "strategy": text,
        "seed": 0,
        "state": "answered",
        "reason": "",
        "answer": chosen,
        "correct": (chosen == "42") if labels else None,
        "generations": n,
        "truncated": 0,
        "policy_tokens": tokens,
        "reviser_tokens": 0,
        "verifier_tokens": tokens if verified else 0,
        "kept_tokens": kept,
        "attributed_tokens": tokens,
        "spent_flops": flops,
        "attributed_flops": flops,
        "spent_flops_exact": int(1.1 * flops),
        "attributed_flops_exact": int(1.1 * flops),
        "wall_seconds": 0.5 + 0.01 * n,
        "difficulty": None,
        "bin": None,
    }


def _row(problem: str, text: str, one: Candidate, *, verified: bool, labels: bool) -> dict[str, Any]:
    return {
        "key": f"{problem} {text}",
        "problem_id": problem,
        "strategy": text,
        "seed": 0,
        "index": one.index,
        "parent": -1,
        "depth": 0,
        "steps": ["first\n", f"#### {one.answer}"],
        "step_tokens": list(one.step_ends),
        "token_ids": list(one.token_ids),
        "logprobs": list(one.logprobs),
        "scores": list(one.scores) if verified else [],
        "finish_reason": one.finish,
        "answer": one.answer,
        "correct": (one.answer == "42") if labels else None,
        "tokens": len(one.token_ids),
        "kept": one.kept,
    }


def _solved(
    random: np.random.Generator, ability: float, ladder: tuple[int, ...], beam_gain: float
) -> list[tuple[str, str | None, list[Candidate], int, int, bool]]:
    """Each strategy on one problem: text, answer, candidates, N, tokens dropped, whether it asks the verifier."""
    drawn = []
    for index in range(max(ladder)):
        right = bool(random.random() < ability)
        score = float(np.clip(random.normal(0.7 if right else 0.4, 0.2), 0.01, 0.99))
        drawn.append(candidate(index, right, int(random.integers(1, 5)), score))
    greedy = candidate(0, bool(random.random() < ability + 0.1), 1, 0.5)
    solved: list[tuple[str, str | None, list[Candidate], int, int, bool]]
    solved = [("greedy", greedy.answer, [greedy], 1, 0, False)]
    for n in ladder:
        solved.append((parse(f"majority(n={n})").text, majority(drawn[:n]), drawn[:n], n, 0, False))
        if n == 1:
            continue
        solved.append((parse(f"best_of_n(n={n})").text, weighted(drawn[:n]), drawn[:n], n, 0, True))
        lucky = bool(random.random() < min(0.98, ability + beam_gain))
        beam = [candidate(i, lucky, 3, 0.8) for i in range(n // 4)]
        solved.append((parse(f"beam(n={n})").text, beam[0].answer, beam, n, TOKENS * n // 2, True))
    return solved


def write_run(
    folder: Path,
    *,
    problems: int = 60,
    ladder: tuple[int, ...] = (1, 4, 16),
    seed: int = 0,
    labels: bool = True,
    lengths: bool = True,
    beam_gain: float = 0.15,
) -> Path:
    """Write a finished run: greedy, majority, best_of_n and beam over `ladder`, one part."""
    random = np.random.default_rng(seed)
    outcomes: list[dict[str, Any]] = []
    candidates: list[dict[str, Any]] = []
    stored: list[dict[str, Any]] = []
    for number in range(problems):
        name = f"p{number:04d}"
        length = 2 + number % 6
        meta = {"family": "legs" if number % 3 else "sums", "length": length} if lengths else {}
        stored.append(
            {
                "problem_id": name,
                "question": f"question {number + 1000 * seed}?",
                "answer": "42" if labels else None,
                "metadata": json.dumps(meta),
                "prompt_tokens": 20,
            }
        )
        ability = 0.95 - 0.13 * (length - 2)
        for text, chosen, some, n, dropped, verified in _solved(random, ability, ladder, beam_gain):
            kept = sum(len(one.token_ids) for one in some)
            outcomes.append(
                _outcome(name, text, chosen, kept, n, dropped=dropped, verified=verified, labels=labels)
            )
            candidates += [_row(name, text, one, verified=verified, labels=labels) for one in some]
    for kind, rows, schema in (
        ("outcomes", outcomes, OUTCOMES),
        ("candidates", candidates, CANDIDATES),
        ("problems", stored, PROBLEMS),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / kind / "part-000001.parquet")
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT, "state": "finished"}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"folder": str(folder)}))
    return folder


def add_seed(folder: Path, other: Path, run_seed: int, problems: int) -> None:
    """Give a run another run seed: the first `problems` problems as they came out in the run `other`."""
    for kind, schema in (("outcomes", OUTCOMES), ("candidates", CANDIDATES)):
        rows = [
            row | {"seed": run_seed, "key": f"{row['key']} {run_seed}"}
            for row in pq.read_table(other / kind / "part-000001.parquet").to_pylist()
            if row["problem_id"] < f"p{problems:04d}"
        ]
        path = folder / kind / f"part-{run_seed + 1:06d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def rewritten(folder: Path, outcome: Callable[[dict[str, Any]], Any], rename: Callable[[str], str]) -> Path:
    """Give outcomes the values that `outcome` says, without their candidates where it says any, and strategies new names."""
    parts = {name: folder / name / "part-000001.parquet" for name in ("outcomes", "candidates")}
    rows, gone = [], set()
    for row in pq.read_table(parts["outcomes"]).to_pylist():
        changed = outcome(row)
        gone |= {row["key"]} if changed else set()
        rows.append(row | (changed or {}) | {"strategy": rename(row["strategy"])})
    kept = [
        row | {"strategy": rename(row["strategy"])}
        for row in pq.read_table(parts["candidates"]).to_pylist()
        if row["key"] not in gone
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=OUTCOMES), parts["outcomes"])
    pq.write_table(pa.Table.from_pylist(kept, schema=CANDIDATES), parts["candidates"])
    return folder


def batches_of(table: pa.Table) -> Batches:
    """A table as a run's are read, some rows at a time."""
    return lambda columns: table.select(list(columns)).to_batches(max_chunksize=97)


def collected(run: Run, *, outcomes: pa.Table | None = None, candidates: pa.Table | None = None) -> Collected:
    """A run as arrays, with other tables in the place of its own where they are given."""
    rows = run.outcomes() if outcomes is None else outcomes
    samples = run.candidates() if candidates is None else candidates
    return collect(
        batches_of(rows),
        lambda text: batches_of(samples.filter(pc.equal(samples["strategy"], text))),
        batches_of(run.problems()),
        run.groupings(),
    )


def answers_table(answers: dict[str, dict[str, list[bool | None]]], generations: int = 1) -> pa.Table:
    """Outcomes of `answers`, strategy by problem by run seed (None: the seed is not there)."""
    rows = []
    for text, by_problem in answers.items():
        for problem, by_seed in by_problem.items():
            for seed, right in enumerate(by_seed):
                if right is None:
                    continue
                chosen = "42" if right else "1"
                row = _outcome(problem, text, chosen, 60, generations, dropped=0, verified=False, labels=True)
                rows.append(row | {"seed": seed, "key": f"{problem} {text} {seed}"})
    return pa.Table.from_pylist(rows, schema=OUTCOMES)
