"""Drawing tokens: inverse-CDF sampling from uniforms that belong to each request.

It knows logits and numbers in [0, 1), nothing of requests. Invariant: a row's token depends on that row's logits,
parameters and uniform alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniforms(seed: int, count: int) -> NDArray[np.float64]:
    """Return the `count` uniforms of a request's seed (Philox, counter-based: the same on every machine)."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def draw(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a token a row: logits [B, V] float32, the others [B]; return tokens [B] and log-probabilities [B].

    Log-probabilities are the model's own, at temperature 1 and without top-p. Temperature 0 takes the largest logit.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    greedy = temperature == 0
    if bool(greedy.all()):
        tokens = logits.argmax(dim=-1)
    else:
        if bool((temperature == 1).all()):
            probs = logprobs.exp()
        else:
            probs = torch.softmax(logits / temperature.clamp(min=1e-6)[:, None], dim=-1)
        if bool((top_p < 1).any()):
            probs = _nucleus(probs, top_p)
        cumulative = probs.double().cumsum(dim=-1)
        target = uniform[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
        if bool(greedy.any()):
            tokens = torch.where(greedy, logits.argmax(dim=-1), tokens)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


def certainties(logits: Tensor) -> Tensor:
    """Of each row [B, V] float32 the Kullback-Leibler divergence from the uniform distribution to the softmax, in nats [B]:
    -1/V sum_j log(V p_j), the self-certainty of a token in Kang et al. 2025 (2502.18581)."""
    return torch.logsumexp(logits, dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])


def _nucleus(probs: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of most likely tokens whose probabilities reach top_p."""
    ordered, order = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill((before >= top_p[:, None]) & (top_p < 1)[:, None], 0.0)
    return torch.zeros_like(probs).scatter_(-1, order, ordered)
