r"""Answers that are mathematics: `\boxed{...}`, else what follows `####`, else "the answer is ...".

Numbers, words and what they are put together to are read here, in microseconds; single expressions by math-verify's
parser, in processes that can be killed. It knows nothing of problems. Invariant: a text that is not read to its end is an
answer all the same, the text itself; what the machine is to blame for is no verdict, and no failure is remembered.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

from actors.errors import UserError
from actors.strategy import Answer
from orchestration.problems.expressions import readable
from orchestration.problems.graders.ballots import Ballot
from orchestration.problems.graders.ending import boxed, final_answer, unwrapped
from orchestration.problems.graders.grader import JudgedByAnswer
from orchestration.problems.graders.numbers import as_text, number_of
from orchestration.problems.graders.reading import read, says_something
from orchestration.problems.workers.deadline import NoAnswer, shared_pool, warn

_LONGEST_ANSWER = 1_000
_MOST_WORDS = 40
_FRACTION = re.compile(r"-?\d+/\d+")
_PLAIN = re.compile(r"-?\d+(?:\.\d{1,15}|/\d+)?")
_MATH = "orchestration.problems.workers.math"


@dataclass(frozen=True, slots=True)
class MathGrader(JudgedByAnswer):
    r"""Free mathematics: numbers, expressions, tuples, sets, intervals, equations, matrices, words.

    All that needs a parser runs in `workers` processes of its own, each killed and replaced when a call uses more than
    `deadline` seconds of the processor: such an answer is its text, and the log says so. Where a process gets no time to find
    out in, `Stalled` is raised. Safe to call from any thread; a call blocks its thread only.
    """

    workers: int = 1
    deadline: float = 5.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError.of("grader.workers", self.workers, "it must be at least 1")
        if self.deadline <= 0:
            raise UserError.of("grader.deadline", self.deadline, "it must be more than 0 seconds")

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return f"math-6 latex2sympy2-{version('latex2sympy2_extended')} deadline-{self.deadline:g}"

    def extract(self, text: str) -> Answer | None:
        content = final_answer(text)
        return None if content is None else self._answer(content)

    def correct(self, answer: str | None, reference: str) -> bool:
        if answer is None:
            return False
        expected = self.read_reference(reference)
        if expected is None:
            return False
        given = answer if isinstance(answer, Answer) else self._answer(answer)
        return given is not None and right(Ballot.of(given.ballot), Ballot.of(expected.ballot))

    def reads(self, reference: str) -> bool:
        """All but a whole text without a final answer, which no answer equals; without the help of a parser."""
        if (found := final_answer(reference)) is None:
            found = unwrapped(reference)
            if len(found.split()) > _MOST_WORDS:
                return False
        return len(found) <= _LONGEST_ANSWER and says_something(found)

    def as_text(self, reference: str, *, parse: bool = True) -> bool:
        """Words, and whatever else is no number, no choice and no expression."""
        content = final_answer(reference) or unwrapped(reference)
        if content.casefold() == "n/a":
            return True
        leaf = functools.partial(self._leaf, {}) if parse else _looked_at
        found = read(boxed(content) or unwrapped(content), leaf)
        return found is not None and found.bare

    def read_reference(self, reference: str) -> Answer | None:
        return self._answer(final_answer(reference) or unwrapped(reference))

    def _answer(self, content: str) -> Answer | None:
        if len(content) > _LONGEST_ANSWER:
            return None
        written: dict[str, str] = {}
        found = read(boxed(content) or unwrapped(content), functools.partial(self._leaf, written))
        if found is None:
            return None
        shown = found.shown
        for value, text in written.items():
            shown = shown.replace(value, text)
        return Answer(shown, found.text)

    def _leaf(self, written: dict[str, str], kind: str, content: str) -> str | None:
        """The value of an expression; how it is written for people is noted in `written`."""
        try:
            # The same few answers come again and again: references, and votes for one problem.
            found = _value(self.workers, self.deadline, kind, content)
        except NoAnswer as error:
            warn(f"is taken as a text, for {error}", content)
            return None
        if found is None:
            return None
        value, text = found
        if not _PLAIN.fullmatch(value):
            written.setdefault(value, text)
        return value


def _looked_at(kind: str, content: str) -> str | None:
    """Some value of what looks like an expression."""
    return "0" if readable(content) else None


def right(given: Ballot, expected: Ballot) -> bool:
    """Whether an answer agrees with a reference; either may leave out a name or a unit, and a percentage is its value,
    too."""
    if given.agrees(expected):
        return True
    if "%" in (given.unit, expected.unit) and given.unit != expected.unit:
        return _share(given) == _share(expected) is not None
    return False


def _share(ballot: Ballot) -> Fraction | None:
    """The number that a ballot is, a percentage as its share of one."""
    number = number_of(ballot.value)
    if number is None or ballot.name or ballot.unit not in ("", "%"):
        return None
    return number.value / 100 if ballot.unit == "%" else number.value


@functools.lru_cache(maxsize=65_536)
def _value(workers: int, deadline: float, kind: str, content: str) -> tuple[str, str] | None:
    result = shared_pool(_MATH, workers, deadline).call(kind, content)
    if result is None:
        return None
    value, written = map(str, result)
    return (as_text(Fraction(value)) if _FRACTION.fullmatch(value) else value), written
