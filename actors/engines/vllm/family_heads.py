"""The heads of public verifiers on vLLM, which read here the hidden states that come back.

It knows no prompt and nothing of caches. Invariant: a family's head is the one that the local engine has; of the language
model's own head only the rows of the two words are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from actors.engines.verifiers.class_head import ClassHead, HeadReads
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import family_of, head_of


class Rows(Protocol):
    """A language model's own head, by rows."""

    def row(self, token: int) -> Tensor:
        """A token's row [D], float32."""


class WordRows(nn.Module):
    """Two words of the language model: how much likelier the good one is than the bad one, from rows [D] of its head."""

    _good: Tensor
    _bad: Tensor

    def __init__(self, good: Tensor, bad: Tensor) -> None:
        super().__init__()
        self.config = HeadReads()
        self.register_buffer("_good", good.float())
        self.register_buffer("_bad", bad.float())

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        """The logits [...] of hidden states [..., D]."""
        return hidden.float() @ self._good - hidden.float() @ self._bad


def family_head(chosen: ChosenFamily, rows: Callable[[], Rows]) -> ClassHead | WordRows:
    """A family's head; `rows` opens the language model's own. Raises UserError where there is none."""
    family = family_of(chosen.name)
    if head_of(chosen.path, family) != "words":
        return ClassHead.load(chosen.path, family)
    pair = chosen.wording().pair
    assert pair is not None
    opened = rows()
    return WordRows(opened.row(pair[0]), opened.row(pair[1]))
