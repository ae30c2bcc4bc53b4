"""An entry of a reasoning-gym data set as the text that its answers are judged by.

It knows neither data sets nor scores. Invariant: an entry that was packed unpacks to itself, tuples included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TUPLE = "__tuple__"


def reference(dataset: str, options: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Return all that scoring needs as JSON, or None where the entry holds what JSON does not."""
    try:
        return json.dumps({"dataset": dataset, "options": dict(options), "entry": packed(dict(entry))})
    except (TypeError, ValueError):
        return None


def packed(value: Any) -> Any:
    """Mark tuples: some data sets tell them from lists."""
    if isinstance(value, tuple):
        return {_TUPLE: [packed(one) for one in value]}
    if isinstance(value, list):
        return [packed(one) for one in value]
    if isinstance(value, dict):
        return {key: packed(one) for key, one in value.items()}
    return value


def unpacked(value: Any) -> Any:
    """What was packed, tuples and all."""
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(unpacked(one) for one in value[_TUPLE])
        return {key: unpacked(one) for key, one in value.items()}
    return value
