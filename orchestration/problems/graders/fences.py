"""Where programs stand in a solution: in its fenced blocks of Python, or in its plain text.

It parses no Python but for where its strings end, so that what a program quotes ends neither a thought nor a turn. Invariant:
nothing raises, and time is linear in the text.
"""

from __future__ import annotations

import re

from orchestration.problems.graders.ending import END_OF_TURN

_FENCE = (
    r"^(?P<indent>[ \t]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++)?)(?P<mark>```+|~~~+)[ \t]*(?P<name>[\w+-]*)[^\n`]*$"
)
_MARKS = rf"(?P<end>{END_OF_TURN.pattern})|(?P<thought></think>)"
_STRINGS = (
    r"(?P<long>\"\"\"|''')"
    r"|(?P<string>\"(?:[^\"\\\n]|\\[^\n])*+(?P<double>\")?|'(?:[^'\\\n]|\\[^\n])*+(?P<single>')?)"
)
_OUTSIDE = re.compile(rf"(?P<fence>{_FENCE})|{_MARKS}", re.MULTILINE)
_INSIDE = re.compile(rf"(?P<fence>{_FENCE})|{_MARKS}|{_STRINGS}", re.MULTILINE)
_FENCES, _ENDS = re.compile(_FENCE, re.MULTILINE), re.compile(_MARKS)

_PYTHON = ("", "python", "py", "python3")
_BEGINS = re.compile(
    r"^(?:(?:async[ \t]+def|def|class|import|from|@\w)|[A-Za-z_]\w*[ \t]*=(?!=))", re.MULTILINE
)


def programs_in(text: str) -> list[str]:
    """The fenced blocks of Python of a solution in their order; without any, its text from the first line of Python on, if it
    has one. A block that is not closed goes to the end. What was thought before, and what follows the turn, is left out."""
    blocks, rest = _read(text)
    blocks = [block for block in blocks if block.strip()]
    if blocks:
        return blocks
    bare = rest.lstrip("\n")
    if bare[:1].isspace():
        return [bare]
    found = _BEGINS.search(rest)
    return [] if found is None else [rest[found.start() :]]


def _read(text: str) -> tuple[list[str], str]:
    """The blocks of Python, and all of the answer's text."""
    blocks: list[str] = []
    fence: re.Match[str] | None = None
    start, began, place, end = 0, 0, 0, len(text)
    while (found := (_INSIDE if _is_python(fence) else _OUTSIDE).search(text, place)) is not None:
        place, kind = found.end(), found.lastgroup
        if kind == "fence":
            place = found.end("name")  # what stands behind it on its line may end the turn
        if kind == "string" and not (found["double"] or found["single"]):
            # An apostrophe, say, or a program that was cut off: it hides nothing.
            found = _ENDS.search(text, found.start(), found.end())
            if found is None:
                continue
            place, kind = found.end(), found.lastgroup
        if kind == "end" and text[: found.start()].strip():
            end = found.start()
            break
        if kind == "thought":
            # It may hold drafts.
            blocks, fence, began = [], None, place
        elif kind == "long" and fence is not None:
            place = _behind(text, found, fence)
        elif kind == "fence" and fence is None:
            fence, start = found, found.end() + 1
        elif kind == "fence" and fence is not None and _closes(found, fence):
            if _is_python(fence):
                blocks.append(_outdented(text[start : found.start()], len(fence["indent"])))
            fence = None
    if fence is not None and _is_python(fence):
        blocks.append(_outdented(text[start:end], len(fence["indent"])))
    return blocks, text[began:end]


def _is_python(fence: re.Match[str] | None) -> bool:
    return fence is not None and fence["name"].lower() in _PYTHON


def _closes(found: re.Match[str], fence: re.Match[str]) -> bool:
    """Whether a fence ends the block of another: one that is indented further stands in a docstring (CommonMark, 4.5)."""
    return (
        found["mark"].startswith(fence["mark"])
        and not found["name"]
        and not found["indent"].strip()
        and len(found["indent"]) < len(fence["indent"]) + 4
    )


def _behind(text: str, quotes: re.Match[str], fence: re.Match[str]) -> int:
    """Where a long string ends; where its first quotes do if its block ends before it."""
    end = text.find(quotes[0], quotes.end())
    inside = _FENCES.finditer(text, quotes.end(), max(end, 0))
    if end < 0 or any(_closes(one, fence) for one in inside):
        return quotes.end()
    return end + 3


def _outdented(block: str, width: int) -> str:
    """A block without the indentation of its fence, as in a list."""
    first = next((line for line in block.split("\n") if line.strip()), "")
    indented = len(first) - len(first.lstrip(" \t"))
    # A function's body is indented further than its fence, by two at least.
    most = min(width, indented) if width == 0 or indented >= width + 2 else indented
    return re.sub(rf"^[ \t]{{1,{most}}}", "", block, flags=re.MULTILINE) if most else block
