"""Strategies from text: `greedy`, `beam(n=16,width=4)`, or a user's own `my.module.Class(n=4)`; or from the same as a
mapping in Hydra's form, `{_target_: my.module.Class, n: 4}`.

The text is read as a Python call with named literals and never evaluated; a bare word stands for itself as
text, as in `width=sqrt`. It knows nothing of any strategy's parameters but what its signature says.
Invariant: for the strategies of the registry, `parse(strategy.text) == strategy`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import cast

from actors.errors import UserError, nearest
from actors.strategy import Strategy
from actors.targets import check_arguments, imported
from orchestration.strategies.registry import STRATEGIES

# Longer than any sensible text, and short enough for Python's parser.
_LONGEST = 2_000

# What a strategy cannot do without.
_MEMBERS = ("text", "uses_verifier", "sequences", "solve")


def parse(given: str | Mapping[str, object]) -> Strategy:
    """Return the strategy that a text or a mapping names.

    A name with dots is imported: the last part is a class (or function) that takes named literals and gives a
    `Strategy`; it has to be importable on the workers as well. Raises UserError, with the nearest right name,
    for whatever cannot be understood.
    """
    name, arguments = _entries(given) if isinstance(given, Mapping) else _read(given)
    shown = dict(given) if isinstance(given, Mapping) else given
    factory = imported("strategy", shown, name) if "." in name else _registered(shown, name)
    check_arguments("strategy", shown, name, factory, arguments, f"{name}({{}}=16)")
    strategy = factory(**arguments)
    if missing := [member for member in _MEMBERS if not hasattr(strategy, member)]:
        mend = (
            f"{name} gives no strategy: it lacks {', '.join(missing)}; it needs text, uses_verifier, sequences and "
            "async solve"
        )
        raise UserError.of("strategy", shown, mend)
    return cast(Strategy, strategy)


def _entries(given: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Part a mapping into its target and its named values."""
    name = given.get("_target_")
    if not isinstance(name, str) or not all(isinstance(key, str) for key in given):
        mend = "a mapping needs _target_ and named values, as in {_target_: my_package.module.Class, n: 4}"
        raise UserError.of("strategy", dict(given), mend)
    return name, {key: value for key, value in given.items() if key != "_target_"}


def _read(text: object) -> tuple[str, dict[str, object]]:
    """Split a text into its name and its named values."""
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise UserError.of("strategy", text, "must be a text such as beam(n=16,width=4)")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        mend = "cannot be read; write it like beam(n=16,width=4)"
        raise UserError.of("strategy", text, mend) from None
    call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
    if call.args:
        raise UserError.of("strategy", text, "name each parameter, as in beam(n=16,width=4)")
    arguments: dict[str, object] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise UserError.of("strategy", text, "name each parameter, each of them once")
        arguments[keyword.arg] = _value(text, keyword.arg, keyword.value)
    return _dotted(text, call.func), arguments


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


def _registered(given: object, name: str) -> Callable[..., object]:
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        mend = (
            f"there is no strategy {name!r}{nearest(name, STRATEGIES)}; known are {known} and my.module.Class"
        )
        raise UserError.of("strategy", given, mend)
    return STRATEGIES[name]
