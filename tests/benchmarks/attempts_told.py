"""What a reviser takes from the attempts before an answer: `python -m tests.benchmarks.attempts_told REVISER PAIRS`.

PAIRS is a folder of pairs that `flopwise train reviser` wrote, with the default format. Of its held-out right answers, some
by chance, it prints by how many nats an answer is likelier behind its attempts than behind none (mean, and an interval of 95%
by the normal distribution), by how many attempts there are, all of them wrong, and for answers that stand before themselves.
Wrong attempts that are read and left aside make the right answer likelier; below 0 they lead away from it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from actors.engines.model_config import read_config
from actors.engines.whole import load_whole
from orchestration.problems import load
from orchestration.training.pair_store import Learnt, read_pairs
from orchestration.training.step_data import held_out
from tests.benchmarks.chains import Chains


class Answers:
    """How likely a reviser finds whole answers, one at a time."""

    def __init__(self, folder: Path, problems: int, seed: int) -> None:
        self.chains = Chains(folder, max_tokens=256, reads=4)
        self.model = load_whole(folder, read_config(folder), dtype=torch.float32).eval()
        made = load("countdown_chain", split="train", count=problems, seed=seed)
        self.questions = {one.id: one.question for one in made}

    @torch.inference_mode()
    def nats(self, pair: Learnt, attempts: tuple[tuple[int, ...], ...]) -> float:
        """Minus the log-probability of a pair's answer behind these attempts."""
        prompt = self.chains.prompts.prompt_ids(self.chains.tokenizer, self.questions[pair.problem_id])
        before = self.chains.revising.context(tuple(prompt), attempts, self.chains.room)
        ids = torch.tensor([[*before, *pair.answer]])
        told = torch.log_softmax(self.model(input_ids=ids).logits[0, len(before) - 1 : -1].float(), -1)
        return -float(told.gather(1, ids[0, len(before) :, None]).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reviser", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--answers", type=int, default=1500, help="pairs that are looked at")
    parser.add_argument(
        "--problems", type=int, default=12_000, help="of the samples that the pairs are made of"
    )
    parser.add_argument("--seed", type=int, default=3, help="of these problems")
    given = parser.parse_args()
    torch.set_num_threads(1)
    answers = Answers(given.reviser, given.problems, given.seed)
    held = [one for one in read_pairs(given.pairs) if one.attempts and held_out(one.problem_id, 0.1, 0)]
    order = np.random.default_rng(0).permutation(len(held))[: given.answers]
    gained: dict[str, list[float]] = defaultdict(list)
    for pair in (held[place] for place in order):
        kept = pair.attempts[-1] == pair.answer
        kind = "the answer itself" if kept else f"{len(pair.attempts)} wrong"
        gained[kind].append(answers.nats(pair, ()) - answers.nats(pair, pair.attempts))
    for kind, values in sorted(gained.items()):
        mean, slack = np.mean(values), 1.96 * np.std(values, ddof=1) / len(values) ** 0.5
        print(f"{kind:18} {len(values):5,}  {mean:+.2f} nats ({mean - slack:+.2f} to {mean + slack:+.2f})")


if __name__ == "__main__":
    main()
