"""From stored parallel samples to what a reviser learns: right answers, each with wrong ones in front (paper section 6.1 and
appendix H).

The rules: answers that were cut off or cannot be read are dropped; before each right answer stand 0 to 4 wrong ones of
the same problem, each number as likely, and no more than there are; the last of them is the wrong one with the smallest
edit distance to the right one, in characters; the others are drawn at random. Beyond the paper, the last may be drawn as the
others are, a right answer may have several pairs with wrong ones drawn anew, and a share of the right answers may stand
before themselves as well, behind wrong ones. It reads rows of candidates and knows nothing of tokenizers or models.
Invariants: equal answers of one problem are one; every draw is seeded by problem and sample, so the same samples give the
same pairs in whatever order they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from actors.seeds import derive
from orchestration.runs.run import Run
from orchestration.training.step_data import TWICE, Drawn, unusable

_COLUMNS = (
    "key",
    "problem_id",
    "index",
    "parent",
    "depth",
    "steps",
    "token_ids",
    "finish_reason",
    "answer",
    "correct",
)
_ROWS = 4096
"""Rows that are Python objects at once."""

KEPT = ds.field("kept")
"""The condition that a strategy chose among a row, whatever stood before it."""

_SAMPLES = KEPT & (ds.field("parent") < 0)
"""The condition that a row is a whole sample of the prompt."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One whole answer: the sample's number, its token ids as drawn, its text without white space around it."""

    index: int
    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The distinct answers of one problem that can be read, by whether they are right, in the order in which they were
    drawn."""

    problem_id: str
    right: tuple[Attempt, ...]
    wrong: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A right `answer`, and the wrong `attempts` that stand before it, oldest first; of a kept one the last is the answer.
    `wrong` says how many there were to choose among, `distance` how far the last is from the answer in characters, None
    where there is none and where the answer is kept."""

    problem_id: str
    attempts: tuple[Attempt, ...]
    answer: Attempt
    wrong: int
    distance: int | None


def pools(run: Run, strategy: str, problems: Collection[str], drawn: Drawn) -> Iterator[Pool]:
    """The independent samples that a strategy drew for these problems, one after the other, as they stand on disk; all are
    counted in `drawn`.

    What a search dropped, rolled out or branched from another candidate is no sample of the prompt.
    """
    for rows in outcomes_of(run, strategy, _SAMPLES):
        if rows[0]["problem_id"] in problems:
            yield pool_of(rows, drawn)


def pool_of(rows: list[dict[str, Any]], drawn: Drawn) -> Pool:
    """The answers of one problem, from its rows of candidates (at least one)."""
    sides: tuple[list[Attempt], list[Attempt]] = [], []
    seen: set[tuple[int, ...]] = set()
    for row in rows:
        drawn.samples += 1
        ids = tuple(row["token_ids"])
        why = unusable(row)
        if why or ids in seen:
            drawn.dropped[why or TWICE] += 1
            continue
        seen.add(ids)
        sides[not row["correct"]].append(attempt_of(row))
    return Pool(rows[0]["problem_id"], tuple(sides[0]), tuple(sides[1]))


def attempt_of(row: dict[str, Any]) -> Attempt:
    """A row of candidates as an attempt."""
    return Attempt(row["index"], tuple(row["token_ids"]), "".join(row["steps"]).strip())


@dataclass(frozen=True, slots=True)
class Choice:
    """By which rules wrong answers come before right ones: up to `most` of them, the last the `nearest` or drawn as the
    others are; `times` pairs of each right answer, and of a share `keep` of these another in which it is the last of up to
    `most` attempts itself, behind wrong ones. Every draw derives from `seed`."""

    most: int
    seed: int
    keep: float = 0.0
    nearest: bool = True
    times: int = 1

    def draws(self, name: str, pool: Pool, answer: Attempt, time: int) -> np.random.Generator:
        """Randomness for one pair of an answer."""
        place = (time,) if time else ()
        return np.random.default_rng(derive(name, self.seed, pool.problem_id, answer.index, *place))


