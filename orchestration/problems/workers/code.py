"""The helper process behind CodeGrader: a program as its syntax says it is, and its tests in the sandbox.

It parses what a model wrote and runs none of it: that is the sandbox's, in processes of its own. Invariant: programs that
differ in comments, docstrings, white space and brackets alone have one name.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict
from typing import Any

from orchestration.problems.sandbox.run import Limits, run
from orchestration.problems.workers.deadline import serve

_CUTS = 20
"""Lines that are no Python, and what follows them, are left out so often; behind that a text is none."""

_HEAD = "def _():\n"
_ACTS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)


def canonical(text: str) -> list[str] | None:
    """The longest beginning of a text that is Python, and the one name of all programs that say the same; None for no
    program.

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
        if not any(isinstance(one, _ACTS) for one in tree.body):
            return None
        digest = hashlib.blake2b(ast.dump(_told(tree)).encode(), digest_size=8).hexdigest()
        return [source, f"program {digest}"]
    return None


def judge(answer: str, reference: str) -> dict[str, Any]:
    """The verdict of the sandbox on an answer, by the tests of a reference (`CodeGrader` says what it holds)."""
    job = json.loads(reference)
    prompt, entry = job.get("prompt", ""), job.get("entry_point")
    # Of a question in words nothing can be run.
    if not (prompt and entry and _parsed(prompt)):
        prompt = job["prompt"] = ""
    job["program"] = [answer]
    if prompt:
        whole = _parsed(answer)
        # An answer of its own stands behind what the question imports and defines; else it goes on where the question ends.
        own = whole is not None and entry in names_of(whole)
        job["program"] = [prompt, answer] if own else [f"{prompt.rstrip()}\n{answer}"]
    return asdict(run(job, Limits()))


def names_of(tree: ast.Module) -> set[str]:
    """The names that a program's outermost statements define."""
    found = {
        one.name
        for one in tree.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for one in tree.body:
        if isinstance(one, ast.Assign):
            found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
    return found


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _told(tree: ast.Module) -> ast.Module:
    """The tree without its docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and isinstance(body[0], ast.Expr):
            said = body[0].value
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                del body[0]
    return tree


if __name__ == "__main__":
    serve({"canonical": canonical, "judge": judge})
