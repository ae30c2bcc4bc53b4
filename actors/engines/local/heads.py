"""Heads of public verifiers: a hidden state in, the logit of a score out, as each family's authors compute it.

A softmax over two classes is the sigmoid of their difference, so every family has one logit a step. It knows no prompt.
Invariant: heads compute in float32, whatever the model's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actors.engines.local.decoder import Decoder, load_decoder, read_weights
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import HEADS, HeadKind, family_config, family_of, head_of


@dataclass(frozen=True, slots=True)
class HeadReads:
    """What a scoring engine asks of a head: no likelihoods, and no value of a prompt alone."""

    likelihood: bool = False
    prompt: bool = False


class ClassHead(nn.Module):
    """One or two layers on the hidden state: one value, or two classes of which the second is good."""

    def __init__(self, kind: HeadKind, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = HeadReads()
        for name in HEADS[kind]:
            if name in weights:
                self.register_buffer(name.replace(".", "_"), weights[name].float())
        prefix = HEADS[kind][0].removesuffix(".weight").replace(".", "_")
        self._layers = ("score_0", "score_2") if kind == "layers" else (prefix,)

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        """The logits [...] of hidden states [..., D]."""
        out = hidden.float()
        for number, layer in enumerate(self._layers):
            out = F.relu(out) if number else out
            out = F.linear(out, getattr(self, f"{layer}_weight"), getattr(self, f"{layer}_bias", None))
        return out[..., 0] if out.shape[-1] == 1 else out[..., 1] - out[..., 0]


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
    return ClassHead(kind, read_weights(folder, HEADS[kind])).to(device).eval(), decoder, config
