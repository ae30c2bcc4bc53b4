r"""What an answer says: its parts, each read whole or taken as text, as one `Ballot`.

A tuple, a list, a set, an interval, an equation is split here; a single expression is given to `leaf`, which names its value
in one text, or None where it is none that it reads to the end. It knows nothing of problems, votes or processes. Invariant:
nothing is read out of a part of a text: what does not parse is the normalised text itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from orchestration.problems.graders.ballots import Ballot
from orchestration.problems.graders.numbers import as_text, number_of
from orchestration.problems.graders.plain import cleaned, words_of
from orchestration.problems.graders.units import known_unit, unit_of

Leaf = Callable[[str, str], str | None]
"""Names the value of an expression, or of an equation ("value" or "equation", and the text); None where it is none."""

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_ALL_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|mathsf|operatorname)\s*\{([^{}]*)\}"
)
_WORDS = re.compile(r"[A-Za-zÀ-ɏͰ-ӿ一-鿿]['A-Za-zÀ-ɏͰ-ӿ一-鿿.,-]*(?: [A-Za-z0-9À-ɏͰ-ӿ一-鿿'.,&-]+)*")
# A choice, and what it stands for.
_OPTION = re.compile(r"\(([A-E])\)\s+[^\s(+*/^=-].*")
_EMPTY_BOX = re.compile(r"\\boxed\s*(?:\{\s*\})?")
_SAYS = re.compile(r"[^\W_]|\\\{")
_CHOICE = re.compile(r"\(?([A-Za-z])[).:]?")
_SYMBOL = r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{[^{}]*\}|\\[A-Za-z]+))?'*"
_NAME = re.compile(
    r"(?:\\(?:text|mathrm|textbf|mathbf)\s*\{[^{}]*\}|[A-Za-z]{2,}(?: [A-Za-z]+)*|(?:\\angle|\\triangle)?\s*[A-Z]{1,4}"
    rf"|\|?[A-Z]{{2}}\|?|{_SYMBOL}(?:\s*\([^()=]*\))?|\(\s*{_SYMBOL}(?:\s*,\s*{_SYMBOL})+\s*\))"
)
_NO_NAME = tuple(rf"\{name}" for name in "frac sqrt pi infty begin sum int ln log sin cos tan pm mp".split())
_RELATION = re.compile(r"\\leq(?![A-Za-z])|\\geq(?![A-Za-z])|<=|>=|<|>")
_DOMAIN = re.compile(
    r"[,;\s]\s*(?:\(|\\text\s*\{\s*)?\s*(?:(?:where|for|with)\b)?\s*\}?\s*\$?"
    r"(?:\\text\s*\{\s*(?:where|for|with|any|all|integer)?\s*\}\s*)?"
    r"\$?\s*[a-z]\s*\\in\s*\\mathbb\s*\{?\s*[ZNQR]\s*\}?(?:\^\+|_\+)?\s*\)?$"
)
_AND = re.compile(
    r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z])"
)
_SETS = {
    r"\mathbb{R}": "(-oo; oo)",
    r"\emptyset": "{}",
    r"\{\}": "{}",
    r"\infty": "oo",
    r"+\infty": "oo",
    r"-\infty": "-oo",
}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)")
_MATRIX = re.compile(r"\\begin\{([pb]?matrix)\}(.*)\\end\{\1\}")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+)\s*\^\\circ")
_UNIT_BEHIND = re.compile(
    r"^(.*\S)\s*(\\(?:text|mathrm|textrm|mbox)\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?|\^\\circ|%)$"
)


def read(content: str, leaf: Leaf) -> Ballot | None:
    """What the text of an answer says; None where there is nothing."""
    text = cleaned(content)
    text = text.removesuffix("$").rstrip()
    while text.startswith("{") and text.endswith("}") and _balanced(text[1:-1]):
        text = text[1:-1].strip()
    return _read(text, leaf) if says_something(text) else None


def says_something(text: str) -> bool:
    """Whether there is more in it than delimiters and empty boxes."""
    return bool(_SAYS.search(_EMPTY_BOX.sub("", text)))


def _read(text: str, leaf: Leaf) -> Ballot:
    return _plain(text) or _whole(text, leaf) or Ballot(_as_text(text), bare=True)


def _as_text(text: str) -> str:
    """A text that is not read: without white space, and without commands that only set it."""
    text = re.sub(
        r"\\pmod\s*\{?\s*(\w+)\s*\}?|\(\s*\\?(?:bmod|mod)\s*(\w+)\s*\)",
        lambda m: f"(mod {m[1] or m[2]})",
        text,
    )
    # A space between two digits stays: `3 5` is not 35.
    return re.sub(
        r"(\\[A-Za-z]+) (?=[A-Za-z])|(?<=[\d.])( )(?=[\d.])|\s+",
        lambda m: f"{m[1]} " if m[1] else m[2] or "",
        words_of(text),
    )


def _plain(text: str) -> Ballot | None:
    """A number, a time, a ratio, a choice or words."""
    inner = _ALL_TEXT.fullmatch(text)
    plain = inner[1].strip() if inner is not None else text
    number = number_of(plain)
    if number is not None and not (inner is not None and number.unit and not known_unit(number.unit)):
        return Ballot(as_text(number.value), unit=number.unit)
    words = words_of(plain)
    if (time := _TIME.fullmatch(words)) is not None:
        half = f" {time[4].casefold()}m" if time[4] else ""
        return Ballot(f"{int(time[1])}:{time[2]}{':' + time[3] if time[3] else ''}{half}")
    if (ratio := _RATIO.fullmatch(words)) is not None and Fraction(ratio[2]):
        return Ballot(as_text(Fraction(ratio[1]) / Fraction(ratio[2])))
    if (option := _OPTION.fullmatch(words)) is not None:
        return Ballot(option[1])
    upright = inner is not None or words != text
    if (choice := _CHOICE.fullmatch(words)) is not None and (
        upright or words != choice[1] or choice[1].isupper()
    ):
        return Ballot(
            choice[1]
            if choice[1].isupper() or len(words) == 1
            else choice[1].upper()
            if upright
            else choice[1]
        )
    if inner is not None or _is_words(words, upright):
        return Ballot(" ".join(words.casefold().rstrip(".").split()), bare=True)
    return None


def _is_words(words: str, upright: bool) -> bool:
    if not _WORDS.fullmatch(words):
        return False
    # A product of letters is no word, and a sentence with a sign in it no words.
    longest = max((len(one) for one in re.findall(r"[^\W\d_]+", words)), default=0)
    return longest > 2 or words.casefold() in ("no", "up", "so", "it") or (upright and longest > 1)


def _whole(text: str, leaf: Leaf) -> Ballot | None:
    """An answer that has parts, each of them read to the end."""
    if r"\ldots" in text or "..." in text:
        return None
    if (domain := _DOMAIN.search(text)) is not None and domain.start() > 0:
        text = text[: domain.start()].rstrip()
        if (plain := _plain(text)) is not None:
            return plain
    for attempt in (
        _fixed,
        _listed,
        _union,
        _member,
        _equation,
        _between,
        _bracketed,
        _matrix,
        _sign,
        _single,
    ):
        found = attempt(text, leaf)
        if found is not None:
            return found
    return None


def _fixed(text: str, leaf: Leaf) -> Ballot | None:
    name = _SETS.get(text.replace(" ", ""))
    return None if name is None else Ballot(name)


def _listed(text: str, leaf: Leaf) -> Ballot | None:
    """Values that a comma, "and" or "or" parts: a set; with a name each, a tuple in the order of the names."""
    parts = _split(text)
    if len(parts) < 2:
        return None
    read = [_read(part, leaf) for part in parts]
    if not all(_solid(part, one) for part, one in zip(parts, read, strict=True)):
        return None
    bare = any(one.bare for one in read)
    names = [one.name for one in read]
    if all(names) and len(set(names)) == len(names):
        order = sorted(read, key=lambda one: one.name)
        name = f"({','.join(one.name for one in order)})"
        return Ballot(_tuple([one.value for one in order]), name, bare=bare)
    named = {name for name in names if name}
    # `x = 1, 2`: the name stands before the first alone.
    if len(named) > 1:
        return None
    units = {one.unit for one in read if one.unit}
    if len(units) > 1:
        return None
    name = next(iter(named), "")
    if all(one.value[:1] in "([" and one.value[-1:] in ")]" for one in read) and (named or "or" in text):
        return Ballot(_joined(one.value for one in read), name=name)
    return Ballot(_set(one.value for one in read), name, next(iter(units), ""), bare)


def _solid(part: str, ballot: Ballot) -> bool:
    """Whether a part of a list was read as more than its text."""
    return ballot.value != _as_text(part) or bool(re.fullmatch(r"[-\w./]+", ballot.value))


def _union(text: str, leaf: Leaf) -> Ballot | None:
    parts = _split(text, re.compile(r"\\cup(?![A-Za-z])"))
    if len(parts) < 2:
        return None
    read = [_read(part, leaf) for part in parts]
    names = {one.name for one in read if one.name}
    if len(names) > 1 or not all(
        (one.value[:1] in "([{" and ";" in one.value) or one.value[:1] == "{" for one in read
    ):
        return None
    return Ballot(_joined(one.value for one in read), name=next(iter(names), ""))


def _member(text: str, leaf: Leaf) -> Ballot | None:
    r"""`x \in S`."""
    sides = _split(text, re.compile(r"\\in(?![A-Za-z])"))
    if len(sides) != 2 or not _names(sides[0]):
        return None
    name, rest = sides
    found = _whole(rest, leaf)
    return None if found is None or found.name else Ballot(found.value, _name(name), bare=found.bare)


def _equation(text: str, leaf: Leaf) -> Ballot | None:
    if "=" not in text or _RELATION.search(text) or "\\neq" in text or "\\equiv" in text:
        return None
    parts = [part.strip() for part in _split(text, re.compile("="))]
    if len(parts) < 2 or not all(parts):
        return None
    *firsts, last = parts
    if (
        len(parts) == 2
        and _names(last)
        and not _names(firsts[0])
        and ((value := _plain(firsts[0]) or _single(firsts[0], leaf)) is not None)
    ):
        return Ballot(value.value, _name(last), value.unit, value.bare)
    if _names(firsts[0]):
        value = _read(last, leaf)
        if value.name or (_names(last) and len(last) <= 2 and len(parts) == 2):
            return _both_sides(text, leaf)
        return Ballot(value.value, _name(firsts[0]), value.unit, value.bare)
    values = [_plain(part) or _single(part, leaf) for part in parts]
    if all(value is not None for value in values) and not any(_has_symbols(part) for part in parts):
        return values[-1]
    return _both_sides(text, leaf) if len(parts) == 2 else None


def _both_sides(text: str, leaf: Leaf) -> Ballot | None:
    value = leaf("equation", text)
    return None if value is None else Ballot(value)


def _has_symbols(text: str) -> bool:
    bare = re.sub(r"\\(?:text|mathrm)\s*\{[^{}]*\}|\\[A-Za-z]+", "", text)
    return any(one not in "ei" for one in re.findall(r"[A-Za-z]", bare))


def _between(text: str, leaf: Leaf) -> Ballot | None:
    """What bounds a symbol: an interval."""
    signs = [(one.start(), one.end(), one[0]) for one in _RELATION.finditer(text)]
    if not 1 <= len(signs) <= 2:
        return None
    edges = [0, *(place for start, end, _ in signs for place in (start, end)), len(text)]
    sides = [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    less = ["<" in sign or "leq" in sign for _, _, sign in signs]
    closed = [sign not in "<>" for _, _, sign in signs]
    if len(set(less)) > 1:
        return None
    if not less[0]:
        sides, closed = sides[::-1], closed[::-1]
    places = [place for place, side in enumerate(sides) if _names(side)]
    middle = 1 if len(sides) == 3 else next((place for place in places), None)
    if (
        middle is None
        or not _names(sides[middle])
        or any(_has_symbols(side) for at, side in enumerate(sides) if at != middle)
    ):
        return None
    ends = ["-oo", "oo"]
    marks = ["(", ")"]
    for at, side in enumerate(sides):
        if at == middle:
            continue
        value = _end(side, leaf)
        if value is None:
            return None
        upper = at > middle
        ends[upper] = value
        # The sign that stands between this side and the middle.
        if closed[min(at, middle)]:
            marks[upper] = "]" if upper else "["
    return Ballot(f"{marks[0]}{ends[0]}; {ends[1]}{marks[1]}", name=_name(sides[middle]))


def _end(text: str, leaf: Leaf) -> str | None:
    found = _fixed(text, leaf) or _plain(text) or _single(text, leaf)
    return None if found is None else found.value


def _bracketed(text: str, leaf: Leaf) -> Ballot | None:
    r"""A tuple, an interval, a set, or a vector between angles."""
    if text.startswith(r"\langle") and text.endswith(r"\rangle"):
        inside, left, right = text[7:-7], "(", ")"
    elif text.startswith(r"\{") and text.endswith(r"\}"):
        inside, left, right = text[2:-2], "{", "}"
    elif text[:1] in ("(", "[", "]") and text[-1:] in (")", "]", "["):
        inside, left, right = text[1:-1], text[0], text[-1]
    else:
        return None
    parts = _split(inside, re.compile("[,;]"))
    if not _balanced(inside) or (len(parts) < 2 and left != "{") or not all(parts):
        return None
    values, bare = [], False
    for part in parts:
        found = _fixed(part, leaf) or _plain(part) or _whole(part, leaf)
        if found is None:
            return None
        values.append(found.value)
        bare = bare or found.bare
    if left == "{":
        return Ballot(_set(values), bare=bare)
    # French brackets face away from what they leave out.
    marks = {"]": "(", "[": "["}.get(left, left) + {"[": ")", "]": "]"}.get(right, right)
    return Ballot(f"{marks[0]}{'; '.join(values)}{marks[1]}", bare=bare)


def _matrix(text: str, leaf: Leaf) -> Ballot | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = []
    for row in re.split(r"\\\\", found[2].strip().removesuffix("\\\\")):
        values = [_end(cell.strip(), leaf) for cell in row.split("&")]
        if any(value is None for value in values):
            return None
        rows.append("; ".join(str(value) for value in values))
    return Ballot(f"[{' | '.join(rows)}]") if len({row.count(";") for row in rows}) == 1 else None


def _sign(text: str, leaf: Leaf) -> Ballot | None:
    """Both signs of one expression: a set."""
    if text.count(r"\pm") != 1 or r"\mp" in text:
        return None
    values = [_end(text.replace(r"\pm", sign).strip(), leaf) for sign in "+-"]
    return None if any(value is None for value in values) else Ballot(_set(str(value) for value in values))


def _single(text: str, leaf: Leaf) -> Ballot | None:
    if r"\circ" in text and _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"{\\frac{\1\\pi}{180}}", text)
    value = leaf("value", text)
    if value is not None:
        return Ballot(value)
    found = _UNIT_BEHIND.match(text)
    if found is None or (unit := "%" if found[2] == "%" else unit_of(found[2])) is None:
        return None
    value = leaf("value", found[1].rstrip("\\ ,"))
    return None if value is None else Ballot(value, unit=unit)


def _names(text: str) -> bool:
    text = text.strip()
    return bool(_NAME.fullmatch(text)) and not text.startswith(_NO_NAME) and text not in ("e", "i")


def _name(text: str) -> str:
    """A function's name goes without its argument."""
    text = "".join(words_of(text).split())
    bare = re.fullmatch(r"([A-Za-z]'*)\([a-z]\)", text)
    return bare[1] if bare is not None else text


