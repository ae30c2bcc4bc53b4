"""From plain data to settings of a type: what every value must be, checked field by field.

It knows nothing of what the settings are for. Invariant: a value of another type is one line that names its key and what it
must be.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterable
from typing import Any

from actors.errors import UserError, nearest


def build(kind: Any, value: Any, key: str) -> Any:
    """Check a value against a type and return it in that type; dataclasses are built field by field."""
    if kind is Any:
        return value
    if isinstance(value, str) and value == "???":
        raise UserError(f"{key} must be given: add {key}=...")
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise UserError.of(key, value, "it must be a mapping, as in {name: value}")
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints and not str(name).startswith("_"):
                meant = nearest(str(name), hints)
                raise UserError(f"{key}.{name}: no such setting{meant}; --help lists them all")
        inside = f"{key}." if key else ""
        values = {
            name: build(hints[name], one, f"{inside}{name}")
            for name, one in value.items()
            if name in hints  # else Hydra's own
        }
        for field in dataclasses.fields(kind):
            if field.metadata.get("path") and field.name in values:
                values[field.name] = _path(f"{inside}{field.name}", values[field.name])
        return kind(**values)
    if typing.get_origin(kind) is typing.Literal:
        words = [str(word) for word in typing.get_args(kind)]
        if value not in typing.get_args(kind):
            raise UserError.of(key, value, f"choose one of {', '.join(words)}{nearest(str(value), words)}")
        return value
    choices = choices_of(kind)
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        read = _as(choice, value, key)
        if read is not None:
            return read
    if typing.get_origin(kind) is list and isinstance(value, int | float | str):
        raise UserError.of(key, value, f"it must be a list, as in {key}=[{value}]")
    raise UserError.of(key, value, f"it must be {_name(choices)}")


def _path(key: str, value: Any) -> Any:
    """A path, or each of a list, with its ~ resolved."""
    if isinstance(value, list):
        return [_path(key, one) for one in value]
    if value is None:
        return None
    if not value.strip() or "\0" in value:
        raise UserError.of(key, value, "it must be the name of a file or folder")
    return os.path.expanduser(value)


def _as(kind: Any, value: Any, key: str) -> Any:
    """Return the value as this type, or None where it is none."""
    if typing.get_origin(kind) is list and isinstance(value, list):
        (item,) = typing.get_args(kind)
        return [build(item, one, key) for one in value]
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        items = typing.get_args(kind)
        if items[-1] is Ellipsis:
            items = (items[0],) * len(value)
        if len(items) != len(value):
            return None
        return tuple(build(item, one, key) for item, one in zip(items, value, strict=True))
    if typing.get_origin(kind) is dict and isinstance(value, dict):
        return value
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind in (int, float):
        number = _number(value)
        if number is None or (kind is int and number != int(number)):
            return None
        return kind(number)
    return value if kind is str and isinstance(value, str) else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | float):
        return value if abs(value) != float("inf") and value == value else None
    # YAML 1.1 takes 1e13 for a text.
    try:
        return _number(float(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _name(choices: Iterable[Any]) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        types.NoneType: "null",
    }
    return " or ".join(
        names.get(choice, "a list" if typing.get_origin(choice) is list else "a mapping")
        for choice in choices
    )


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The types that a value may have."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
