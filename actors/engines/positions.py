"""How far a model's positions are turned by one set of factors: beyond that, some models turn all of them otherwise.

It reads configs, as mappings or as transformers' objects, and knows nothing of tensors. Invariant: within the context told
here, a token's keys depend on its own place alone, never on how long its sequence, or another one of its batch, becomes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BY_LENGTH = ("longrope", "su", "dynamic")
"""Kinds whose factors depend on the length of the whole sequence: the short ones up to the length of the first training."""


def steady_context(config: Any) -> int | None:
    """The longest sequence in tokens whose positions all have the factors of short ones, where a config's depend on the
    length; None where they do not."""
    found = []
    for scaling in _scalings(config):
        kind = str(scaling.get("rope_type") or scaling.get("type") or "")
        if kind not in _BY_LENGTH:
            continue
        first = scaling.get("original_max_position_embeddings") or _of(
            config, "original_max_position_embeddings"
        )
        length = first or _of(config, "max_position_embeddings")
        if isinstance(length, int):
            found.append(length)
    most = _of(config, "max_position_embeddings")
    return min([*found, most] if isinstance(most, int) else found) if found else None


def _scalings(config: Any) -> Iterator[Mapping[str, Any]]:
    for name in ("rope_parameters", "rope_scaling"):
        scaling = _of(config, name)
        if isinstance(scaling, Mapping):
            yield scaling
            # One set for each kind of layer.
            yield from (one for one in scaling.values() if isinstance(one, Mapping))


def _of(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
