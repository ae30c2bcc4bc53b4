"""Strategies from text: `greedy`, `beam(n=16,width=4)`, or a user's own `my.module.Class(n=4)`.

The text is read as a Python call with named literals and never evaluated; a bare word stands for itself as
text, as in `width=sqrt`. It knows nothing of any strategy's parameters but what its signature says.
Invariant: for the strategies of the registry, `parse(strategy.text) == strategy`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable

from actors.errors import UserError, nearest
from actors.work import Strategy
from orchestration.strategies.registry import STRATEGIES

# Longer than any sensible text, and short enough for Python's parser.
_LONGEST = 2_000


def parse(text: str) -> Strategy:
    """Return the strategy that a text names.

    A name with dots is imported: the last part is a class (or function) that takes named literals and gives a
    `Strategy`; it has to be importable on the workers as well. Raises UserError, with the nearest right name,
    for whatever cannot be understood.
    """
    name, arguments = _read(text)
    factory = _imported(text, name) if "." in name else _registered(text, name)
    _check_arguments(text, name, factory, arguments)
    strategy = factory(**arguments)
    if not isinstance(strategy, Strategy):
        mend = f"{name} gives no strategy: it needs text, uses_verifier, sequences and async solve"
        raise UserError.of("strategy", text, mend)
    return strategy


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


def _registered(text: str, name: str) -> Callable[..., object]:
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        mend = (
            f"there is no strategy {name!r}{nearest(name, STRATEGIES)}; known are {known} and my.module.Class"
        )
        raise UserError.of("strategy", text, mend)
    return STRATEGIES[name]


def _imported(text: str, name: str) -> Callable[..., object]:
    """Import a user's factory. What his module itself raises on import, other than ImportError, is his to
    see.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError.of("strategy", text, f"cannot import {module_name}: {error}") from None
    factory: object = getattr(module, attribute, None)
    if not callable(factory):
        mend = f"{module_name} has no class {attribute!r}{nearest(attribute, vars(module))}"
        raise UserError.of("strategy", text, mend)
    return factory


def _check_arguments(
    text: str, name: str, factory: Callable[..., object], arguments: dict[str, object]
) -> None:
    """Raise UserError for parameters that the factory does not take or that it misses."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:
        # Some classes written in C tell nothing; then the call itself has to.
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    for argument in arguments:
        if argument not in known and not takes_any:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            mend = f"{name} has no parameter {argument!r}{nearest(argument, known)}; {takes}"
            raise UserError.of("strategy", text, mend)
    for p in parameters:
        if p.name in known and p.default is p.empty and p.name not in arguments:
            raise UserError.of("strategy", text, f"{name} needs {p.name}, as in {name}({p.name}=16)")
