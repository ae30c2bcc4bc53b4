"""What stands beside a number: currencies, units of measurement, and words for what is counted.

It knows nothing of numbers, and converts nothing. Invariant: all ways to write one unit that it knows have one name.
"""

from __future__ import annotations

import re

from orchestration.problems.graders.plain import words_of

CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "₹": "rupee", "¥": "yen", "₽": "ruble", "₩": "won"}
CODES = {
    "usd": "dollar",
    "us$": "dollar",
    "eur": "euro",
    "gbp": "pound",
    "inr": "rupee",
    "rs": "rupee",
    "rs.": "rupee",
}
_UNITS = {
    name: one
    for one, names in {
        "dollar": "dollars usd us-dollars buck bucks", "cent": "cents", "euro": "euros eur", "rupee": "rupees inr rs",
        "%": "percent pct per-cent percentage",
        "mm": "millimeter millimeters millimetre millimetres", "cm": "centimeter centimeters centimetre centimetres",
        "m": "meter meters metre metres", "km": "kilometer kilometers kilometre kilometres", "inch": "inches in",
        "ft": "foot feet",
        "yd": "yard yards", "mile": "miles mi", "g": "gram grams", "kg": "kilogram kilograms kgs",
        "mg": "milligram milligrams",
        "lb": "lbs pounds-mass", "oz": "ounce ounces", "l": "liter liters litre litres",
        "ml": "milliliter milliliters millilitre millilitres",
        "gallon": "gallons gal", "s": "second seconds sec secs", "minute": "minutes min mins", "hour": "hours hr hrs h",
        "day": "days",
        "week": "weeks", "month": "months", "year": "years yr yrs", "degree": "degrees deg", "radian": "radians rad",
        "mph": "miles-per-hour",
        "": "unit units square-unit square-units cubic-units cubic-unit sq-units units^2 units^3 unit^2"
        " unit^3 value answer exactly each altogether total",
        "pound": "pounds gbp", "hz": "hertz", "pm": "p.m.", "am": "a.m.", "yen": "jpy", "n": "newton newtons",
        "j": "joule joules", "w": "watt watts", "v": "volt volts",
    }.items()
    for name in (one, *names.split())
}  # fmt: skip
_ONE_UNIT = r"[A-Za-zµΩ][A-Za-zµΩ']*(?:[.-][A-Za-z']+)*\.?(?:\d|\^-?\d|\^\{-?\d\})?"
_UNIT = re.compile(rf"%|{_ONE_UNIT}(?:(?:\s*/\s*|\s+per\s+|\s+|\s*\\cdot\s*){_ONE_UNIT}){{0,4}}")
_LETTER_UNITS = frozenset("mghls")
_NO_UNIT = frozenset(
    "and or if for when where all any not is are than to at with from no none by mod plus minus times the then else otherwise"
    " x y z".split()
)  # fmt: skip
_SQUARE = re.compile(r"(?:square|sq\.?)\s+(.+)")
_CUBIC = re.compile(r"(?:cubic|cu\.?)\s+(.+)")


def stands_apart(unit: str, written: str) -> bool:
    """Whether what follows a number without a space, in no command of its own, is a unit, and no variables that multiply
    it."""
    return written == "%" or written in CURRENCIES or (len(written) > 1 and known_unit(unit))


def unit_of(text: str) -> str | None:
    """The one name of a unit, "" for what says nothing, None where the text is no unit."""
    upright = words_of(text) != text
    text = words_of(text).strip().strip(".")
    if text in (r"^\circ", r"\circ"):
        return "degree"
    text = text.replace(r"\%", "%")
    if text in CURRENCIES:
        return CURRENCIES[text]
    if not _UNIT.fullmatch(text):
        return None
    lower = re.sub(r"[{}]", "", text).casefold() if len(text) > 1 else text.casefold()
    lower = lower.removesuffix(".")
    for pattern, power in ((_SQUARE, 2), (_CUBIC, 3)):
        if (found := pattern.fullmatch(lower)) is not None:
            base = _UNITS.get(found[1], found[1])
            return f"{base}^{power}" if base else ""
    # A letter, or two that are nobody's unit, are variables.
    if (
        not upright
        and lower.isalpha()
        and lower not in _LETTER_UNITS
        and (len(lower) == 1 or (len(lower) == 2 and lower not in _UNITS))
    ):
        return None
    joined = lower.replace(" ", "-")
    if joined in _UNITS:
        return _UNITS[joined]
    words = re.split(r"\s+", lower)
    if any(word in _NO_UNIT for word in words):
        return None
    found = re.fullmatch(r"([a-z]+)\^?(\d)", lower)
    if found is not None:
        base = _UNITS.get(found[1], found[1])
        return f"{base}^{found[2]}" if base else ""
    parts = re.split(r"\s*/\s*|\s+per\s+", lower)
    if len(parts) > 1:
        return "/".join(_UNITS.get(part, part) for part in parts)
    return lower


def known_unit(unit: str) -> bool:
    """Whether it is a unit of measurement, and not a word that stands beside a number."""
    return all(part.partition("^")[0] in _UNITS for part in unit.split("/"))
