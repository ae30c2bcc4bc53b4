"""The helper process behind MathGrader: math-verify without its own timeouts, which need signals.

It knows nothing of solutions: it is given an answer's LaTeX alone. Invariant: `canonical` of its own result
is that result, equal canonical strings are equal answers, and what math-verify finds equal has one canonical
string. One exception remains, for there the relation is not transitive, so that no string could follow it: to
math-verify a set equals every tuple of its members, (1, 2) as well as (2, 1), which are not equal.
"""

from __future__ import annotations

import logging
import re

import sympy  # type: ignore[import-untyped]
from math_verify import parse, verify

from orchestration.problems.workers.deadline import serve

# Words: what a product of single letters would make of them is nobody's answer.
_WORDS = re.compile(r"[A-Za-z]+(?:\s+[A-Za-z]+)*")
# Not one chain of equations: several, or an inequality.
_SEVERAL = re.compile(r"[,;<>!:]|\\text|\\(?:ne|le|ge|or|and)")


def canonical(content: str) -> str | None:
    """Return the LaTeX of the simplified expression, decimals as fractions, without the name that it is given.

    So `x = 5`, `f(x) = 5`, `2 + 3 = 5` and `5` are one answer, `x = 1 or x = 2` is the set of both, `x > 3` an interval.
    None for no mathematics.
    """
    if content.count("=") > 1 and not _SEVERAL.search(content):
        content = content.rpartition("=")[2]
    expression = _expression(content)
    if expression is None:
        return None
    if isinstance(expression, sympy.Basic):
        expression = _bare(sympy.simplify(sympy.nsimplify(_bare(expression), rational=True)))
    text = str(sympy.latex(expression))
    if isinstance(expression, sympy.Symbol) and len(text) > 1 and text.isalpha():
        text = rf"\text{{{text}}}"  # a word; bare letters would read as a product
    again = _expression(text)
    if again is not None and _same(expression, again):
        return text
    # LaTeX that reads back as something else would change the answer: keep what was written.
    written = " ".join(content.split())
    return written.casefold() if _WORDS.fullmatch(written) else written


def _bare(expression: sympy.Basic) -> sympy.Basic:
    """What an equation or an inequality says of its one unknown; anything else as it is."""
    if isinstance(expression, sympy.FiniteSet) and all(
        isinstance(part, sympy.Eq) for part in expression.args
    ):
        named = {part.lhs: part.rhs for part in expression.args}
        if all(isinstance(name, sympy.Symbol) for name in named):
            if len(named) == len(expression.args) > 1:
                return sympy.Tuple(*(named[name] for name in sorted(named, key=str)))
            if len(named) == 1:
                return sympy.FiniteSet(*(part.rhs for part in expression.args))
    if isinstance(expression, sympy.Eq):
        left, right = expression.args
        if _is_name(left) != _is_name(right):
            name, value = (left, right) if _is_name(left) else (right, left)
            return expression if value.has(name) else value
        return right if not left.free_symbols and not _is_name(left) else expression
    if isinstance(expression, sympy.core.relational.Relational | sympy.And) and not isinstance(
        expression, sympy.Ne
    ):
        parts = expression.args if isinstance(expression, sympy.And) else (expression,)
        if len(expression.free_symbols) == 1 and all(_bounds(part) for part in parts):
            return expression.as_set()
    return expression


def _is_name(part: sympy.Basic) -> bool:
    return isinstance(part, sympy.Symbol | sympy.core.function.AppliedUndef)


def _bounds(part: sympy.Basic) -> bool:
    """Whether it bounds a symbol by a number."""
    return isinstance(part, sympy.core.relational.Relational) and {
        isinstance(side, sympy.Symbol) for side in part.args
    } == {True, False}


def equal(answer: str, reference: str) -> bool:
    """Say whether two canonical answers agree; the reference is the stricter side (math-verify's `gold`)."""
    given, expected = _parse(answer), _parse(reference)
    return bool(given and expected and verify(expected, given, timeout_seconds=None))


def _same(left: object, right: object) -> bool:
    return bool(left == right or verify(left, right, timeout_seconds=None))


def _expression(content: str) -> object | None:
    return next((part for part in _parse(content) if not isinstance(part, str)), None)


def _parse(content: str) -> list[object]:
    return list(parse(f"${content}$", parsing_timeout=None))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # math-verify warns on every call that it has no timeout
    serve({"canonical": canonical, "equal": equal})
