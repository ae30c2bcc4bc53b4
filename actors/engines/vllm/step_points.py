"""What a verifier remembers of the sequences it has scored, so that it can go on from where they part.

A point is a prefix that ends with a step or with a block of the prefix cache, known by a digest of its exact token ids, its
prompt's length and its step ends. It holds no keys and values, for the engine has them: a few numbers, and at block ends a
hidden state. It knows nothing of the engine. Invariant: a point once known keeps its values, so that the first score of a
step stays.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from actors.engines.base import ScoreRequest
from actors.engines.verifiers.value_head import STATE

Key = tuple[int, bytes]
"""Length of a prefix, and digest of all that its scores depend on."""

OVERHEAD = 600
"""Bytes of a point beside its tensors' numbers: objects, key, place in the table."""


@dataclass(frozen=True, slots=True)
class Point:
    """A prefix of `length` tokens.

    `state` [6]: after the last whole step. `logprobs`, `entropies`: of the tokens of the step begun since. `values`: of the
    whole steps. `row` [D + 2]: hidden state, logsumexp of the logits and entropy at the last position, at block ends alone.
    """

    length: int
    state: Tensor
    logprobs: Tensor
    entropies: Tensor
    values: tuple[float, ...]
    row: Tensor | None

    @property
    def bytes(self) -> int:
        row = 0 if self.row is None else self.row.numel()
        numbers = STATE + self.logprobs.numel() + self.entropies.numel() + row
        return 4 * numbers + 8 * len(self.values) + OVERHEAD


def start_of(request: ScoreRequest) -> Point:
    """The prompt of a request: nothing is scored yet, and nothing known."""
    none = torch.zeros(0)
    return Point(request.prompt_length, torch.zeros(STATE), none, none, (), None)


def keys(request: ScoreRequest, block: int) -> list[Key]:
    """Keys of a request's points, the shortest first: step ends, and block ends from the prompt's end on."""
    last = request.step_ends[-1]
    first_block = -(-request.prompt_length // block) * block
    ends = set(request.step_ends)
    found: list[Key] = []
    digest = hashlib.blake2b(request.prompt_length.to_bytes(8, "little"), digest_size=16)
    done = 0
    for length in sorted(ends.union(range(first_block, last + 1, block))):
        digest.update(array("q", request.token_ids[done:length]))
        if length in ends:
            digest.update(b"step")
        found.append((length, digest.copy().digest()))
        done = length
    return found


class Points:
    """Points by their keys, the least recently used out first beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max, self._bytes = max_bytes, 0
        self._points: OrderedDict[Key, Point] = OrderedDict()

    def longest(self, of: list[Key]) -> Point | None:
        """The longest known prefix among these keys."""
        for key in reversed(of):
            point = self._points.get(key)
            if point is not None:
                self._points.move_to_end(key)
                return point
        return None

    def put(self, key: Key, point: Point) -> None:
        if key in self._points:
            return
        self._points[key] = point
        self._bytes += point.bytes
        while self._bytes > self._max and len(self._points) > 1:
            _, old = self._points.popitem(last=False)
            self._bytes -= old.bytes
