"""Problems drawn from a source by index: one split of them, each question once.

It knows nothing of prompts, grading or where a source takes its questions from. Invariant: the problem at an index is a
function of (source, seed, index); a stream holds no question twice and no question of another split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from actors.errors import UserError
from orchestration.problems.problem import Problem, Split, question_hash, split_of

# A stream that finds nothing new for so many draws has run out of questions.
_PATIENCE = 20_000


class Source(Protocol):
    """Draws problems by index; may return None where the index holds nothing usable."""

    @property
    def description(self) -> str: ...

    def draw(self, seed: int, index: int) -> Problem | None: ...


@dataclass(frozen=True, slots=True)
class Generated:
    """`count` problems of one split, drawn from a source; iterating again gives the same problems.

    The only thing kept in memory is 8 bytes per question already given, to give none twice.
    """

    source: Source
    split: Split
    count: int
    seed: int = 0

    @property
    def description(self) -> str:
        return f"{self.count:,} {self.split} problems of {self.source.description} (seed {self.seed})"

    def problem(self, index: int) -> Problem | None:
        """Return the problem drawn at this index, or None where the index holds none of this split."""
        problem = self.source.draw(self.seed, index)
        if problem is None or split_of(problem.question) != self.split:
            return None
        place = {"split": self.split, "seed": self.seed, "draw": index}
        return replace(problem, metadata=problem.metadata | place)

    def __iter__(self) -> Iterator[Problem]:
        seen: set[int] = set()
        index = barren = 0
        while len(seen) < self.count:
            problem = self.problem(index)
            index += 1
            if problem is None or (key := question_hash(problem.question)) in seen:
                barren += 1
                if barren >= _PATIENCE:
                    mend = (
                        f"{self.source.description} gave only {len(seen):,} {self.split} questions with an answer,"
                        f" then nothing new in {_PATIENCE:,} draws"
                    )
                    raise UserError.of("dataset.count", self.count, mend)
                continue
            barren = 0
            seen.add(key)
            yield problem
