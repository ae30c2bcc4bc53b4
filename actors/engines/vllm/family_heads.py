"""The heads of public verifiers on vLLM, which read here the hidden states that come back.

It knows no prompt and nothing of caches. Invariant: a family's head is the one that the local engine has; of the language
model's own head only the rows of the two words are read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from actors.engines.verifiers.class_head import ClassHead, HeadReads
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import HEADS, HeadKind, family_of, head_of
from actors.engines.weights import weight_files


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


def family_head(chosen: ChosenFamily, row: Callable[[int], Tensor]) -> ClassHead | WordRows:
    """A family's head; `row` gives a token's row [D] of the language model's own. Raises UserError where there is none."""
    kind = head_of(chosen.path, family_of(chosen.name))
    if kind != "words":
        return ClassHead(kind, _named(chosen.path, kind)).eval()
    pair = chosen.wording().pair
    assert pair is not None
    return WordRows(row(pair[0]), row(pair[1]))


def _named(folder: Path, kind: HeadKind) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in weight_files(folder, "verifier"):
        with safe_open(str(file), framework="pt") as handle:
            found |= {name: handle.get_tensor(name) for name in handle.keys() if name in HEADS[kind]}
    return found
