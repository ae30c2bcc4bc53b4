"""A strategy's text read as a call: its name, its named values, and how a report groups it.

The text is read as a Python call with named literals and never evaluated; a bare word stands for itself as text, as in
`width=sqrt`. It knows no strategy. Invariant: whatever text comes in, nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass

from actors.errors import UserError
from actors.strategy import Grouping

# Longer than any sensible text, and short enough for Python's parser.
_LONGEST = 2_000

# Digits of the largest budget that a text is believed to name.
_LONGEST_NUMBER = 18

_KEYWORD = re.compile(rf"(?<=[(,])\s*({'|'.join(keyword.kwlist)})\s*=(?!=)")
"""A parameter by a word that Python's parser takes for its own, as in `beam(n=4,with=4)`."""

_MARK = "_is_a_keyword_"


@dataclass(frozen=True, slots=True)
class Call:
    """What a text says: the `name` and the `values` of its parameters."""

    name: str
    values: dict[str, object]


def read_call(text: object) -> Call:
    """Read `name` or `name(parameter=value,...)`. Raises UserError for whatever is written otherwise."""
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise UserError.of("strategies", text, "must be a text such as beam(n=16,width=4)")
    source = text.strip()
    # A word of Python's own is read too, so that whoever knows the parameters can name the one that was meant.
    tree = _parsed(source) or _parsed(_KEYWORD.sub(rf"{_MARK}\1=", source))
    if tree is None:
        mend = "cannot be read; write it like beam(n=16,width=4)"
        raise UserError.of("strategies", text, mend)
    call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
    if call.args:
        raise UserError.of("strategies", text, "name each parameter, as in beam(n=16,width=4)")
    values: dict[str, object] = {}
    for given in call.keywords:
        name = (given.arg or "").removeprefix(_MARK)
        if not name or name in values:
            raise UserError.of("strategies", text, "name each parameter, each of them once")
        values[name] = _value(text, name, given.value)
    return Call(_dotted(text, call.func), values)


def _parsed(source: str) -> ast.expr | None:
    """The expression that a text is; None where it is none."""
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def grouping_of(text: str, n: int | None) -> Grouping:
    """The grouping of a strategy with a budget of `n` generations: its family is the name that its text begins with, its
    series the text without the parameter `n`."""
    name, parameters = _parted(text)
    rest = ",".join(one for one in parameters if not _says_n(one))
    return Grouping(name, f"{name}({rest})" if rest else name, n)


def grouping_in(text: str) -> Grouping:
    """The grouping that a text alone tells: its budget is the parameter `n`, where that is a whole number."""
    said = next((one.partition("=")[2].strip() for one in _parted(text)[1] if _says_n(one)), "")
    n = int(said) if said.isdecimal() and len(said) <= _LONGEST_NUMBER else 0
    return grouping_of(text, n or None)


def _parted(text: str) -> tuple[str, list[str]]:
    """The name that a text begins with and its parameters as they stand there. A user's own class may have any text, so this
    reads more than `read_call` does: it parts at the commas that are in no inner bracket and in no quotes.
    """
    name, opened, rest = text.partition("(")
    if not (opened and rest.endswith(")")):
        return text, []
    parameters, depth, quote = [""], 0, ""
    for sign in rest[:-1]:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        else:
            depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not quote and depth == 0:
            parameters.append("")
        else:
            parameters[-1] += sign
    return name, [one.strip() for one in parameters if one.strip()]


def _says_n(parameter: str) -> bool:
    return parameter.partition("=")[0].strip() == "n"


def _dotted(text: str, node: ast.expr) -> str:
    """Return `a.b.c` of a name or attribute chain."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(text, node.value)}.{node.attr}"
    raise UserError.of("strategies", text, "must begin with a strategy's name, as in beam(n=16,width=4)")


def _value(text: str, name: str, node: ast.expr) -> object:
    """Return a literal, or a bare word as text; true and false are read as config files write them."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise UserError.of("strategies", text, f"{name} must be a number, a word or a quoted text") from None
    return value
