"""The helper process behind MathGrader: math-verify without its own timeouts, which need signals.

It knows nothing of solutions: it is given an answer's LaTeX alone. Invariant: `canonical` of its own result
is that result, and equal canonical strings are equal answers.
"""

from __future__ import annotations

import logging

import sympy  # type: ignore[import-untyped]
from math_verify import parse, verify

from orchestration.problems.deadline import serve


def canonical(content: str) -> str | None:
    """Return the LaTeX of the simplified expression, decimals as fractions; None for no mathematics."""
    expression = _expression(content)
    if expression is None:
        return None
    if isinstance(expression, sympy.Basic):
        expression = sympy.simplify(sympy.nsimplify(expression, rational=True))
    text = str(sympy.latex(expression))
    if isinstance(expression, sympy.Symbol) and len(text) > 1 and text.isalpha():
        text = rf"\text{{{text}}}"  # a word; bare letters would read as a product
    again = _expression(text)
    # LaTeX that reads back as something else would change the answer: keep what was written.
    return text if again is not None and _same(expression, again) else " ".join(content.split())


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
