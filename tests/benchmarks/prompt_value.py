"""What a verifier says of a prompt before anything is drawn: `python -m tests.benchmarks.prompt_value RUN`.

RUN is a folder in which a strategy drew independent samples of each problem, e.g. majority(n=64). The verifier judges each
prompt alone, and what it says is held against the share of right samples, beside what the question itself shows (how many
numbers it has, and its level). Bootstrapped intervals are over problems. Invariant: the verifier sees no sample.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from actors.engines.base import ScoreRequest
from actors.engines.local.verifier import ScoringEngine
from orchestration.problems import PromptFormat
from orchestration.runs.run import Run
from orchestration.setup.domains import DOMAIN
from orchestration.setup.model_folders import model_folder

Floats = NDArray[np.float64]

RESAMPLED = 2_000


def pass_at_1(candidates: pa.Table) -> dict[str, float]:
    """The share of right candidates of each problem."""
    right: dict[str, list[bool]] = defaultdict(list)
    for problem, correct in zip(
        candidates["problem_id"].to_pylist(), candidates["correct"].to_pylist(), strict=True
    ):
        right[problem].append(bool(correct))
    return {problem: float(np.mean(verdicts)) for problem, verdicts in right.items()}


async def values_of(verifier: Path, questions: list[str]) -> list[float]:
    """What the verifier says of each prompt, in [0, 1]."""
    tokenizer, form = AutoTokenizer.from_pretrained(verifier), PromptFormat()
    engine = ScoringEngine.load(verifier)
    asked = [tuple(form.prompt_ids(tokenizer, question)) for question in questions]
    scores = await asyncio.gather(*(engine.score(ScoreRequest(ids, len(ids), ())) for ids in asked))
    found = [one.prompt for one in scores if one.prompt is not None]
    if len(found) < len(questions):
        raise SystemExit(f"{verifier}: this verifier does not judge a prompt alone")
    return found


def correlation(told: Floats, rate: Floats) -> tuple[float, float, float]:
    """Spearman's, with a bootstrapped interval (95%)."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(rate), (RESAMPLED, len(rate)))
    drawn = [spearmanr(told[pick], rate[pick]).statistic for pick in picks]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(spearmanr(told, rate).statistic), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--strategy", default="majority(n=64)", help="which one drew the samples")
    parser.add_argument(
        "--verifier", type=Path, default=model_folder(f"bundled/{DOMAIN}", "verifier"), help="its folder"
    )
    given = parser.parse_args()
    run = Run(given.run)
    rates = pass_at_1(run.candidates(strategy=given.strategy, columns=["problem_id", "correct"]))
    rows = [row for row in run.problems().to_pylist() if row["problem_id"] in rates]
    rate = np.array([rates[row["problem_id"]] for row in rows])
    values = asyncio.run(values_of(given.verifier, [row["question"] for row in rows]))
    told = {"value at the prompt's end": np.array(values)}
    for column in ("length", "level"):
        known = [json.loads(row["metadata"]).get(column) for row in rows]
        if None not in known:
            told[f"{column} (the larger, the harder)"] = -np.array(known, dtype=np.float64)
    print(
        f"{len(rows)} problems; pass@1 {rate.mean():.3f}, mean value at the prompt's end {np.mean(values):.3f}"
    )
    print("| rank correlation with pass@1 | | interval |\n|---|---|---|")
    for name, numbers in told.items():
        mean, low, high = correlation(numbers, rate)
        print(f"| {name} | {mean:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
