"""The further columns of a table, kept as the metadata of its problems.

It knows values and column types, nothing of questions or files. Invariant: whatever a column holds, what is kept of it is
JSON that every reader takes; what JSON cannot say (bytes, durations) is left out, and a missing value is no value.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_DEEPEST = 20
"""Lists within lists that are followed: a row may hold more of them than Python's stack does."""


def metadata_of(row: Mapping[str, Any], but: Collection[str]) -> dict[str, Any]:
    """A row's values as JSON, `but` the columns that are a problem's own."""
    return _object(((name, value) for name, value in row.items() if name not in but), 0)


def kept_columns(schema: pa.Schema, own: Collection[str]) -> list[str]:
    """The columns of a Parquet file to be read: its `own`, whatever they hold, and of the others those that can be kept. An
    image in every row is not even read."""
    return [field.name for field in schema if field.name in own or _kept(field.type)]


def dates_as_texts(batch: pa.RecordBatch, own: Collection[str]) -> pa.RecordBatch:
    """The batch with its dates and times as texts, but for its `own` columns: a moment that Python's calendar does not have
    must end no stream."""
    import pyarrow as pa
    import pyarrow.types as types

    names = batch.schema.names
    arrays = [
        column.cast(pa.string()) if types.is_temporal(column.type) and name not in own else column
        for name, column in zip(names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _kept(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _kept(kind.value_type)
    if types.is_struct(kind):
        return all(_plain(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _plain(kind.value_type)
    return _plain(kind) or (types.is_temporal(kind) and not types.is_duration(kind))


def _plain(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    checks = (
        types.is_string,
        types.is_large_string,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
    )
    return any(check(kind) for check in checks)


def _object(items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
    found = ((_text(str(name)), _json(value, depth)) for name, value in items)
    return {name: value for name, value in found if value is not None}


def _json(value: object, depth: int) -> Any:
    """A value as JSON has it; None for one that is missing or cannot be kept."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # Tables that know no null write NaN; JSON has neither it nor infinity.
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, date | time):
        return value.isoformat()
    if depth == _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return _object(value.items(), depth + 1)
    if isinstance(value, list | tuple):
        return [_json(one, depth + 1) for one in value]
    return None


def _text(text: str) -> str:
    """The text as UTF-8 can hold it: JSON's escapes can make halves of a surrogate pair."""
    return text.encode(errors="replace").decode()
