"""How many chains reach a target from given numbers, and how many there are.

A chain takes every number once, from left to right: add, subtract or multiply. It knows nothing of problems. Invariant: the
count is exact, and its work is bounded by the numbers alone: all beginnings from the one side, all that a target can have
come from on the other, some thousands of sums for six numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import factorial, prod

_Left = tuple[int, ...]


def chains(numbers: Sequence[int]) -> int:
    """All chains of these numbers that differ as texts."""
    orders = factorial(len(numbers)) // prod(factorial(times) for times in Counter(numbers).values())
    return int(orders * 3 ** (len(numbers) - 1))


def solutions(numbers: Sequence[int], target: int) -> int:
    """Those of them that end at the target, through whatever totals. The numbers are 1 or more."""
    reached = _beginnings(tuple(sorted(numbers)), (len(numbers) + 1) // 2)
    needed: dict[_Left, Counter[int]] = {(): Counter({target: 1})}
    found = 0
    for left, totals in reached.items():
        before = _before(left, needed)
        found += sum(ways * before[total] for total, ways in totals.items() if total in before)
    return found


def _beginnings(numbers: _Left, length: int) -> dict[_Left, Counter[int]]:
    """By the numbers that are left: in how many ways each total is reached with `length` of them."""
    reached = {_without(numbers, number): Counter({number: 1}) for number in numbers}
    for _ in range(length - 1):
        longer: dict[_Left, Counter[int]] = {}
        for left, totals in reached.items():
            for number in dict.fromkeys(left):
                after = longer.setdefault(_without(left, number), Counter())
                for total, ways in totals.items():
                    after[total + number] += ways
                    after[total - number] += ways
                    after[total * number] += ways
        reached = longer
    return reached


def _before(left: _Left, needed: dict[_Left, Counter[int]]) -> Counter[int]:
    """From which totals, and in how many ways, the numbers that are left lead to the target."""
    if left not in needed:
        before: Counter[int] = Counter()
        needed[left] = before
        for number in dict.fromkeys(left):
            for total, ways in _before(_without(left, number), needed).items():
                before[total - number] += ways
                before[total + number] += ways
                if total % number == 0:
                    before[total // number] += ways
    return needed[left]


def _without(numbers: _Left, number: int) -> _Left:
    place = numbers.index(number)
    return numbers[:place] + numbers[place + 1 :]
