"""Numbers as people write them: grouped, mixed, with an exponent, spelled, with a currency, a unit or a percent sign.

It knows nothing of solutions, and of mathematics no more than fractions of whole numbers. Invariant: a number is read
where the whole text is one, exactly, or not at all; in microseconds, without a parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from orchestration.problems.graders.plain import words_of
from orchestration.problems.graders.units import CODES, CURRENCIES, stands_apart, unit_of

LONGEST_NUMBER = 400
"""Characters of a text that is read as a number, at most."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, and the unit or word that stands beside it ("" where there is none)."""

    value: Fraction
    unit: str = ""


_GROUPED = re.compile(r"(?<![\d.])(\d{1,3})((?:[ ,]\s?\d{3})+)(?!\d)")
_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"([-+]?)\s*({_DECIMAL})")
_POWER = re.compile(
    rf"([-+]?)\s*({_DECIMAL})\s*(?:[eE]|(?:\\times|\\cdot|\*|x)\s*10\s*\^)\s*(?:([-+]?\d{{1,3}})|\{{\s*([-+]?\s*\d{{1,3}})\s*\}})"
)
_OVER = re.compile(
    rf"([-+]?)\s*(?:(\d+)\s*)?(?:\\frac\s*\{{\s*([-+]?)\s*({_DECIMAL})\s*\}}\s*\{{\s*([-+]?)\s*({_DECIMAL})\s*\}}"
    rf"|(?:(?<=\d)\s)?({_DECIMAL})\s*/\s*([-+]?)({_DECIMAL}))"
)
_REPEATING = re.compile(
    r"([-+]?)\s*(\d*)\.(\d*)\s*\\(?:overline|dot|bar)\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\\dot\s*(?:\{\s*(\d)\s*\}|(\d)))?"
)
# From the first such word alone: each would look at all behind it.
_PAREN = re.compile(
    r"\s*\((?>[^()\d]*?(?:rounded|approx|exact|total|answer|simplif))[^()]*\)$", re.IGNORECASE
)
_APPROX = re.compile(r"^(?:\\approx|\\sim|about|approximately|approx\.?|roughly|exactly|=)\s*", re.IGNORECASE)
_SCALES = {
    "dozen": 12,
    "dozens": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")


def number_of(text: str) -> Number | None:
    """The number that a cleaned text is, with a currency, a unit, a percent sign or words beside it; None where it is
    none."""
    text = _APPROX.sub("", _PAREN.sub("", text)).strip()
    unit = ""
    sign = ""
    if text[:1] in "-+" and text[1:2] in CURRENCIES:
        sign, text = text[0], text[1:]
    if text[:1] in CURRENCIES:
        unit, text = CURRENCIES[text[0]], text[1:].lstrip()
    elif (code := re.match(r"([A-Za-z]{2,3}\.?\$?)\s*(?=[\d-])", text)) and code[1].casefold() in CODES:
        unit, text = CODES[code[1].casefold()], text[code.end() :]
    text = sign + text
    value = _value(text)
    if value is not None:
        return Number(value, unit)
    if spelled(text) is not None:
        return Number(Fraction(spelled(text) or 0), unit)
    # The longest beginning that is a number: units may begin with a digit nowhere.
    place = _number_end(text)
    if place is None:
        return None
    value = _value(text[:place].strip())
    rest = text[place:].strip()
    if value is None or not rest:
        return None
    if (
        (ordinal := _ORDINAL.match(rest)) is not None
        and text[place - 1].isdigit()
        and not text[place:].startswith(" ")
    ):
        rest = rest[ordinal.end() :].strip()
        if not rest:
            return Number(value, unit)
    first, _, after = words_of(rest).partition(" ")
    if first.casefold() in _SCALES:
        value *= _SCALES[first.casefold()]
        rest = after
        if rest.startswith("of "):
            rest = rest[3:]
        if not rest:
            return Number(value, unit)
    if unit and rest.casefold() in ("each", "total", "in total", "usd", "dollars", "per"):
        return Number(value, unit)
    beside = unit_of(rest)
    if beside is None or (rest == text[place:] and not stands_apart(beside, rest)):
        return None
    if unit and beside and beside != unit:
        beside = f"{unit} {beside}"
    return Number(value, beside or unit)


_BEGIN = re.compile(
    rf"[-+]?\s*(?:(?:\d+\s*)?\\frac\s*\{{[^{{}}]*\}}\s*\{{[^{{}}]*\}}|(?:\d+\s+)?\d+\s*/\s*\d+(?![\d.])|{_DECIMAL}\s*(?:\\times|\\cdot)\s*10\s*\^\s*(?:\{{[^{{}}]*\}}|-?\d)"
    rf"|\d{{1,3}}(?:[ ,]\s?\d{{3}})+(?!\d)(?:\.\d+)?|{_DECIMAL})"
)


def _number_end(text: str) -> int | None:
    found = _BEGIN.match(text)
    return None if found is None else found.end()


def _value(text: str) -> Fraction | None:
    text = text.strip()
    if not text or len(text) > LONGEST_NUMBER or text[-1] not in "0123456789.}":
        return None
    ungrouped = _GROUPED.sub(lambda m: m[1] + re.sub(r"[ ,]", "", m[2]), text)
    if (found := _PLAIN.fullmatch(ungrouped)) is not None:
        return _signed(found[1], Fraction(found[2]))
    if (found := _POWER.fullmatch(ungrouped)) is not None:
        exponent = int((found[3] or found[4]).replace(" ", ""))
        return _signed(found[1], Fraction(found[2]) * Fraction(10) ** exponent)
    if (found := _OVER.fullmatch(ungrouped)) is not None:
        return _over(found, text)
    if (found := _REPEATING.fullmatch(ungrouped)) is not None:
        whole, fixed, cycle = found[2] or "0", found[3], found[4] or found[5]
        cycle += found[6] or found[7] or ""
        scale = 10 ** len(fixed)
        value = Fraction(int(whole + fixed), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
        return _signed(found[1], value)
    return None


def _over(found: re.Match[str], text: str) -> Fraction | None:
    top, bottom = found[4] or found[7], Fraction(found[6] or found[9])
    if not bottom or (found[2] and (found[3] or found[5] or found[8])):
        return None
    value = Fraction(top) / bottom
    if ((found[3] == "-") + ((found[5] or found[8]) == "-")) % 2:
        value = -value
    if found[2]:
        if found[7] and not re.search(r"\d\s+\d+\s*/", text):
            return None
        value += int(found[2])
    return _signed(found[1], value)


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = dict(zip(_ONES.split(), range(20), strict=True)) | dict(
    zip(_TENS.split(), range(20, 100, 10), strict=True)
)
_BIG = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}


def spelled(text: str) -> int | None:
    """The whole number that words spell, "twenty-nine"; None where they spell none."""
    if not text[:1].isalpha() or len(text) > 100:
        return None
    words = [word for word in re.split(r"[\s-]+", text.casefold()) if word != "and"]
    if not words or any(word not in _SMALL and word not in _BIG for word in words):
        return None
    total = part = 0
    for word in words:
        if word in _SMALL:
            # "five six" spells two numbers, and "one two" no twelve.
            if part % 100 and not (part % 10 == 0 and part % 100 >= 20 and 0 < _SMALL[word] < 10):
                return None
            part += _SMALL[word]
        elif word == "hundred":
            part = (part or 1) * 100
        else:
            total, part = total + (part or 1) * _BIG[word], 0
    return total + part


def as_text(value: Fraction) -> str:
    """A number's one text: whole, a decimal that ends, or a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    twos = fives = 0
    rest = value.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
