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
from orchestration.problems.workers.blocks import names_of, program_of
from orchestration.problems.workers.deadline import serve

_ACTS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)


def canonical(*blocks: str) -> list[str] | None:
    """The program in a solution's blocks (`blocks.program_of` says which), and the one name of all that say the same; None
    for no program."""
    found = program_of(list(blocks))
    if found is None or not any(isinstance(one, _ACTS) for one in found.tree.body):
        return None
    digest = hashlib.blake2b(ast.dump(_told(found.tree)).encode(), digest_size=8).hexdigest()
    return [found.source, f"program {digest}"]


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
