"""What every strategy's settings share: their checks and their canonical text.

It knows nothing of models or parsing. Invariant: two strategies have the same text if and only if they are
equal.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from typing import TYPE_CHECKING

from actors.errors import UserError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def canonical(name: str, strategy: DataclassInstance, always: Sequence[str] = ()) -> str:
    """Return `name(field=value,...)` in the order of the fields, without those that have their default.

    The fields in `always` are shown whatever their value; what is no parameter is not. Text that is an identifier stands
    without quotes.
    """
    shown = [
        f"{field.name}={_literal(getattr(strategy, field.name))}"
        for field in fields(strategy)
        if field.init and (field.name in always or getattr(strategy, field.name) != field.default)
    ]
    return f"{name}({','.join(shown)})" if shown else name


def _literal(value: object) -> str:
    if isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value):
        return value
    # A strategy in a strategy stands as its text.
    return repr(getattr(value, "text", value))


MOST = 1_000_000
"""The largest count: what a strategy draws of one problem is in memory at once."""


def check_count(field: str, value: object) -> None:
    """Raise UserError unless `value` is a whole number of at least 1, and not above what a machine holds."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError.of(field, value, "must be a whole number of at least 1")
    if value > MOST:
        raise UserError.of(
            field, value, f"must be at most {MOST:,}: all that is drawn of one problem is in memory at once"
        )


def check_whole(field: str, value: object) -> None:
    """Raise UserError unless `value` is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError.of(field, value, "must be a whole number of at least 0")


def check_flag(field: str, value: object) -> None:
    """Raise UserError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise UserError.of(field, value, "must be True or False")


def check_choice(field: str, value: object, choices: Sequence[str]) -> None:
    """Raise UserError unless `value` is one of `choices`."""
    if value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise UserError.of(field, value, f"must be one of {', '.join(choices)}{hint}")


def check_width(field: str, n: int, width: object) -> None:
    """Raise UserError unless n / width is whole, or width is above n, or "sqrt"."""
    if width == "sqrt":
        return
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UserError.of(field, width, "must be a whole number of at least 1, or sqrt")
    if width < n and n % width:
        below = max(m for m in _divisors(n) if m < width)
        above = min(m for m in _divisors(n) if m > width)
        raise UserError.of(field, width, f"must divide n = {n}; the nearest that do are {below} and {above}")


def width_of(n: int, width: int | str) -> int:
    """Return the number that a checked `width` stands for: at most `n`, and for "sqrt" the divisor of `n` nearest to its
    square root by ratio, the smaller of two.
    """
    if isinstance(width, int):
        return min(width, n)
    return min(_divisors(n), key=lambda m: (max(Fraction(m * m, n), Fraction(n, m * m)), m))


def check_temperature(field: str, value: object) -> float:
    """Return the temperature as a float; raise UserError unless it is finite and above 0.

    At 0 all draws are one and the same, and their votes would be votes of copies; that is what `greedy` is
    for.
    """
    number = check_number(field, value)
    if not (number > 0 and math.isfinite(number)):
        raise UserError.of(field, value, "must be above 0; one sample at temperature 0 is `greedy`")
    return number


def check_not_negative(field: str, value: object) -> float:
    """Return the number as a float; raise UserError unless it is finite and at least 0."""
    number = check_number(field, value)
    if not (number >= 0 and math.isfinite(number)):
        raise UserError.of(field, value, "must be a finite number of at least 0")
    return number


def check_positive(field: str, value: object) -> float:
    """Return the number as a float; raise UserError unless it is finite and above 0."""
    number = check_number(field, value)
    if not (number > 0 and math.isfinite(number)):
        raise UserError.of(field, value, "must be a finite number above 0")
    return number


def check_top_p(field: str, value: object) -> float:
    """Return top-p as a float; raise UserError unless it lies in (0, 1]."""
    number = check_number(field, value)
    if not 0 < number <= 1:
        raise UserError.of(field, value, "must be above 0 and at most 1")
    return number


def _divisors(n: int) -> list[int]:
    return [m for m in range(1, n + 1) if n % m == 0]


def check_number(field: str, value: object) -> float:
    """Return the number as a float; raise UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError.of(field, value, "must be a number")
    return float(value)
