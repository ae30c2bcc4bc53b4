"""Which of a solution's blocks of Python are its program.

It parses what a model wrote and runs none of it, and knows nothing of references: which function is asked for it has to tell
from the blocks alone. So the program is the last block that defines something and does not merely try out what earlier ones
define, with those earlier ones whose names it uses. Invariant: what is defined again replaces what was defined before.
"""

from __future__ import annotations

import ast
import builtins
import functools
import re
from dataclasses import dataclass, field

_CUTS = 20
"""Lines that are no Python, and what follows them, are left out so often; behind that a text is none."""

LONGEST = 60_000
"""Characters of a program, at most."""

_HEAD = "def _():\n"
_DEFINES = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)\b", re.MULTILINE)
_TRIES = re.compile(r"_*(?:tests?|main|demo|examples?|check|run_tests?)(?:_|\d|$)")
_TEST_CLASS = re.compile(r"Tests?(?![a-z])|\w*Tests?(?:Case)?$")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Part:
    """The longest beginning of a text that is Python. `body`: it goes on where the question's function begins."""

    source: str
    tree: ast.Module
    body: bool = False
    gives: set[str] = field(default_factory=set)
    takes: set[str] = field(default_factory=set)


def program_of(blocks: list[str]) -> Part | None:
    """The program in blocks that follow each other in a solution; None where the one that it hangs on is no Python."""
    part = functools.cache(lambda place: parsed(blocks[place]))
    place = _last(blocks)
    while (last := part(place)) is not None and _only_tries(last):
        # What it tries has to be there: a function that is asked for may be called test_something.
        earlier = [part(one) for one in range(place) if _DEFINES.search(blocks[one])]
        if not any(one is not None and one.gives & last.takes for one in earlier):
            break
        place = _last(blocks[:place])
    if last is None or last.body:
        return last
    parts, wanted = [last], set(last.takes)
    for one in map(part, reversed(range(place))):
        if one is not None and not one.body and one.gives & wanted:
            parts.insert(0, one)
            wanted = (wanted - one.gives) | one.takes
    whole = "\n\n".join(one.source for one in parts)
    # Nothing may stand before `from __future__`.
    if len(parts) == 1 or len(whole) > LONGEST or any("__future__" in one.source for one in parts[1:]):
        return last
    return parsed(whole)


def _last(blocks: list[str]) -> int:
    """The place of the last block that defines something, else of the last one."""
    places = [place for place, block in enumerate(blocks) if _DEFINES.search(block)]
    return places[-1] if places else len(blocks) - 1


def _only_tries(part: Part) -> bool:
    """Whether all that it defines tries out something else, as `def test_add():` does: by its name, and without arguments."""
    defined = [one for one in part.tree.body if isinstance(one, (*_FUNCTIONS, ast.ClassDef))]
    return bool(defined) and all(
        _TEST_CLASS.match(one.name)
        if isinstance(one, ast.ClassDef)
        else _TRIES.match(one.name) and not any(isinstance(inner, ast.arg) for inner in ast.walk(one.args))
        for one in defined
    )


def parsed(text: str) -> Part | None:
    """What is Python of a text; None for nothing.

    A text that begins indented is the body of the function that the question began.
    """
    lines = text.rstrip().splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    head = ""
    if lines and lines[0][0].isspace():
        head = _HEAD
        end = next(
            (place for place, line in enumerate(lines) if line.strip() and not line[0].isspace()), len(lines)
        )
        lines = lines[:end]
    for _ in range(_CUTS):
        source = "\n".join(lines).rstrip()
        try:
            tree = ast.parse(head + source)
        except SyntaxError as error:
            lines = lines[: (error.lineno or 1) - 1 - head.count("\n")]
            if not any(line.strip() for line in lines):
                return None
            continue
        except (ValueError, RecursionError, MemoryError):
            return None
        return Part(source, tree, bool(head), names_of(tree), _taken(tree))
    return None


def names_of(tree: ast.Module) -> set[str]:
    """The names that a program's outermost statements define."""
    found: set[str] = set()
    for one in tree.body:
        if isinstance(one, (*_FUNCTIONS, ast.ClassDef)):
            found.add(one.name)
        elif isinstance(one, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in one.names}
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            found |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return found


def _taken(tree: ast.Module) -> set[str]:
    """The names that a program uses, and defines nowhere."""
    used, own = set(), set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case (
                ast.Name(id=name)
                | ast.arg(arg=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
            ):
                own.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                own.add(name)
            case ast.alias(name=name, asname=other):
                own.add((other or name).partition(".")[0])
    return used - own
