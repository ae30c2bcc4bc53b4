"""From stored chains of attempts to what a reviser learns of its own: right answers, each behind the wrong attempts that its
reviser drew before it (ReST-EM; paper appendix P, Singh et al. 2023, 2312.06585).

The rules: of every chain the attempts up to its first right answer, where that is among its first few; what was cut off or
cannot be read was shown to none, and counts as if it had not been drawn; all lengths of chains are equally frequent, each as
the rarest that there is, drawn at random. It reads rows of candidates and knows nothing of tokenizers or models. Invariants:
equal answers behind equal attempts of one outcome are one, and an outcome that several runs hold counts once; every draw is
seeded by outcome and attempt, so the same chains give the same pairs in whatever order they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.errors import counted
from actors.seeds import derive
from orchestration.runs.run import Run
from orchestration.strategies.parse import registered
from orchestration.strategies.revision.revision import Revision
from orchestration.training.revision_data import KEPT, Pair, attempt_of, outcomes_of
from orchestration.training.step_data import TWICE, before, unusable

Ranked = tuple[int, Pair]
"""A pair, and the number that decides whether it is drawn: uniform in [0, 2**63)."""


@dataclass
class Chained:
    """What chains came to: how many attempts there were, in how many chains, why some are not used, and how many chains of
    each length (in attempts that can be read) end on their first right answer."""

    attempts: int = 0
    chains: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        by = ", ".join(f"{self.lengths[length]:,} of {length}" for length in sorted(self.lengths))
        text = f"{counted(self.attempts, 'attempt')} in {counted(self.chains, 'chain')}"
        text += f"; up to a right answer, by length: {by or 'none'}"
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())
        return f"{text}; dropped: {why}" if why else text


@dataclass(frozen=True, slots=True)
class Balance:
    """Which pairs are taken so that every length is as frequent: those of the lowest ranks, `each` of a length; `highest` is
    the last rank of each."""

    each: int
    highest: Mapping[int, int]

    def chosen(self, ranked: Sequence[Ranked]) -> list[Pair]:
        return [pair for rank, pair in ranked if rank <= self.highest[len(pair.attempts)]]


def balanced(ranked: Iterator[Sequence[Ranked]]) -> Balance:
    """The balance of all pairs that there are."""
    ranks: dict[int, list[int]] = {}
    for some in ranked:
        for rank, pair in some:
            ranks.setdefault(len(pair.attempts), []).append(rank)
    each = min(map(len, ranks.values()), default=0)
    return Balance(each, {length: sorted(found)[each - 1] for length, found in ranks.items()})


def chains_of(
    runs: Sequence[Run], problems: Collection[str], most: int, seed: int, found: Chained
) -> Iterator[list[Ranked]]:
    """What there is to learn from the chains of these problems, an outcome at a time, as they stand on disk: of every chain
    its first right answer, where at most `most` attempts stand before it. All are counted in `found`."""
    seen: set[str] = set()
    for run in runs:
        for strategy in drawing(run):
            for rows in outcomes_of(run, strategy, KEPT):
                key = rows[0]["key"]
                if rows[0]["problem_id"] in problems and key not in seen:
                    seen.add(key)
                    yield [
                        (derive("chains", seed, key, pair.answer.index), pair)
                        for pair in first_right(rows, most, found)
                    ]


def drawing(run: Run) -> list[str]:
    """The strategies of a run whose candidates are chains of a reviser's attempts."""
    texts: set[str] = set()
    for batch in run.stored("candidates").batches(["strategy"]):
        texts.update(batch["strategy"].unique().to_pylist())
    return sorted(text for text in texts if isinstance(registered(text), Revision))


def first_right(rows: Sequence[dict[str, Any]], most: int, found: Chained) -> list[Pair]:
    """A pair for each chain of an outcome with a right answer behind at most `most` wrong ones, from the outcome's rows of
    candidates."""
    from rapidfuzz.distance import Levenshtein

    named = {row["index"]: row for row in rows}
    seen: set[tuple[Any, ...]] = set()
    pairs: list[Pair] = []
    for row in rows:
        found.attempts += 1
        found.chains += row["parent"] < 0
        why = unusable(row)
        if why:
            found.dropped[why] += 1
            continue
        earlier = before(row, named)
        if not row["correct"] or len(earlier) > most or any(one["correct"] for one in earlier):
            continue
        answer, attempts = attempt_of(row), tuple(map(attempt_of, earlier))
        ids = (answer.token_ids, tuple(one.token_ids for one in attempts))
        if ids in seen:
            found.dropped[TWICE] += 1
            continue
        seen.add(ids)
        found.lengths[len(attempts) + 1] += 1
        distance = Levenshtein.distance(attempts[-1].text, answer.text) if attempts else None
        pairs.append(Pair(row["problem_id"], attempts, answer, len(attempts), distance))
    return pairs
