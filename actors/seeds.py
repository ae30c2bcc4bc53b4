"""Seeds by hashing: what a draw is for decides its seed, never when or where it is drawn.

Hashing, not adding: two draws with neighbouring seeds must not share a stream. Invariant: equal parts give
equal seeds on every machine, and no two different tuples of parts collide but by chance of 1 in 2**63.
"""

from __future__ import annotations

import hashlib
import json


def derive(*parts: str | int | float | tuple[int, ...]) -> int:
    """Return a seed in [0, 2**63) from the parts, in order."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
