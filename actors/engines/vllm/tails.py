"""What passes between the verifier and the workers of its vLLM: which models they run, what is asked, what comes back.

Both sides import it, so it imports no model. A request names the positions whose hidden states it wants; the answer is one
flat float32 tensor, a tail: what was computed, after what the prefix cache held. It knows nothing of steps or scores.
Invariant: `unpack` returns what was packed; positions count from the start of the request's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.errors import UserError

MODELS = {
    "LlamaForCausalLM": "LlamaValueModel",
    "Qwen2ForCausalLM": "Qwen2ValueModel",
    "Qwen3ForCausalLM": "Qwen3ValueModel",
}
"""Architectures that can be scored on vLLM, and the class of vllm_value_model that does it."""

HEADS = ("score.", "v_head.", "reward_head.")
"""How the names of a head's weights begin, where they lie among the model's own."""

TASK = "token_classify"
"""The one of vLLM's pooling tasks that is answered."""

WANTED = "wanted"
"""Name of a request's list of positions whose hidden state is wanted, ascending."""

LOGITS = "logits"
"""Name of a request's range of positions, first and end, where the output head is needed; without it, everywhere."""


def architecture(name: str) -> str:
    """The name under which vLLM knows the value model of an architecture of `MODELS`."""
    return f"Flopwise{MODELS[name]}"


def scored_as(folder: Path, config: Any) -> str:
    """Which architecture of `MODELS` a verifier's folder has. Raises UserError where it has none of them."""
    known = [name for name in config.architectures or () if name in MODELS]
    if not known:
        mend = (
            f"vLLM scores {', '.join(MODELS)}, and this is {config.architectures}: set verifier.engine=local"
        )
        raise UserError.of("verifier", str(folder), mend)
    return str(known[0])


def register() -> None:
    """Make the value models known to the vLLM of this process; they are imported when one is needed."""
    from vllm import ModelRegistry

    for name, model in MODELS.items():
        ModelRegistry.register_model(architecture(name), f"actors.engines.vllm.value_model:{model}")


@dataclass(frozen=True, slots=True)
class Tail:
    """Positions `start` to the last of a request; what stands before them came from the prefix cache.

    `logprobs`, `entropies` [T - 1]: of tokens `start` + 1 to the last, under the distribution before each; 0 where
    the output head was not needed, as in `rows`.
    `rows` [K, D + 2]: at the wanted positions from `start` on: hidden state, logsumexp of the logits, entropy.
    """

    start: int
    logprobs: Tensor
    entropies: Tensor
    rows: Tensor


def pack(tail: Tail) -> Tensor:
    """Lay a tail out flat."""
    head = torch.tensor([tail.start, len(tail.logprobs)], dtype=torch.float32, device=tail.logprobs.device)
    return torch.cat((head, tail.logprobs, tail.entropies, tail.rows.flatten()))


def unpack(flat: Tensor, hidden_size: int) -> Tail:
    """Read a tail that was laid out flat."""
    start, count = int(flat[0]), int(flat[1])
    logprobs, entropies = flat[2 : 2 + 2 * count].view(2, count)
    return Tail(start, logprobs, entropies, flat[2 + 2 * count :].view(-1, hidden_size + 2))
