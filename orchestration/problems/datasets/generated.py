"""Problems drawn from a source by index: one split of them, each question once.

It knows nothing of prompts, grading or where a source takes its questions from. Invariant: the problem at an index is a
function of (source, seed, index); a stream holds no question twice and no question of another split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

from actors.errors import UserError, counted, nearest
from actors.store.digests import DigestMap
from orchestration.problems.problem import Problem, Split, plain, split_of

# A stream that finds nothing new for so many draws has run out of questions.
_PATIENCE = 20_000


WORKED = {"worked": True}
"""Metadata of a source's setting that no question, answer or id depends on."""


class Source(Protocol):
    """Draws problems by index; may return None where the index holds nothing usable. A frozen dataclass, whose fields are all
    that decides a draw; one with `WORKED` decides worked solutions alone."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def description(self) -> str: ...

    def draw(self, seed: int, index: int) -> Problem | None: ...


S = TypeVar("S", bound=Source)


def with_options(source: S, options: Mapping[str, Any]) -> S:
    """A source with some of its settings replaced; UserError for one that it does not have."""
    known = [setting.name for setting in fields(source)]
    for name in options:
        if name not in known:
            mend = f"choose among {', '.join(known)}{nearest(name, known)}"
            raise UserError.of("dataset.options", name, mend)
    return replace(source, **options)


@dataclass(frozen=True, slots=True)
class Generated:
    """`count` problems of one split, drawn from a source; iterating again gives the same problems.

    The only thing kept in memory is 24 bytes per question already given, to give none twice.
    """

    source: Source
    split: Split
    count: int
    seed: int = 0

    @property
    def description(self) -> str:
        return (
            f"{counted(self.count, f'{self.split} problem')} of {self.source.description} (seed {self.seed})"
        )

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides which problems are drawn, however it was given."""
        hidden = {one.name for one in fields(self.source) if one.metadata.get("worked")}
        options = {name: value for name, value in asdict(self.source).items() if name not in hidden}
        source = {"source": type(self.source).__name__, "options": options}
        return source | {"split": self.split, "seed": self.seed}

    def problem(self, index: int) -> Problem | None:
        """Return the problem drawn at this index, or None where the index holds none of this split."""
        problem = self.source.draw(self.seed, index)
        if problem is None or split_of(problem.question) != self.split:
            return None
        place = {"split": self.split, "seed": self.seed, "draw": index}
        return replace(problem, metadata=problem.metadata | place)

    def __iter__(self) -> Iterator[Problem]:
        seen = DigestMap()
        given = index = barren = 0
        while given < self.count:
            problem = self.problem(index)
            index += 1
            if problem is None or (key := plain(problem.question)) in seen:
                barren += 1
                if barren >= _PATIENCE:
                    mend = (
                        f"{self.source.description} gave only {counted(given, f'{self.split} question')} with an answer,"
                        f" then nothing new in {_PATIENCE:,} draws"
                    )
                    raise UserError.of("dataset.count", self.count, mend)
                continue
            barren = 0
            seen[key] = 0
            given += 1
            yield problem
