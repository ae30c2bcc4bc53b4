"""What the head of a verifier is to the engine that runs the model below it.

It knows no engine and no family. Invariant: a head needs no more of a sequence than hidden states at the ends of steps, and
of likelihoods what `Reads` says.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Reads(Protocol):
    """What a head needs besides hidden states, and whether it judges a prompt alone."""

    @property
    def likelihood(self) -> bool: ...

    @property
    def prompt(self) -> bool: ...


class Head(Protocol):
    """Gives the logit of a step's value, from the hidden state at its end [..., D] and its features [..., 9]."""

    @property
    def config(self) -> Reads: ...

    def __call__(self, hidden: Tensor, features: Tensor) -> Tensor: ...
