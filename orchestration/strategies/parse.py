"""Strategies from text: `greedy`, `beam(n=16,width=4)`, or a user's own `my.module.Class(n=4)`; or from the same as a
mapping in Hydra's form, `{_target_: my.module.Class, n: 4}`.

How a text is read is `call`'s. It knows nothing of any strategy's parameters but what its signature says.
Invariant: for the strategies of the registry, `parse(strategy.text) == strategy`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from actors.errors import UserError, nearest
from actors.strategy import Described, Strategy
from actors.targets import check_arguments, imported
from orchestration.strategies.call import read_call
from orchestration.strategies.registry import STRATEGIES

T = TypeVar("T")

# What a strategy cannot do without.
_MEMBERS = ("text", "uses_verifier", "sequences", "solve")

_SOLVE = "write async def solve(self, prompt, models)"


def parse(given: str | Mapping[str, object]) -> Strategy:
    """Return the strategy that a text or a mapping names.

    A name with dots is imported: the last part is a class (or function) that takes named literals and gives a
    `Strategy`; it has to be importable on the workers as well. Raises UserError, with the nearest right name,
    for whatever cannot be understood.
    """
    name, arguments = _entries(given) if isinstance(given, Mapping) else _parts(given)
    shown = dict(given) if isinstance(given, Mapping) else given
    factory = imported("strategies", shown, name) if "." in name else _factory(shown, name)
    strategy = _made(shown, name, factory, arguments)
    missing = [member for member in _MEMBERS if not hasattr(strategy, member)]
    if not missing and not callable(getattr(strategy, "solve", None)):
        missing = ["a solve that can be called"]
    if missing:
        mend = (
            f"{name} gives no strategy: it lacks {', '.join(missing)}; it needs text, uses_verifier, sequences and "
            "async solve"
        )
        raise UserError.of("strategies", shown, mend)
    found = cast(Strategy, strategy)
    if (unfit := _unfit(found)) is not None:
        raise UserError.of("strategies", shown, f"{name} {unfit}")
    return found


def _unfit(strategy: Strategy) -> str | None:
    """What of a strategy's members would fail every problem, or the scheduler; None: nothing."""
    if not inspect.iscoroutinefunction(inspect.unwrap(strategy.solve)):
        return f"has a solve that is no coroutine function: {_SOLVE}"
    try:
        inspect.signature(strategy.solve).bind(None, None)
    except TypeError as error:
        return f"has a solve that cannot be called with a prompt and models ({error}): {_SOLVE}"
    text: object = strategy.text
    if not isinstance(text, str) or not text.strip():
        return f"has text = {text!r}: it must be a text that names all that can change the result"
    scored: object = strategy.uses_verifier
    if not isinstance(scored, bool):
        return f"has uses_verifier = {scored!r}: it must be True or False (a method needs @property)"
    sequences: object = strategy.sequences
    if type(sequences) is not int or not 0 < sequences < 1 << 31:
        return f"has sequences = {sequences!r}: it must be a whole number, 1 or larger"
    return None


def registered(text: str) -> Described | None:
    """Return the registry's strategy that a text names; None where it names none: a user's own class (which is not imported),
    a baseline, or what only another version knows.
    """
    try:
        name, values = _parts(text)
        return _made(text, name, _factory(text, name), values)
    except UserError:
        return None


def _made(given: object, name: str, factory: Callable[..., T], values: dict[str, object]) -> T:
    """Call what a name stands for with the values given, which it has to take. Values that are strategies themselves, which
    it says are `nested`, are read first."""
    for one in set(getattr(factory, "nested", ())) & values.keys():
        if isinstance(text := values[one], str):
            # What is none is for the strategy to refuse.
            values = values | {one: registered(text) or text}
    check_arguments("strategies", given, name, factory, values, f"{name}({{}}=16)")
    return factory(**values)


def _parts(text: object) -> tuple[str, dict[str, object]]:
    """Part a text into its name and its named values."""
    call = read_call(text)
    return call.name, call.values


def _entries(given: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Part a mapping into its target and its named values."""
    name = given.get("_target_")
    if not isinstance(name, str) or not all(isinstance(key, str) for key in given):
        mend = "a mapping needs _target_ and named values, as in {_target_: my_package.module.Class, n: 4}"
        raise UserError.of("strategies", dict(given), mend)
    return name, {key: value for key, value in given.items() if key != "_target_"}


def _factory(given: object, name: str) -> Callable[..., Described]:
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        mend = (
            f"there is no strategy {name!r}{nearest(name, STRATEGIES)}; known are {known} and my.module.Class"
        )
        raise UserError.of("strategies", given, mend)
    return STRATEGIES[name]
