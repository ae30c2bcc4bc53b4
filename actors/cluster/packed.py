"""A large value among the arguments of an actor's constructor, in pieces that stay in the call itself.

Ray puts an argument above 100 KB into its object store and lets it go once the actor has started, so that no other process
could take the place of one that died. It knows nothing of what it packs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray import cloudpickle

_PIECE = 1 << 16
"""Bytes of a piece; Ray keeps arguments of up to 100 KB in a call, and of up to 10 MB in all."""


def packed(value: object) -> tuple[bytes, ...]:
    """The pieces of a value, each of which is to be an argument of its own."""
    whole: bytes = cloudpickle.dumps(value)
    return tuple(whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE))


def unpacked(pieces: Iterable[bytes]) -> Any:
    """The value that was packed."""
    return cloudpickle.loads(b"".join(pieces))