def _tuple(values: list[str]) -> str:
    return f"({'; '.join(values)})"


def _set(values: object) -> str:
    return "{" + "; ".join(sorted(set(values))) + "}"  # type: ignore[call-overload]


def _joined(values: object) -> str:
    return " u ".join(sorted(set(values)))  # type: ignore[call-overload]


def _split(text: str, at: re.Pattern[str] | None = None) -> list[str]:
    """The parts between separators that stand in no bracket; commas, semicolons, "and" and "or" unless told otherwise."""
    if at is None:
        text = _AND.sub(",", text)
        text = re.sub(r",\s*(?=,)", "", text)
        at = re.compile("[,;]")
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        one = text[place]
        if text.startswith((r"\{", r"\}"), place):
            depth += 1 if text[place + 1] == "{" else -1
            place += 2
            continue
        if text.startswith((r"\langle", r"\rangle", r"\begin", r"\end"), place):
            depth += 1 if text.startswith((r"\langle", r"\begin"), place) else -1
        if one in "([{":
            depth += 1
        elif one in ")]}":
            depth -= 1
        elif depth == 0 and (found := at.match(text, place)) is not None:
            parts.append(text[start:place].strip())
            start = place = found.end()
            continue
        place += 1
    return [*parts, text[start:].strip()]


def _balanced(text: str) -> bool:
    """Whether no bracket closes that did not open inside."""
    depth = 0
    for one in re.findall(r"[(\[{)\]}]", text):
        depth += 1 if one in "([{" else -1
        if depth < 0:
            return False
    return depth == 0
