"""Heads of public verifiers over classes: a hidden state in, the logit of a score out, as each family's authors compute it.

A softmax over two classes is the sigmoid of their difference, so every family has one logit a step. It knows no prompt and no
engine. Invariant: heads compute in float32, whatever the model's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from actors.engines.tensors import read_weights
from actors.engines.verifiers.families.known import HEADS, Family, HeadKind, good_of, head_of


@dataclass(frozen=True, slots=True)
class HeadReads:
    """What a scoring engine asks of a head: no likelihoods, and no value of a prompt alone."""

    likelihood: bool = False
    prompt: bool = False


class ClassHead(nn.Module):
    """One or two layers on the hidden state: one value, or two classes of which number `good` is the good one."""

    def __init__(self, kind: HeadKind, weights: Mapping[str, Tensor], good: int) -> None:
        super().__init__()
        self._good = good
        self.config = HeadReads()
        for name in HEADS[kind]:
            if name in weights:
                self.register_buffer(name.replace(".", "_"), weights[name].float())
        prefix = HEADS[kind][0].removesuffix(".weight").replace(".", "_")
        self._layers = ("score_0", "score_2") if kind == "layers" else (prefix,)

    @classmethod
    def load(cls, folder: Path, family: Family) -> ClassHead:
        """The head in the weights of a family's folder. Raises UserError where they cannot be read."""
        kind = head_of(folder, family)
        return cls(kind, read_weights(folder, HEADS[kind]), good_of(folder, family)).eval()

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        """The logits [...] of hidden states [..., D]."""
        out = hidden.float()
        for number, layer in enumerate(self._layers):
            out = F.relu(out) if number else out
            out = F.linear(out, getattr(self, f"{layer}_weight"), getattr(self, f"{layer}_bias", None))
        return out[..., 0] if out.shape[-1] == 1 else out[..., self._good] - out[..., 1 - self._good]
