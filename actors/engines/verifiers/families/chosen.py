"""A public verifier as settings choose it: its family and folder, and what makes its scores another's.

Invariant: two of one identity give the same score for the same token ids of the same policy.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from actors.engines.base import Thinking
from actors.engines.verifiers.families.base import Wording


@dataclass(frozen=True, slots=True)
class ChosenFamily:
    """A folder of the family `name`. `policy` is the folder whose tokens solutions are in, before they are text; `separator`
    is that of the training, for a family that has one (None: the family's usual), `thinking` how one writes that does."""

    name: str
    path: Path
    policy: Path
    separator: str | None = None
    thinking: Thinking | None = None

    @property
    def text(self) -> str:
        """For people: how it is asked and read."""
        separator = "" if self.separator is None else f", separator {self.separator!r}"
        return f"family {self.name}{separator}{self._writes}"

    @property
    def _writes(self) -> str:
        if (one := self.thinking) is None:
            return ""
        # Short: where two are compared, what is long loses its middle.
        return f", {one.chains} x {one.tokens} at {one.temperature:g}"

    def wording(self) -> Wording:
        """Read the folder's tokenizer. Raises UserError where it is not one of the family."""
        from actors.engines.verifiers.families.known import family_of
        from actors.engines.verifiers.families.pieces import Pieces

        pieces = Pieces(self.path)
        made = family_of(self.name).make(pieces, self)
        pieces.prepare()
        return made

    def identity(self) -> str:
        """Hash, in hex, of all that decides a score besides the policy's token ids and the question."""
        from actors.engines.identity import tokenizer_hash
        from actors.engines.model_config import model_hash
        from actors.engines.verifiers.families.known import family_of

        family = family_of(self.name)
        separator = self.separator if self.separator is not None else family.separator
        hashes = model_hash(self.path), tokenizer_hash(self.path), tokenizer_hash(self.policy)
        one = self.thinking
        writes = [] if one is None else [one.tokens, one.temperature, one.chains]
        parts = [family.name, family.version, separator, *hashes, *writes]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
