"""A model's program in a process that can do nothing but compute: it is run once, and then answers what its tests ask of it.

It never sees its tests: they run in another process (`harness`), and ask over a pipe. Whatever the program does to this
interpreter, all that it can do to its verdict is to answer. Invariant: the process is confined before it reads the program.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from typing import Any

from .confine import Unconfined, confine
from .values import packed, unpacked


def main(asked: int, answers: int, limits: dict[str, Any]) -> None:
    """Run the program that the first line of `asked` tells, and answer the lines after it on `answers` (file descriptors)."""
    requests, replies = open(asked, "rb"), open(answers, "wb", buffering=0)

    def say(reply: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(reply).encode() + b"\n")
        while rest:
            rest = rest[replies.write(rest) :]

    try:
        confine(limits["processor_seconds"], limits["memory_bytes"], limits["packages"])
    except (Unconfined, OSError, ValueError) as error:
        say({"refused": str(error)})
        return
    sys.path += limits["packages"]
    say({"ready": True})
    random.seed(0)
    try:
        names = run(json.loads(requests.readline()))
    except BaseException as error:  # a program raises what it likes, SystemExit among it
        say({"raised": _raised(error)})
        return
    say({"value": None})
    things = _Things(names)
    for line in requests:
        try:
            say({"value": things.answer(json.loads(line))})
        except BaseException as error:
            say({"raised": _raised(error)})


def run(parts: list[str]) -> dict[str, Any]:
    """The names that a program defines, its parts run one after the other."""
    names: dict[str, Any] = {"__name__": "program", "__builtins__": __builtins__}
    for place, part in enumerate(parts):
        exec(compile(part, f"<program, part {place}>", "exec"), names)
    return names


class _Things:
    """What the program has handed out that is not plain, by number."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._things: list[Any] = []
        self._numbers: dict[int, int] = {}  # identity -> place in _things, which keeps it alive

    def answer(self, request: list[Any]) -> Any:
        what, *given = request
        return packed(_ACTIONS[what](self, *unpacked(given, self._things.__getitem__)), self._named)

    def named(self, name: str) -> Any:
        if name not in self._names:
            raise NameError(f"name {name!r} is not defined")
        return self._names[name]

    def _named(self, thing: Any) -> dict[str, Any]:
        number = self._numbers.setdefault(id(thing), len(self._things))
        if number == len(self._things):
            self._things.append(thing)
        return {"object": number}


_ACTIONS: dict[str, Callable[..., Any]] = {
    "name": lambda things, name: things.named(name),
    "call": lambda things, thing, arguments, named: thing(*arguments, **named),
    "get": lambda things, thing, name: getattr(thing, name),
    "set": lambda things, thing, name, value: setattr(thing, name, value),
    "item": lambda things, thing, key: thing[key],
    "list": lambda things, thing: list(thing),
    "len": lambda things, thing: len(thing),
    "bool": lambda things, thing: bool(thing),
    "str": lambda things, thing: str(thing),
    "repr": lambda things, thing: repr(thing),
}


def _raised(error: BaseException) -> list[str]:
    """The names of an exception's classes, the nearest first, and what it says."""
    try:
        said = str(error)[:200]
    except BaseException:
        said = ""
    return [said, *(kind.__name__ for kind in type(error).__mro__)]
