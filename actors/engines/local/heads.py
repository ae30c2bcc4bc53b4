"""Public verifiers on the local engine: the model below, and its head, or two words of the model's own.

It knows no prompt. Invariant: the words' logits are those that the model gives in its own type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from actors.engines.local.decoder import Decoder, load_decoder
from actors.engines.verifiers.class_head import ClassHead, HeadReads
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import HEADS, family_config, family_of, head_of


class WordHead(nn.Module):
    """The language model's own head: how much likelier its good word is than its bad one."""

    def __init__(self, decoder: Decoder, pair: tuple[int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.config = HeadReads()
        self._decoder, self._pair, self._dtype = decoder, pair, dtype

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        """The logits [...] of hidden states [..., D]."""
        logits = self._decoder.logits(hidden.to(self._dtype))
        good, bad = self._pair
        return logits[..., good] - logits[..., bad]


def load_family(
    chosen: ChosenFamily, *, dtype: torch.dtype, device: torch.device
) -> tuple[ClassHead | WordHead, Decoder, Any]:
    """Load a public verifier: its head, the model below it, and its config. Raises UserError where it cannot be read."""
    folder, family = chosen.path, family_of(chosen.name)
    kind, config = head_of(folder, family), family_config(folder)
    decoder, config = load_decoder(folder, dtype=dtype, device=device, config=config, beside=HEADS[kind])
    if kind == "words":
        pair = chosen.wording().pair
        assert pair is not None
        return WordHead(decoder, pair, dtype), decoder, config
    return ClassHead.load(folder, family).to(device), decoder, config
