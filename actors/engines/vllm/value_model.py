"""Models that vLLM runs as process reward models: a causal language model that answers with likelihoods and hidden states.

It is imported by vLLM's worker processes alone. It knows nothing of value heads, steps or scores. Invariant: the likelihood
of a token is the language model's own, its output head included, and the same whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate
from vllm.model_executor.layers.pooler.tokwise import AllPool
from vllm.model_executor.models.interfaces_base import VllmModelForPooling
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.qwen2 import Qwen2ForCausalLM
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM

from actors.engines.vllm.tails import HEADS, LOGITS, TASK, WANTED, Tail, pack, register

LOGIT_BYTES = 256 << 20
"""Most bytes of float32 logits at once: those of a whole pass over a large vocabulary would not fit a GPU."""


class LikelihoodPooler(Pooler):  # type: ignore[misc]
    """Turns the hidden states of finished requests into tails, laid out flat."""

    def __init__(self, logits: Callable[[Tensor], Tensor], vocabulary: int) -> None:
        super().__init__()
        self._all, self._logits = AllPool(), logits
        self._chunk = max(1, LOGIT_BYTES // (4 * vocabulary))

    def get_supported_tasks(self) -> set[str]:
        return {TASK}

    def get_pooling_updates(self, task: str) -> PoolingParamsUpdate:
        return PoolingParamsUpdate(requires_token_ids=True)

    def forward(self, hidden_states: Tensor, pooling_metadata: Any) -> list[Tensor | None]:
        hidden: list[Tensor | None] = self._all(hidden_states, pooling_metadata)
        every_id = pooling_metadata.get_prompt_token_ids_cpu()
        done: list[tuple[int, int, Tensor, slice]] = []
        following = []
        for number, rows in enumerate(hidden):
            if rows is None:
                continue
            start = int(pooling_metadata.prompt_lens[number]) - len(rows)
            # The last position has no next token, and a profiling run brings fewer ids than positions.
            known = every_id[number][start + 1 :]
            after = torch.zeros(len(rows), dtype=torch.long)
            after[: len(known)] = known
            # A profiling run names no range, and so measures the memory of the largest.
            first, end = _extra(pooling_metadata, number).get(LOGITS, (start, start + len(rows)))
            needed = slice(max(0, first - start), max(0, end - start))
            following.append(after[needed])
            done.append((number, start, rows, needed))
        packed: list[Tensor | None] = [None] * len(hidden)
        if not done:
            return packed
        found = self._likelihood(
            torch.cat([rows[needed] for _, _, rows, needed in done]), torch.cat(following)
        )
        counts = [len(one) for one in following]
        for (number, start, rows, needed), mine in zip(done, torch.split(found, counts, dim=1), strict=True):
            every = found.new_zeros(3, len(rows))
            every[:, needed] = mine
            logprobs, entropies, sums = every
            wanted = _extra(pooling_metadata, number).get(WANTED, ())
            at = torch.tensor([p - start for p in wanted if p >= start], dtype=torch.long, device=rows.device)
            points = torch.cat((rows[at].float(), sums[at, None], entropies[at, None]), dim=-1)
            packed[number] = pack(Tail(start, logprobs[:-1], entropies[:-1], points))
        return packed

    def _likelihood(self, hidden: Tensor, following: Tensor) -> Tensor:
        """Log-probability of the following token, entropy and logsumexp of the logits at each position: [3, N]."""
        following = following.to(hidden.device)
        parts = [torch.zeros((3, 0), device=hidden.device)]
        for first in range(0, len(hidden), self._chunk):
            part = slice(first, first + self._chunk)
            logits = self._logits(hidden[part]).float()
            total = logits.logsumexp(-1)
            table = logits - total[:, None]
            logprobs = table.gather(-1, following[part, None])[:, 0]
            parts.append(torch.stack((logprobs, -(table.exp() * table).sum(-1), total)))
        return torch.cat(parts, dim=1)


def _extra(pooling_metadata: Any, number: int) -> dict[str, Any]:
    """What the verifier asks beside of a batch's request."""
    return pooling_metadata.pooling_params[number].extra_kwargs or {}


def as_value_model(base: Any) -> Any:
    """Subclass one of vLLM's causal language models, output head and all, so that it answers with tails."""

    class ValueModel(base, VllmModelForPooling):  # type: ignore[misc]
        is_pooling_model = True
        # The value head lies beside the weights and is none of them.
        allow_patterns_overrides = ("model*.safetensors",)

        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            self.pooler = LikelihoodPooler(self.compute_logits, vllm_config.model_config.get_vocab_size())

        def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
            """The model's own; a head beside them is read elsewhere, and some such folders have none over words."""
            own = ((name, weight) for name, weight in weights if not name.startswith(HEADS))
            loaded: set[str] = super().load_weights(own)
            return loaded | {"lm_head.weight"}

    ValueModel.__name__ = ValueModel.__qualname__ = base.__name__.replace("ForCausalLM", "ValueModel")
    return ValueModel


LlamaValueModel = as_value_model(LlamaForCausalLM)
Qwen2ValueModel = as_value_model(Qwen2ForCausalLM)
Qwen3ValueModel = as_value_model(Qwen3ForCausalLM)


class WorkerExtension:
    """Nothing in itself: vLLM's workers mix it in before they load a model, and so come to import this module."""


register()
