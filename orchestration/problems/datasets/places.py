"""Where a value lies in a row: `answer`, `choices.label`, `answers.text[0]`, or the first of several, `text|prompt`.

It knows nothing of what the values mean. Invariant: a column whose name is the whole text is that column, dots and all;
what leads nowhere in a row is None.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

OR = "|"
"""Between places of which the first that a row has counts."""

_PART = re.compile(r"\.?([^.\[\]]+)|\[(-?\d+)\]")


def options(place: str) -> list[str]:
    """The places that a text names, in their order."""
    return [one.strip() for one in place.split(OR)]


def column_of(place: str, known: Collection[str] = ()) -> str:
    """The column that one place lies in; of a column with such a name in `known` itself."""
    return place if place in known else re.split(r"[.\[]", place, maxsplit=1)[0]


def well_formed(place: str) -> bool:
    """Whether it can be read: names behind dots, whole numbers in brackets."""
    return all(
        re.fullmatch(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d+\])*", one) is not None for one in options(place)
    )


def value_at(row: Mapping[str, Any], place: str) -> Any:
    """The first value that is there, None where there is none."""
    return next((value for one in options(place) if (value := _at(row, one)) is not None), None)


def _at(row: Mapping[str, Any], place: str) -> Any:
    if place in row:
        return row[place]
    here: Any = row
    for name, index in _PART.findall(place):
        if name:
            here = _named(here, name)
        elif isinstance(here, list | tuple) and -len(here) <= int(index) < len(here):
            here = here[int(index)]
        else:
            return None
    return here


def _named(here: Any, name: str) -> Any:
    """What an object has under a name; of a list of objects what each has."""
    if isinstance(here, Mapping):
        return here.get(name)
    if isinstance(here, list | tuple) and here and all(isinstance(one, Mapping) for one in here):
        return [one.get(name) for one in here]
    return None
