"""Values that cross between a program and its tests, as JSON: plain ones as they are, all others by a number.

What crosses is data, whatever either side has done to its interpreter: nothing that is decoded runs code of the other side.
It knows nothing of processes. Invariant: a plain value decodes to an equal one of the same type; one of a subclass decodes
to the plain type that it extends, so no method of a program's own, such as `__eq__`, reaches the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

_DEEPEST = 200
_SHORT = 1 << 53


class Unpassable(Exception):
    """A value that cannot cross."""


def packed(value: Any, named: Callable[[Any], dict[str, Any]], depth: int = 0) -> Any:
    """A value as JSON; `named` says what stands for one that is not plain. Raises Unpassable."""
    if depth > _DEEPEST:
        raise Unpassable("it is nested too deeply")

    def inner(values: Any) -> list[Any]:
        return [packed(one, named, depth + 1) for one in values]

    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case Integral():
            return int(value) if abs(int(value)) < _SHORT else {"int": hex(int(value))}
        case Fraction():
            return {"fraction": [hex(value.numerator), hex(value.denominator)]}
        case Real():
            number = float(value)
            return number if math.isfinite(number) else {"float": str(number)}
        case complex():
            return {"complex": inner([value.real, value.imag])}
        case Decimal():
            return {"decimal": str(value)}
        case list():
            return inner(list.__iter__(value))
        case tuple():
            return {"tuple": inner(tuple.__iter__(value))}
        case set():
            return {"set": inner(set.__iter__(value))}
        case frozenset():
            return {"frozenset": inner(frozenset.__iter__(value))}
        case dict():
            return {"dict": [inner(pair) for pair in dict.items(value)]}
        case bytes():
            return {"bytes": bytes.hex(value)}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return packed(value.item(), named, depth + 1)
    return named(value)


def unpacked(value: Any, named: Callable[[int], Any]) -> Any:
    """What was packed; `named` gives what a number stands for. Raises ValueError for what was not."""
    if isinstance(value, list):
        return [unpacked(one, named) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    match kind:
        case "int":
            return int(inside, 16)
        case "fraction":
            return Fraction(int(inside[0], 16), int(inside[1], 16))
        case "float":
            return float(inside)
        case "complex":
            return complex(*unpacked(inside, named))
        case "decimal":
            return Decimal(inside)
        case "tuple":
            return tuple(unpacked(inside, named))
        case "set":
            return set(unpacked(inside, named))
        case "frozenset":
            return frozenset(unpacked(inside, named))
        case "dict":
            return dict(unpacked(inside, named))
        case "bytes":
            return bytes.fromhex(inside)
        case "object":
            return named(int(inside))
    raise ValueError(f"no value: {kind!r}")
