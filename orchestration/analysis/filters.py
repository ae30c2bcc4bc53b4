"""Which problems of a run are asked for by how they came out: wrong by one strategy, right by another, in some state.

It knows outcomes and the names of strategies, nothing of how they are shown. Invariant: all that is asked holds with one and
the same seed; what did not run is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from actors.errors import UserError, nearest
from actors.work import State
from orchestration.analysis.collect import Named
from orchestration.strategies.parse import registered

_STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Filter:
    """Texts of strategies that are to be `wrong` and `right`, and a `state` that an outcome of one `of` these is to be in."""

    wrong: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    state: str | None = None
    of: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        wrong: Sequence[str],
        right: Sequence[str],
        state: str | None,
        of: Sequence[str],
        known: Sequence[str],
    ) -> Filter:
        """Read what a user wrote of a run with these strategies. UserError for one that it does not have, and for what is no
        state."""
        if state is not None and state not in _STATES:
            raise UserError.of("state", state, f"choose one of {', '.join(_STATES)}{nearest(state, _STATES)}")
        both = [
            [text for name in names for text in meant(field, name, known)]
            for field, names in (("wrong", wrong), ("right", right))
        ]
        return cls(tuple(both[0]), tuple(both[1]), state, tuple(of))

    def __bool__(self) -> bool:
        return bool(self.wrong or self.right or self.state)

    @property
    def text(self) -> str:
        """What is asked, in words."""
        parts = [f"{text} {verdict}" for verdict in ("wrong", "right") for text in getattr(self, verdict)]
        if self.state is not None:
            parts.append(f"an outcome {self.state}")
        return ", ".join(parts)

    def problems(self, outcomes: Iterable[Mapping[str, Any]]) -> list[str]:
        """The problems for which it holds, in the order of the outcomes. UserError where verdicts are asked for and there are
        none."""
        tried: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
        judged = False
        for row in outcomes:
            tried.setdefault((row["problem_id"], row["seed"]), {})[row["strategy"]] = row
            judged = judged or row["correct"] is not None
        if not judged and (self.wrong or self.right):
            field, names = ("wrong", self.wrong) if self.wrong else ("right", self.right)
            raise UserError.of(
                field, ", ".join(names), "the problems have no answers: nothing is right or wrong"
            )
        return list(dict.fromkeys(problem for (problem, _), rows in tried.items() if self._holds(rows)))

    def _holds(self, rows: Mapping[str, Mapping[str, Any]]) -> bool:
        verdicts = {
            text: row["correct"] if row["state"] == "answered" else None for text, row in rows.items()
        }
        return (
            all(verdicts.get(text) is False for text in self.wrong)
            and all(verdicts.get(text) is True for text in self.right)
            and (
                self.state is None
                or any(row["state"] == self.state for text, row in rows.items() if text in self.of)
            )
        )


def meant(field: str, name: str, known: Sequence[str]) -> list[str]:
    """The strategies that a name stands for: the one of this text (what is a default may be left out), or of each series of
    this name or family the largest budget."""
    whole = registered(name)
    for text in (name, whole.text if whole is not None else name):
        if text in known:
            return [text]
    largest: dict[str, Named] = {}
    for one in map(Named.of, known):
        if name in (one.family, one.series) and (one.series not in largest or largest[one.series].n < one.n):
            largest[one.series] = one
    if not largest:
        families = [*known, *(Named.of(text).family for text in known)]
        mend = f"the run has no such strategy{nearest(name, families)}; it has {', '.join(known)}"
        raise UserError.of(field, name, mend)
    return [one.text for one in largest.values()]