def pairs_of(pool: Pool, choice: Choice) -> list[Pair]:
    """What there is to learn from a pool, in the order of its right answers, those that are kept behind all others."""
    if not pool.right:
        return []
    distances = _distances(pool) if pool.wrong else None
    # Without a wrong answer there is nothing to draw anew.
    times = choice.times if pool.wrong else 1
    answers = [(place, time) for place in range(len(pool.right)) for time in range(times)]
    found = [_revised(pool, choice, place, time, distances) for place, time in answers]
    return found + [pair for pair in (_kept(pool, choice, place, time) for place, time in answers) if pair]


def _revised(
    pool: Pool, choice: Choice, place: int, time: int, distances: np.ndarray[Any, np.dtype[np.int32]] | None
) -> Pair:
    """A right answer behind wrong ones, or behind none."""
    answer = pool.right[place]
    rng = choice.draws("revisions", pool, answer, time)
    count = int(rng.integers(0, min(choice.most, len(pool.wrong)) + 1))
    if not count or distances is None:
        return Pair(pool.problem_id, (), answer, len(pool.wrong), None)
    others = list(range(len(pool.wrong)))
    if choice.nearest:
        last = [others.pop(int(distances[place].argmin()))]
    else:
        last = []
    chosen = [others[number] for number in rng.permutation(len(others))[: count - len(last)]] + last
    attempts = tuple(pool.wrong[number] for number in chosen)
    return Pair(pool.problem_id, attempts, answer, len(pool.wrong), int(distances[place, chosen[-1]]))


def _kept(pool: Pool, choice: Choice, place: int, time: int) -> Pair | None:
    """A right answer behind itself, or None where it is not among those drawn."""
    answer, most = pool.right[place], choice.most
    rng = choice.draws("kept", pool, answer, time)
    if rng.random() >= choice.keep:
        return None
    count = int(rng.integers(0, min(most - 1, len(pool.wrong)) + 1))
    before = tuple(pool.wrong[number] for number in rng.permutation(len(pool.wrong))[:count])
    return Pair(pool.problem_id, (*before, answer), answer, len(pool.wrong), None)


def _distances(pool: Pool) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Edit distances in characters (R, W) of right and wrong answers."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    found: np.ndarray[Any, np.dtype[np.int32]] = cdist(
        [one.text for one in pool.right],
        [one.text for one in pool.wrong],
        scorer=Levenshtein.distance,
        dtype=np.int32,
    )
    return found


def outcomes_of(run: Run, strategy: str, only: ds.Expression) -> Iterator[list[dict[str, Any]]]:
    """Candidates' rows of each outcome of a strategy, those that meet a condition; of an outcome that was made again the
    newest."""
    wanted = (ds.field("strategy") == strategy) & only
    earlier = _made_again(run, strategy, wanted)
    block: list[dict[str, Any]] = []

    def ended() -> Iterator[list[dict[str, Any]]]:
        if not block:
            return
        earlier[block[0]["key"]] -= 1
        if earlier[block[0]["key"]] < 0:
            yield block

    for batch in run.stored("candidates").batches(_COLUMNS, wanted):
        for start in range(0, len(batch), _ROWS):
            for row in batch.slice(start, _ROWS).to_pylist():
                if block and (row["key"] != block[0]["key"] or row["index"] <= block[-1]["index"]):
                    yield from ended()
                    block = []
                block.append(row)
    yield from ended()


def _made_again(run: Run, strategy: str, wanted: ds.Expression) -> Counter[str]:
    """How many blocks of candidates of an outcome are older than its newest, by key."""
    times: Counter[str] = Counter()
    for batch in run.stored("outcomes").batches(["key"], ds.field("strategy") == strategy):
        times.update(batch["key"].to_pylist())
    again = {key for key, count in times.items() if count > 1}
    earlier: Counter[str] = Counter()
    if not again:
        return earlier
    before: tuple[str, int] = ("", -1)
    for batch in run.stored("candidates").batches(["key", "index"], wanted):
        for key, index in zip(batch["key"].to_pylist(), batch["index"].to_pylist(), strict=True):
            if key in again and (key != before[0] or index <= before[1]):
                earlier[key] += 1
            before = (key, index)
    return Counter({key: count - 1 for key, count in earlier.items()})
