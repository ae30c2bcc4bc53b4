"""A strategy's text read as a call: its name, its named values, and how a report groups it.

The text is read as a Python call with named literals and never evaluated; a bare word stands for itself as text, as in
`width=sqrt`. It knows no strategy. Invariant: whatever text comes in, nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from actors.errors import UserError
from actors.strategy import Grouping

# Longer than any sensible text, and short enough for Python's parser.
_LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Call:
    """What a text says: the `name` and the `values` of its parameters; `written` has each of these as it stands there."""

    name: str
    values: dict[str, object]
    written: dict[str, str]

    def without(self, parameter: str) -> str:
        """The text without one of its parameters."""
        rest = ",".join(text for name, text in self.written.items() if name != parameter)
        return f"{self.name}({rest})" if rest else self.name


def read_call(text: object) -> Call:
    """Read `name` or `name(parameter=value,...)`. Raises UserError for whatever is written otherwise."""
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise UserError.of("strategy", text, "must be a text such as beam(n=16,width=4)")
    source = text.strip()
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        mend = "cannot be read; write it like beam(n=16,width=4)"
        raise UserError.of("strategy", text, mend) from None
    call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
    if call.args:
        raise UserError.of("strategy", text, "name each parameter, as in beam(n=16,width=4)")
    values: dict[str, object] = {}
    written: dict[str, str] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in values:
            raise UserError.of("strategy", text, "name each parameter, each of them once")
        values[keyword.arg] = _value(text, keyword.arg, keyword.value)
        written[keyword.arg] = ast.get_source_segment(source, keyword) or ""
    return Call(_dotted(text, call.func), values, written)


def grouping_of(text: str, n: int | None) -> Grouping:
    """The grouping of a strategy with a budget of `n` generations: its family is the name that its text begins with, its
    series the text without the parameter `n`."""
    try:
        call = read_call(text)
    except UserError:  # a user's own class may have any text
        return Grouping(text, text, n)
    return Grouping(call.name, call.without("n"), n)


def grouping_in(text: str) -> Grouping:
    """The grouping that a text alone tells: its budget is the parameter `n`, where that is a whole number."""
    try:
        n = read_call(text).values.get("n")
    except UserError:
        n = None
    return grouping_of(text, n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else None)


def _dotted(text: str, node: ast.expr) -> str:
    """Return `a.b.c` of a name or attribute chain."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(text, node.value)}.{node.attr}"
    raise UserError.of("strategy", text, "must begin with a strategy's name, as in beam(n=16,width=4)")


def _value(text: str, name: str, node: ast.expr) -> object:
    """Return a literal, or a bare word as text; true and false are read as config files write them."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise UserError.of("strategy", text, f"{name} must be a number, a word or a quoted text") from None
    return value
