"""The helper process behind GymGrader: reasoning-gym's own scoring, which may run for long or raise on a model's text.

It knows nothing of solutions: it is given an answer and the entry that it answers. Invariant: an entry written by
`gym_reference.reference` is scored as the entry itself would be.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from orchestration.problems.datasets.gym import generator
from orchestration.problems.datasets.gym_reference import unpacked
from orchestration.problems.workers.deadline import serve


def score(answer: str, label: str) -> float:
    """Return reasoning-gym's score in [0, 1] of an answer; 1 is right, some data sets give a part for a part."""
    known = json.loads(label)
    scorer = _scorer(known["dataset"], json.dumps(known["options"], sort_keys=True))
    return float(scorer.score_answer(answer, unpacked(known["entry"])))


@functools.lru_cache(maxsize=16)
def _scorer(dataset: str, options: str) -> Any:
    return generator(dataset, 0, json.loads(options))


if __name__ == "__main__":
    serve({"score": score})
