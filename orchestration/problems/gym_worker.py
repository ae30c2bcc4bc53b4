"""The helper process behind GymGrader: reasoning-gym's own scoring, which may run for long or raise on a model's text.

It knows nothing of solutions: it is given an answer and the entry that it answers. Invariant: an entry written by
`reference` is scored as the entry itself would be.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from orchestration.problems.deadline import serve

_TUPLE = "__tuple__"


def reference(dataset: str, options: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Return all that scoring needs as JSON, or None where the entry holds what JSON does not."""
    try:
        return json.dumps({"dataset": dataset, "options": dict(options), "entry": _packed(dict(entry))})
    except (TypeError, ValueError):
        return None


def score(answer: str, label: str) -> float:
    """Return reasoning-gym's score in [0, 1] of an answer; 1 is right, some data sets give a part for a part."""
    known = json.loads(label)
    scorer = _scorer(known["dataset"], json.dumps(known["options"], sort_keys=True))
    return float(scorer.score_answer(answer, _unpacked(known["entry"])))


@functools.lru_cache(maxsize=16)
def _scorer(dataset: str, options: str) -> Any:
    from orchestration.problems.reasoning_gym import generator

    return generator(dataset, 0, json.loads(options))


def _packed(value: Any) -> Any:
    """Mark tuples: some data sets tell them from lists."""
    if isinstance(value, tuple):
        return {_TUPLE: [_packed(one) for one in value]}
    if isinstance(value, list):
        return [_packed(one) for one in value]
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_unpacked(one) for one in value[_TUPLE])
        return {key: _unpacked(one) for key, one in value.items()}
    return value


if __name__ == "__main__":
    serve({"score": score})
