"""The head that turns a language model into a process reward model: hidden state and likelihood in, one value out.

Training and scoring use the same code. The plain recipe (paper section 4) reads the hidden state at a step's end alone;
with `likelihood` the head also reads how probable the model itself finds the step and all before it, through a running
state of six numbers a prefix, so that only the newest step is ever computed. A prompt alone, before any step, has a value
too: nothing of it is likely or unlikely. It knows nothing of labels or engines.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from actors.engines.folder_files import read_settings
from actors.errors import UserError

STATE = 6
"""Running state of a prefix: sum of log-probabilities, least token, least step, sum of entropies, tokens, steps."""

FEATURES = 9
"""Likelihood features of a step, see `likelihood_features`."""

HEAD_CONFIG = "value_head.json"
HEAD_WEIGHTS = "value_head.safetensors"


@dataclass(frozen=True, slots=True)
class ValueHeadConfig:
    """`hidden`: read the hidden state; `likelihood`: read the likelihood features; `width`: units of the hidden layer
    (0: one linear layer, the plain recipe); `prompt`: it was trained to judge a prompt alone."""

    hidden_size: int
    hidden: bool = True
    likelihood: bool = True
    width: int = 64
    prompt: bool = False

    def __post_init__(self) -> None:
        if not (self.hidden or self.likelihood):
            raise UserError.of(
                "value_head", asdict(self), "it must read the hidden state, the likelihood or both"
            )


def likelihood_features(
    logprobs: Tensor, entropies: Tensor, step_of: Tensor, steps: int, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Features of each step, and the running state after it.

    `logprobs`, `entropies` [B, T]: of each new token under the verifier's own language model; `step_of` [B, T]: the step
    (0-based, among the new ones) a token belongs to, -1 for padding; `state` [B, 6]: of the prefix before.
    Returns features [B, steps, 9] and states [B, steps, 6]; rows with fewer steps repeat their last state.
    """
    inside = step_of >= 0
    index = step_of.clamp(min=0)
    rows = logprobs.shape[0]
    zeros = logprobs.new_zeros((rows, steps))
    lp = torch.where(inside, logprobs, 0.0)
    total = zeros.scatter_add(1, index, lp)
    tokens = zeros.scatter_add(1, index, inside.to(lp.dtype))
    entropy = zeros.scatter_add(1, index, torch.where(inside, entropies, 0.0))
    least = zeros.scatter_reduce(1, index, lp, reduce="amin", include_self=True)
    present = (tokens > 0).to(lp.dtype)
    all_sum = state[:, 0:1] + total.cumsum(1)
    all_least = torch.minimum(state[:, 1:2], least.cummin(1).values)
    least_step = torch.minimum(state[:, 2:3], total.cummin(1).values)
    all_entropy = state[:, 3:4] + entropy.cumsum(1)
    all_tokens = state[:, 4:5] + tokens.cumsum(1)
    number = state[:, 5:6] + present.cumsum(1)
    states = torch.stack((all_sum, all_least, least_step, all_entropy, all_tokens, number), dim=-1)
    features = torch.stack(
        (
            all_sum,
            all_least,
            least_step,
            all_sum / all_tokens.clamp(min=1),
            all_entropy / all_tokens.clamp(min=1),
            total,
            least,
            entropy / tokens.clamp(min=1),
            torch.log1p(number),
        ),
        dim=-1,
    )
    # Log-likelihoods have a long tail downwards; the signed logarithm keeps near-certain and hopeless apart alike.
    return torch.sign(features) * torch.log1p(features.abs() * 8), states


class ValueHead(nn.Module):
    """Logit of the value of a step: hidden [..., D] and features [..., 9] to [...]."""

    def __init__(self, config: ValueHeadConfig) -> None:
        super().__init__()
        self.config = config
        width_in = config.hidden_size * config.hidden + FEATURES * config.likelihood
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        if config.width:
            self.net: nn.Module = nn.Sequential(
                nn.Linear(width_in, config.width), nn.SiLU(), nn.Linear(config.width, 1)
            )
        else:
            self.net = nn.Linear(width_in, 1)

    mean: Tensor
    scale: Tensor

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        parts = []
        if self.config.hidden:
            parts.append(hidden)
        if self.config.likelihood:
            parts.append((features - self.mean) / self.scale)
        logit: Tensor = self.net(torch.cat(parts, dim=-1))[..., 0]
        return logit

    def of_prompt(self, hidden: Tensor) -> Tensor:
        """Logit of the value of a prompt alone: hidden [..., D] at its end to [...]."""
        return self(hidden, hidden.new_zeros((*hidden.shape[:-1], FEATURES)))  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write value_head.json and value_head.safetensors into a model folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEAD_CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / HEAD_WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> ValueHead:
        """Read the head of a model folder; UserError where the folder holds none."""
        if not (folder / HEAD_CONFIG).is_file():
            raise UserError.of(
                "verifier", str(folder), f"no {HEAD_CONFIG} there: this is not a process reward model"
            )
        head = cls(ValueHeadConfig(**read_settings(folder, HEAD_CONFIG, "verifier")))
        head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
        return head.eval()
