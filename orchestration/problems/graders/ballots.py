"""Which answers to one problem are one: what they say, and what they may leave unsaid.

It knows nothing of how answers are read. A `Ballot` has a value, and beside it a name (`x = 5`) and a unit (`5 cm`), which an
answer may go without. Two answers of one value are one, unless the answers to this problem disagree on its name, or on its
unit: then each name or unit, and none, stands for itself. A class speaks by the member that says most: `5` and `5 cm` are
`5 cm`, which is wrong where five metres are right. Invariant: for any answers to a problem this is an equivalence, and who
speaks for a class is the same, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestration.problems.graders.numbers import as_text, number_of

_APART = "\t"


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one answer says. `bare`: its value, or a part of it, is a text that is read as nothing but itself."""

    value: str
    name: str = ""
    unit: str = ""
    bare: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        """All of it in one text, for tables and processes."""
        return _APART.join((self.value, self.name, self.unit)).rstrip(_APART)

    @classmethod
    def of(cls, text: str) -> Ballot:
        value, name, unit = (*text.split(_APART), "", "")[:3]
        return cls(value, name, unit)

    @property
    def shown(self) -> str:
        """For people."""
        named = f"{self.name} = {self.value}" if self.name else self.value
        return f"{named} {self.unit}".rstrip().replace("; ", ", ")

    def agrees(self, other: Ballot) -> bool:
        """Whether nothing that both say differs."""
        return (
            self.value == other.value
            and (not self.name or not other.name or self.name == other.name)
            and (not self.unit or not other.unit or self.unit == other.unit)
        )


def classes(texts: Sequence[str]) -> list[str]:
    """For the ballots of one problem's answers, as texts: the class of each, which equal ones share."""
    if not any(_APART in one for one in texts):
        return list(texts)
    bare = {one for one in texts if _APART not in one}
    ballots = [_share(Ballot.of(one), bare) for one in texts]
    names = _disagree((one.value, one.name) for one in ballots)
    units = _disagree((one.value, one.unit) for one in ballots)
    return [
        Ballot(one.value, one.name if one.value in names else "", one.unit if one.value in units else "").text
        for one in ballots
    ]


def says_most(texts: Sequence[str]) -> list[int]:
    """For some ballots, as texts: a rank of each. In a class that with the highest speaks, which says most of name and unit;
    of those that say as much, the last in the order of texts. 0 where no ballot says any."""
    if not any(_APART in one for one in texts):
        return [0] * len(texts)
    said = {one: Ballot.of(one) for one in texts}
    order = sorted(said, key=lambda one: (bool(said[one].unit) + bool(said[one].name), one))
    ranks = {one: rank for rank, one in enumerate(order)}
    return [ranks[one] for one in texts]


def _share(ballot: Ballot, bare: set[str]) -> Ballot:
    """A percentage as the share that it is, where somebody gives that share."""
    if ballot.unit != "%":
        return ballot
    number = number_of(ballot.value)
    share = None if number is None else as_text(number.value / 100)
    return Ballot(share, ballot.name) if share in bare and share is not None else ballot


def _disagree(said: Iterable[tuple[str, str]]) -> set[str]:
    """The values beside which more than one thing is said."""
    found: dict[str, set[str]] = {}
    for value, what in said:
        if what:
            found.setdefault(value, set()).add(what)
    return {value for value, whats in found.items() if len(whats) > 1}
