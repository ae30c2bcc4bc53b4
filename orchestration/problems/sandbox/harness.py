"""The tests of a program, in a process of their own beside it: what they call of it is asked for over a pipe.

They see of the program plain values and stand-ins for its other objects, which equal nothing but themselves. So a program
that leaves early, prints, patches what tests are made of, or gives objects that equal everything passes no test by it.
Tests come with a data set, and are confined as the program is. Invariant: "passed" is said here alone, behind the last
test.
"""

from __future__ import annotations

import builtins
import json
import random
import sys
from typing import Any

from .confine import Unconfined, confine
from .values import packed, unpacked

_LONGEST = 1 << 24
"""Bytes of an answer, at most."""

_SAID = 200


class Over(BaseException):
    """The program is gone, or says what it cannot: no test may catch it."""


class Refused(BaseException):
    """The program's process cannot be confined."""


class ProgramError(Exception):
    """The program raised something of its own."""


def main(job: int, verdict: int, asked: int, answers: int, limits: dict[str, Any]) -> None:
    """Read program and tests from `job`, run them, and write what was found to `verdict` (file descriptors)."""
    with open(verdict, "w") as out:
        try:
            # No longer than its program, and as long again to compare.
            confine(2 * limits["processor_seconds"], limits["memory_bytes"], limits["packages"])
        except (Unconfined, OSError, ValueError) as error:
            out.write(json.dumps({"refused": str(error)}))
            return
        sys.path += limits["packages"]
        with open(job, "rb") as file:
            given = json.loads(file.read())
        found: dict[str, Any] = {"passed": False}
        try:
            judge(given, _Link(asked, answers))
            found = {"passed": True}
        except Refused as error:
            found = {"refused": str(error)}
        except BaseException as error:
            found["why"] = f"{type(error).__name__}: {error}"[:_SAID].removesuffix(": ")
        out.write(json.dumps(found))


def judge(given: dict[str, Any], link: _Link) -> None:
    """Return where all tests pass; raise whatever tells that one does not.

    `given` has the `program` in parts, `setup` and `tests` as texts, and maybe `entry_point`: then the tests define
    `check(candidate)`, which is called with it. `names` are the program's even where Python has such a name.
    """
    random.seed(0)
    link.begin(given["program"])
    entry, own = given.get("entry_point"), given.get("names", ())
    names = _Names(link)
    names.update({"__name__": "tests", "__builtins__": builtins})
    # What stands in the question is there for its tests, too; of what it only begins the program has the rest.
    if given.get("prompt"):
        exec(compile(given["prompt"], "<question>", "exec"), names)
    for name in (*([entry] if entry else []), *own):
        names[name] = link.ask("name", name)
    for place, text in enumerate((given.get("setup", ""), *given["tests"])):
        exec(compile(text, f"<test {place}>", "exec"), names)
    if entry:
        names["check"](names[entry])


class _Names(dict[str, Any]):
    """The names of the tests: what neither they nor Python define is the program's."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) or name.startswith("__"):
            raise KeyError(name)
        try:
            return self._link.ask("name", name)
        except NameError:
            raise KeyError(name) from None


class _Link:
    """The pipe to the program."""

    def __init__(self, asked: int, answers: int) -> None:
        self._requests, self._replies = open(asked, "wb"), open(answers, "rb")
        self._stand_ins: dict[int, Thing] = {}

    def begin(self, program: list[str]) -> None:
        ready = self._reply()
        if "refused" in ready:
            raise Refused(ready["refused"])
        self._say(program)
        try:
            self._value(self._reply())
        except Exception as error:
            raise Over(f"the program does not run: {type(error).__name__}: {error}") from None

    def ask(self, *request: Any) -> Any:
        what, *given = request
        self._say([what, *packed(given, _number)])
        return self._value(self._reply())

    def _say(self, request: Any) -> None:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except OSError:
            raise Over("the program ended before its tests did") from None

    def _reply(self) -> dict[str, Any]:
        line = self._replies.readline(_LONGEST)
        if not line.endswith(b"\n"):
            raise Over("its answer is too long" if line else "the program ended before its tests did")
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise Over("what it answers is no value")
        return reply

    def _value(self, reply: dict[str, Any]) -> Any:
        try:
            if "raised" not in reply:
                return unpacked(reply["value"], self._thing)
            said, *kinds = map(str, reply["raised"])
        except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
            raise Over("what it answers is no value") from None
        raise _exception(kinds)(said)

    def _thing(self, number: int) -> Thing:
        return self._stand_ins.setdefault(number, Thing(self, number))


def _number(thing: Any) -> dict[str, Any]:
    if type(thing) is Thing:
        return {"object": object.__getattribute__(thing, "_number")}
    raise Over(f"the tests hand the program a {type(thing).__name__}, which is no plain value")


def _exception(kinds: list[str]) -> type[Exception]:
    """The nearest of Python's own exceptions that is one, so that tests may expect it."""
    for name in kinds:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
            return kind if kind is not Exception else ProgramError
    return ProgramError


class Thing:
    """Stands for an object of the program. It equals itself alone, whatever the program's `__eq__` would say."""

    def __init__(self, link: _Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _ask(self, "call", list(arguments), named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _ask(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __iter__(self) -> Any:
        return iter(_ask(self, "list"))

    def __len__(self) -> int:
        return int(_ask(self, "len"))

    def __bool__(self) -> bool:
        return bool(_ask(self, "bool"))

    def __str__(self) -> str:
        return str(_ask(self, "str"))

    def __repr__(self) -> str:
        return str(_ask(self, "repr"))


def _ask(thing: Thing, what: str, *given: Any) -> Any:
    link: _Link = object.__getattribute__(thing, "_link")
    return link.ask(what, thing, *given)
