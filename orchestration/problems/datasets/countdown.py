"""Countdown in a chain: reach a target from given numbers, one operation a line on a running total.

To find a way is hard, to see whether it arrived is easy, and how promising a beginning is must be learnt. A chain is worked
from left to right, whatever its signs, and takes every number once. It knows nothing of prompts or grading. Invariants: every
problem has a solution; a worked solution is honest, line by line, also where it fails to reach the target.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any

from actors.errors import UserError
from actors.seeds import derive
from orchestration.problems.datasets.countdown_solver import chains, solutions
from orchestration.problems.datasets.generated import WORKED, with_options
from orchestration.problems.problem import Problem, content_id

MOVES: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
"""What may be done with the next number."""

FEWEST, MOST = 2, 6
"""Numbers of a problem."""

_TRIES = 1_000
"""Chains that are drawn for a problem before it counts as one that there is not."""

_RANGES = ("values", "targets")

LARGEST = 10**9 - 1
"""A longer number is none that the grader of these problems reads."""

Chain = tuple[int, tuple[tuple[str, int], ...]]
"""The first number, then each sign and number."""


@dataclass(frozen=True, slots=True)
class CountdownSource:
    """Problems of 2 to 6 numbers.

    `values` is the range of the numbers, `targets` that of what is to be reached, both inclusive; totals on the way lie
    between 1 and the largest target. `shares` say how often 2, 3, ... numbers are drawn, and sum to one. A question that was
    there before is drawn again without it, and there are few of two numbers: among many problems their share is below the one
    that is drawn. `failures`, of 2, 3, ... numbers: how likely a worked solution leaves the way at the start and before each
    move, for moves at random to whatever end they have; for training alone, no question depends on it. A policy that learns
    from solutions that always arrive learns to write the target whatever it has computed.
    """

    values: tuple[int, int] = (2, 50)
    targets: tuple[int, int] = (10, 300)
    shares: tuple[float, ...] = (0.15, 0.3, 0.25, 0.2, 0.1)
    failures: tuple[float, ...] = field(default=(0.0,) * (MOST - FEWEST + 1), metadata=WORKED)

    def __post_init__(self) -> None:
        for name in _RANGES:
            low, high = _whole(name, getattr(self, name))
            object.__setattr__(self, name, (low, high))  # a config file brings lists
            if not 1 <= low <= high:
                raise _refused(name, [low, high], "two rising numbers from 1 on")
            if name == "values" and high > LARGEST:
                mend = f"numbers of more than {len(str(LARGEST))} digits are none that an answer may have"
                raise _refused(name, [low, high], mend)
        for name in ("shares", "failures"):
            given = _shares(name, getattr(self, name))
            counts = [str(count) for count in range(FEWEST, MOST + 1)]
            if len(given) > len(counts):
                numbers = f"{', '.join(counts[:-1])} and {counts[-1]}"
                raise _refused(
                    name,
                    list(given),
                    f"give at most {len(counts)} shares, of problems with {numbers} numbers",
                )
            if not all(0 <= share <= 1 for share in given):
                raise _refused(name, list(given), "each is a share between 0 and 1")
            object.__setattr__(self, name, tuple(float(share) for share in given))
        if abs(sum(self.shares) - 1) > 1e-6:
            raise _refused("shares", list(self.shares), f"they sum to {_sum(self.shares)}, and must to 1")
        if len(self.failures) < len(self.shares):
            mend = f"give one for each of the {len(self.shares)} shares"
            raise _refused("failures", list(self.failures), mend)
        for count, share in enumerate(self.shares, start=FEWEST):
            if share and self._chain(Random(0), count) is None:
                mend = (
                    f"in {_TRIES:,} tries no {count} numbers of values = {list(self.values)} reached one: widen the ranges, "
                    f"or give {count} numbers no share"
                )
                raise _refused("targets", list(self.targets), mend)

    def with_options(self, options: dict[str, Any]) -> CountdownSource:
        """Return this source with some settings replaced, ranges given as [low, high]."""
        return with_options(self, options)

    @property
    def description(self) -> str:
        shares = ", ".join(
            f"{share:.0%} of {count}" for count, share in enumerate(self.shares, start=FEWEST) if share
        )
        (low, high), (least, most) = self.values, self.targets
        return f"countdown in a chain: reach {least}-{most} from numbers of {low}-{high} (drawn: {shares} numbers)"

    def draw(self, seed: int, index: int) -> Problem | None:
        place = derive("numbers", seed, index) / 2**63
        count = FEWEST + sum(place >= edge for edge in tuple(accumulate(self.shares))[:-1])
        rng = Random(derive("countdown", seed, index))
        chain = self._chain(rng, count)
        if chain is None:
            return None
        first, moves = chain
        target, numbers = _total(chain), sorted((first, *(number for _, number in moves)))
        question = f"Make {target} from {', '.join(map(str, numbers))}."
        answer = f"{target} from {' '.join(map(str, numbers))}"
        found = solutions(numbers, target)
        metadata = {
            "family": "countdown",
            "length": count,
            "solutions": found,
            "level": level(chains(numbers) / found),
        }
        worked = _written(self._tried(rng, chain))
        return Problem(content_id("countdown", question), question, answer, worked, metadata)

    def _chain(self, rng: Random, count: int) -> Chain | None:
        """A chain of so many numbers to a target; None where none was met."""
        for _ in range(_TRIES):
            total = first = _between(rng, *self.values)
            moves: list[tuple[str, int]] = []
            while len(moves) < count - 1:
                number = _between(rng, *self.values)
                signs = self._signs(total, number)
                if not signs:
                    break
                moves.append((_one(rng, signs), number))
                total = MOVES[moves[-1][0]](total, number)
            else:
                if self.targets[0] <= total <= self.targets[1]:
                    return first, tuple(moves)
        return None

    def _signs(self, total: int, number: int) -> list[str]:
        """The moves after which a total is neither below 1 nor above all targets."""
        return [sign for sign, move in MOVES.items() if 1 <= move(total, number) <= self.targets[1]]

    def _tried(self, rng: Random, chain: Chain) -> Chain:
        """The chain as a worked solution has it: to its end, or left for moves at random."""
        chance = self.failures[len(chain[1]) + 1 - FEWEST]
        # One draw for the start and one for each move: those after the way was left change nothing.
        left = next((place for place in range(len(chain[1]) + 1) if rng.random() < chance), None)
        if left is None:
            return chain
        numbers = [chain[0], *(number for _, number in chain[1])]
        kept, rest = numbers[:left], numbers[left:]
        _shuffle(rng, rest)
        first, *others = kept + rest
        moves: list[tuple[str, int]] = list(chain[1][: max(left - 1, 0)])
        total = _total((first, tuple(moves)))
        for number in others[len(moves) :]:
            # Where no move stays within the bounds, to add is as good as any.
            sign = _one(rng, self._signs(total, number) or ["+"])
            moves.append((sign, number))
            total = MOVES[sign](total, number)
        return first, tuple(moves)


def level(tries: float) -> int:
    """How hard a problem looks to who does not know the policy, from 1 to 5: how many chains there are for one that is right,
    in powers of six."""
    return next((one for one in range(1, 5) if tries <= 6**one), 5)


def _refused(name: str, value: object, mend: str) -> UserError:
    return UserError.of(f"dataset.options.{name}", value, mend)


def _whole(name: str, given: object) -> tuple[int, int]:
    if not isinstance(given, list | tuple) or [type(one) for one in given] != [int, int]:
        raise _refused(name, given, "give two whole numbers: [low, high]")
    low, high = given
    return low, high


def _shares(name: str, given: object) -> Sequence[float]:
    if not isinstance(given, list | tuple) or not given or {type(one) for one in given} - {int, float}:
        raise _refused(name, given, "give a list of shares, e.g. [0.5, 0.5] for 2 and 3 numbers")
    return given


def _sum(shares: Sequence[float]) -> str:
    """Their sum in as many digits as tell it from 1."""
    total = sum(shares)
    return next(text for digits in range(6, 18) if float(text := f"{total:.{digits}g}") != 1)


def _total(chain: Chain) -> int:
    total = chain[0]
    for sign, number in chain[1]:
        total = MOVES[sign](total, number)
    return total


def _written(chain: Chain) -> str:
    """A line for each move, and the whole chain behind ####."""
    total, moves = chain
    lines = []
    for sign, number in moves:
        after = MOVES[sign](total, number)
        lines.append(f"{total} {sign} {number} = {after}")
        total = after
    expression = " ".join((str(chain[0]), *(f"{sign} {number}" for sign, number in moves)))
    return "\n".join((*lines, f"#### {expression}"))


# Of Random only random() is promised to draw alike in every version of Python.
def _between(rng: Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _one(rng: Random, items: Sequence[str]) -> str:
    return items[_between(rng, 0, len(items) - 1)]


def _shuffle(rng: Random, items: list[int]) -> None:
    for last in range(len(items) - 1, 0, -1):
        other = _between(rng, 0, last)
        items[last], items[other] = items[other], items[last]
