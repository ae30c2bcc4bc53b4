"""Large arguments of a constructor, in pieces."""

from __future__ import annotations

import pytest

from actors.cluster.packed import packed, unpacked


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 700_000])
def test_no_piece_is_one_that_ray_would_put_aside(size: int) -> None:
    value = {"cells": bytes(range(256)) * (size // 256), "size": size}
    pieces = packed(value)
    assert unpacked(pieces) == value
    assert all(0 < len(piece) <= 100 * 1024 for piece in pieces)
    assert len(pieces) > size // (100 * 1024)
