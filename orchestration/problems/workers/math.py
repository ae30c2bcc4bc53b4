r"""The helper process behind MathGrader: the value of one expression in LaTeX, as a text that equal ones share.

math-verify's parser (latex2sympy) reads it, where all of the text is something that it reads faithfully; a number is then its
exact fraction, or its first digits, and what has variables its digits at a few fixed places for them. So no form has to be
normal, and the texts make an equivalence. It knows nothing of solutions, lists or names. Invariant: a text that is not
read to its end has no value.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended import latex2sympy  # type: ignore[import-untyped]
from latex2sympy2_extended.latex2sympy2 import ConversionConfig  # type: ignore[import-untyped]

from orchestration.problems.expressions import readable
from orchestration.problems.workers.deadline import serve

_DIGITS = 25
_WORKING = 50
_MOST_BITS = 20_000
_SHORT, _LOW = 30, 10
_LARGEST_FACTORIAL = 2_000
# Where the places for variables begin: they differ in sign, and one is large, so that |x| is not x and |x - 5| is not 5 - x.
_PLACES = (1, -3, 0, 29)

_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)")
_CONFIG = ConversionConfig(lowercase_symbols=False)


def value(text: str) -> list[str] | None:
    """The one text of an expression's value, and the expression for people; None for no expression."""
    expression = _expression(text)
    named = None if expression is None else _named(expression)
    return None if named is None else [named, _written(expression)]


def _named(expression: Any) -> str | None:
    if not expression.free_symbols and not expression.is_Rational:
        # Products of sums of roots may be plain numbers.
        expression = sympy.expand(expression)
    if expression.is_Rational:
        return str(expression)
    if expression in (sympy.oo, -sympy.oo):
        return "oo" if expression is sympy.oo else "-oo"
    digits = _signature(expression)
    if digits is None:
        return None
    symbols = sorted(map(str, expression.free_symbols))
    if not symbols:
        return digits[0]
    return f"{','.join(symbols)}: {' '.join(digits)}"


def equation(text: str) -> list[str] | None:
    """The same of an equation, whatever both sides are multiplied by; None for no equation."""
    left, sign, right = text.partition("=")
    sides = _expression(left), _expression(right)
    if not sign or any(side is None for side in sides):
        return None
    difference = sides[0] - sides[1]
    if not difference.free_symbols:
        return None
    values = [_number(difference, place) for place in range(len(_PLACES))]
    if any(one is None for one in values) or values[0] == 0:
        return None
    symbols = ",".join(sorted(map(str, difference.free_symbols)))
    ratios = " ".join(_shown(one / values[0]) for one in values[1:])
    return [f"{symbols}: 0 = {ratios}", f"{_written(sides[0])} = {_written(sides[1])}"]


def _written(expression: Any) -> str:
    """An expression as sympy writes it; sums of powers multiplied out, so that most equal ones are written alike."""
    powers = [power.exp for power in expression.atoms(sympy.Pow)]
    short = expression.count_ops() < _SHORT and all(power.is_Integer and power < _LOW for power in powers)
    if expression.free_symbols and short and expression.is_polynomial():
        expression = sympy.expand(expression)
    return str(sympy.latex(expression))


def _expression(text: str) -> Any:
    """The expression that the whole text is, None where it is none or is not read faithfully."""
    # Without a base the logarithm is the natural one; the parser takes ten.
    text = re.sub(r"\\log(?![A-Za-z_])", r"\\ln", text.strip())
    text = re.sub(r"\\log_\s*(\w)\s*(\d+)", r"\\log_{\1}{\2}", text)
    if not readable(text):
        return None
    text = _DECIMAL.sub(lambda m: rf"{{\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}}}", text)
    # Mixed numbers, 2\frac{1}{2}, are sums: the parser takes some for products.
    text = re.sub(r"(?<![\d.}])(\d+)\s*(\\frac\s*\{\d+\}\s*\{\d+\})", r"{(\1+\2)}", text)
    read = latex2sympy(text, conversion_config=_CONFIG, normalization_config=None)
    if not isinstance(read, sympy.Expr):
        return None
    return _evaluated(read)


def _evaluated(read: Any) -> Any:
    """The parser's tree with its sums and powers made, the natural logarithm and its base e as both are meant."""
    if read.is_Atom:
        if read.is_Symbol and read.name in ("e", "i"):
            return sympy.E if read.name == "e" else sympy.I
        return sympy.Rational(str(read)) if read.is_Float else read
    parts = [_evaluated(part) for part in read.args]
    if isinstance(read, sympy.Pow):
        base, exponent = parts
        if exponent.is_Integer and base.is_Rational:
            size = max(abs(base.p), base.q).bit_length() * abs(int(exponent))
            if size > _MOST_BITS:
                raise OverflowError(size)
    if isinstance(read, sympy.factorial) and parts[0].is_number and abs(parts[0]) > _LARGEST_FACTORIAL:
        raise OverflowError(parts[0])
    return read.func(*parts)


def _signature(expression: Any) -> list[str] | None:
    places = range(len(_PLACES)) if expression.free_symbols else range(1)
    values = [_number(expression, place) for place in places]
    return None if any(one is None for one in values) else [_shown(one) for one in values]


def _number(expression: Any, place: int) -> Any:
    """The expression's value with its variables at one of the fixed places, None where it has none."""
    at = {}
    for symbol in expression.free_symbols:
        # The place of a variable is its own, whatever others are there, and no whole number or simple fraction.
        digest = hashlib.blake2b(f"{place} {symbol}".encode(), digest_size=4).digest()
        at[symbol] = _PLACES[place] + sympy.Rational(int.from_bytes(digest, "big"), 1 << 32)
    found = sympy.N(expression.subs(at), _WORKING, maxn=200)
    return None if found.has(sympy.nan, sympy.zoo, sympy.oo) or not _closed(found) else found


def _closed(found: Any) -> bool:
    """Whether it came to digits, real or complex."""
    real, imaginary = found.as_real_imag()
    return bool(real.is_Number and imaginary.is_Number)


def _shown(number: Any) -> str:
    real, imaginary = number.as_real_imag()
    parts = [_digits(part) for part in (real, imaginary)]
    return parts[0] if parts[1] == "0" else f"{parts[0]}+{parts[1]}i"


def _digits(number: Any) -> str:
    with mpmath.workdps(_WORKING):
        value = mpmath.mpf(sympy.Float(number, _WORKING)._mpf_)
        if value == 0:
            return "0"
        return (
            "0" if abs(value) < mpmath.mpf(10) ** -30 else str(mpmath.nstr(value, _DIGITS)).removesuffix(".0")
        )


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve({"value": value, "equation": equation})
