"""Steps found by what was asked before: the same ends and keys as reading all anew, at the price of the newest step."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from actors.engines.base import ScoreRequest, Scores
from actors.replicas.steps import StepTree
from actors.store.library import Prior, score_key
from tests.support.table import PROMPT
from tests.support.tiny import EOS_IDS, NEWLINE, SPACE, TWO_NEWLINES

STEP = (40, 41, 42, NEWLINE)


def solutions(count: int) -> Iterator[tuple[int, ...]]:
    """Beginnings of earlier ones, and what goes on from them by a step, by several or by half of one, blank or not."""
    rng = random.Random(5)
    told: list[tuple[int, ...]] = [()]
    for _ in range(count):
        base = rng.choice(told)
        more = rng.choices((40, 41, NEWLINE, TWO_NEWLINES, SPACE), k=rng.randrange(30))
        told.append(base[: rng.randrange(len(base) + 1)] if rng.random() < 0.3 else (*base, *more))
        yield told[-1] + rng.choice(((), (), EOS_IDS[:1]))


def test_ends_and_keys_are_those_of_reading_and_hashing_all_anew(table: Any) -> None:
    reader = table().bench.reader
    known = score_key("salt", (*PROMPT.token_ids, 40, NEWLINE))
    tree = StepTree(reader, PROMPT.token_ids, "salt", Prior(scores={known: 0.25}))
    seen: dict[bytes, Any] = {}
    for solution in solutions(300):
        ends = reader.step_ends(solution)
        assert tuple(reader.ends_from_last(solution))[::-1] == ends
        last = tree.keyed(solution)
        assert last.ends == ends
        for step in last.path():
            assert step.key == score_key("salt", PROMPT.token_ids + solution[: step.end])
            assert seen.setdefault(step.key, step) is step, "equal tokens are one step"
            assert (step.known == 0.25) == (step.key == known)
    assert known in seen


async def test_a_step_costs_as_much_at_the_end_of_a_solution_as_at_its_beginning(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Half:
        async def score(self, request: ScoreRequest) -> Scores:
            return Scores((0.5,) * len(request.step_ends), 1)

    hashed: list[int] = []

    def counting(kind: str, ids: Any) -> Any:
        hashed.append(len(ids))
        return array(kind, ids)

    one = table()
    one.bench.scorer = Half()
    models = one.models()
    monkeypatch.setattr("actors.store.library.array", counting)
    costs = []
    for depth in range(1, 20):
        hashed.clear()
        assert len(await models.verifier.score(STEP * depth)) == depth
        assert len(models.reader.step_ends(STEP * depth)) == depth
        costs.append(sum(hashed))
    assert costs[1:] == [len(STEP)] * 18
    assert [row["key"] for row in one.bench.score_rows] == [
        score_key("", PROMPT.token_ids + STEP * depth) for depth in range(1, 20)
    ]
    assert [
        a for a, b in itertools.pairwise(one.bench.steps.last(STEP * 19).ends) if b - a != len(STEP)
    ] == []
