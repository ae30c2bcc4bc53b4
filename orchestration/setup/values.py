"""What the value of a `key=value` word says: texts in quotes or without, lists of them, whole numbers to their last digit.

It knows no key and no type of a setting. Invariant: whatever is written is read as one thing or refused by name; nothing is
dropped in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from actors.errors import UserError


class Yaml(yaml.SafeLoader):
    """YAML as Hydra reads it: 1e-3 is a number, and no key is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (one for one, _ in node.value if isinstance(one, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

_DIGITS = 100
"""More than any setting has."""

_QUOTED = {'"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL), "'": re.compile(r"'(?:[^']|'')*'")}
"""A text in quotes as YAML has it: in double ones a backslash begins an escape, in single ones two quotes are one."""

_ESCAPE = re.compile(r"\\[nrt](?![A-Za-z])")
"""What is meant for a line break or a tab; not the beginning of a command of LaTeX's."""


def text_of(text: str, key: str) -> str:
    """A text as written; in double quotes with YAML's escapes, in single ones without. UserError, of `key`, for an escape
    that there is not, and for one that stands in no quotes."""
    read = _unquoted(text, key)
    if read == text.strip() and (found := _ESCAPE.search(read)):
        mend = (
            f"{found[0]} is two letters here; write double quotes around it all for what it stands for elsewhere, in a shell "
            f"{key}='\"...\"', or single quotes for the two letters"
        )
        raise UserError.of(key, text, mend)
    return read


def _unquoted(text: str, key: str) -> str:
    """What `text_of` says, whatever backslashes stand in no quotes."""
    stripped = text.strip()
    form = _QUOTED.get(stripped[:1])
    if form is None or not form.fullmatch(stripped):
        return stripped
    if stripped[0] == "'":
        return stripped[1:-1].replace("''", "'")
    try:
        # YAML would fold a line break into a space.
        return str(yaml.safe_load(stripped.replace("\n", "\\n").replace("\t", "\\t")))
    except yaml.YAMLError:
        mend = r"in double quotes a backslash begins an escape, as in \n: write \\ for a backslash, or use single quotes"
        raise UserError.of(key, text, mend) from None


def list_of_texts(text: str, key: str = "") -> list[str]:
    """Split `[a,b(c=1,d=2),"e,f"]`, brackets optional, at commas that stand in no bracket and in no quotes; quotes around an
    item are dropped. UserError, of `key`, as in `text_of`.
    """
    return [_unquoted(one, key) for one in _items(_inner(text.strip())) if one.strip()]


def check_quoted(text: str, key: str) -> None:
    """Raise UserError, of `key`, for a list of texts in which a comma or an escape stands in no quotes, and may be part of a
    text; commas within brackets part it."""
    text = text.strip()
    items = [one.strip() for one in _items(_inner(text)) if one.strip()]
    bare = [one for one in items if one[0] not in _QUOTED or _unquoted(one, key) == one]
    if any(map(_ESCAPE.search, bare)) or (bare and len(items) > 1 and not text.startswith("[")):
        # Escapes are to be read, quotes within are not.
        meant = text.strip("[]").replace('"', '\\"')
        way = f"""{key}='["{meant}"]'"""
        mend = f"write a text in double quotes, so that its commas and escapes are its own, in a shell {way}"
        raise UserError.of(key, text, mend)


def _inner(text: str) -> str:
    """A list's text without its brackets; brackets that are part of an item (`runs[1]`) stay."""
    if not text.startswith("["):
        return text
    depth = 0
    for place, letter, quoted in _letters(text):
        depth += (letter == "[") - (letter == "]") if not quoted else 0
        if depth == 0:
            return text[1:place] if place == len(text) - 1 else text
    # Something inside is not closed, of which its own error speaks.
    return text[1:-1] if text.endswith("]") else text


def _items(text: str) -> list[str]:
    """Part at the commas that are in no bracket and in no quotes."""
    items, depth = [""], 0
    for _, letter, quoted in _letters(text):
        depth += 0 if quoted else (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not quoted:
            items.append("")
        else:
            items[-1] += letter
    return items


def _letters(text: str) -> Iterator[tuple[int, str, bool]]:
    """Each letter with its place and whether it stands in quotes. A quote that nothing closes, or that stands within a word
    (an apostrophe), is a letter."""
    closes = -1
    for place, letter in enumerate(text):
        if place > closes and letter in "\"'" and not text[:place].rstrip()[-1:].isalnum():
            found = _QUOTED[letter].match(text, place)
            closes = found.end() - 1 if found else closes
        yield place, letter, place <= closes


def word_of(key: str, value: object) -> str:
    """The `key=value` word that gives a setting this value."""
    return f"{key}={_written(value)}"


_PLAIN = re.compile(r"[\w./~+(=)-]+")


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value != "null" else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def whole_number(text: str) -> int | None:
    """A whole number to its last digit, also as 1e30, which a float would miss by 2e13; None for any other text."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    # A text of five letters may stand for more digits than fit in memory.
    if not number.is_finite() or not 0 <= number.adjusted() < _DIGITS or number != number.to_integral_value():
        return None
    return int(number)
