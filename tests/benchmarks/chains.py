"""How chains of attempts go, without Ray: `python -m tests.benchmarks.chains REVISER`.

For each test problem some chains: each attempt reads the last ones before it that ended and can be read, as in the strategy
`revision`. It prints pass@1 at each step with its interval (95%, over problems), overall and for problems that the first step
solves seldom, sometimes and often; how many right answers are wrong at the next step, and wrong ones right; and the chains
whose last answer stood in them before. The bins are made from chains of their own, so that no sample serves both.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.engines.base import GenerateRequest
from actors.engines.local.policy import LocalEngine
from actors.seeds import derive
from orchestration.analysis.statistics import mean_interval
from orchestration.problems import Problem, load, make_grader
from orchestration.problems.prompting import PromptFormat
from orchestration.problems.revising import Revising, RevisionFormat, trained_format

BINS = ((0.0, 0.1), (0.1, 0.5), (0.5, 1.01))


@dataclass(frozen=True, slots=True)
class Attempts:
    """`right` (P, C, S): whether each attempt is right; `again` (P, C): whether a chain's last answer stood in it before."""

    right: NDArray[np.bool_]
    again: NDArray[np.bool_]


class Chains:
    """Draws chains of one model."""

    def __init__(self, folder: Path, max_tokens: int, reads: int) -> None:
        from transformers import AutoTokenizer

        self.engine = LocalEngine.load(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.max_tokens, self.reads, self.prompts = max_tokens, reads, PromptFormat()
        self.room = self.engine.info.context - max_tokens
        shown = trained_format(folder) or RevisionFormat()
        self.revising: Revising = shown.bind(self.tokenizer, self.engine.info.eos_ids, chat=False)
        self.grader = make_grader("countdown")

    async def chain(self, problem: Problem, number: int, steps: int) -> tuple[list[bool], bool]:
        prompt = tuple(self.prompts.prompt_ids(self.tokenizer, problem.question))
        reference = self.grader.reference_of(problem)
        assert reference is not None
        shown: list[tuple[int, ...]] = []
        right: list[bool] = []
        answers: list[str | None] = []
        for step in range(steps):
            context = self.revising.context(prompt, shown[-self.reads :], self.room)
            seed = derive("chains", problem.id, number, step)
            drawn = await self.engine.generate(GenerateRequest(context, self.max_tokens, seed))
            answer = self.grader.extract(self.tokenizer.decode(drawn.token_ids, skip_special_tokens=True))
            if drawn.finish == "eos" and answer is not None:
                shown.append(drawn.token_ids)
            right.append(self.grader.correct(answer, reference))
            answers.append(answer)
        return right, answers[-1] in answers[:-1]

    async def all(self, problems: list[Problem], chains: range, steps: int) -> Attempts:
        found = await asyncio.gather(
            *(self.chain(one, number, steps) for one in problems for number in chains)
        )
        shape = len(problems), len(chains)
        right = np.array([one for one, _ in found]).reshape(*shape, steps)
        return Attempts(right, np.array([one for _, one in found]).reshape(shape))


def told(attempts: Attempts, rate: NDArray[np.float64]) -> None:
    steps = attempts.right.shape[2]
    print(f"{'problems':24} {'n':>5}  " + "  ".join(f"step {step + 1:<16}" for step in range(steps)))
    groups = [("all", np.ones(len(rate), dtype=bool))]
    groups += [
        (f"first step {low:.1f} to {min(high, 1):.1f}", (rate >= low) & (rate < high)) for low, high in BINS
    ]
    for name, chosen in groups:
        if not chosen.any():
            continue
        cells = []
        for step in range(steps):
            one = mean_interval(attempts.right[chosen, :, step].mean(axis=1))
            cells.append(f"{one.mean:.3f} ({one.low:.3f}, {one.high:.3f})")
        print(f"{name:24} {int(chosen.sum()):>5}  " + "  ".join(f"{cell:21}" for cell in cells))
    before, after = attempts.right[:, :, :-1], attempts.right[:, :, 1:]
    print(f"right to wrong {(before & ~after).sum() / before.sum():.3f} of {before.sum():,}")
    print(f"wrong to right {(~before & after).sum() / (~before).sum():.3f} of {(~before).sum():,}")
    print(f"chains that end with an answer that stood in them before {attempts.again.mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reviser", type=Path)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--reads", type=int, default=4, help="attempts that it reads at most")
    parser.add_argument("--max-tokens", type=int, default=256)
    given = parser.parse_args()
    problems = list(load("countdown_chain", split="test", count=given.problems))
    chains = Chains(given.reviser, given.max_tokens, given.reads)

    async def draw() -> tuple[Attempts, Attempts]:
        own = await chains.all(problems, range(given.chains), given.steps)
        # Bins from first attempts of other chains.
        return own, await chains.all(problems, range(given.chains, given.chains + 8), 1)

    attempts, others = asyncio.run(draw())
    told(attempts, others.right[:, :, 0].mean(axis=1))


if __name__ == "__main__":
    main()
