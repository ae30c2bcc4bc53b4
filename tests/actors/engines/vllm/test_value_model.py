"""The model that vLLM runs for a verifier, piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.vllm


async def test_logits_in_pieces_are_logits_at_once() -> None:
    from vllm.config import VllmConfig, set_current_vllm_config

    from actors.engines.vllm.value_model import LikelihoodPooler

    torch.manual_seed(2)
    head, hidden, following = torch.randn(97, 8), torch.randn(50, 8), torch.randint(97, (50,))
    with set_current_vllm_config(VllmConfig()):
        pooler = LikelihoodPooler(lambda rows: rows @ head.T, 97)
    whole = pooler._likelihood(hidden, following)
    pooler._chunk = 7
    for piece, one in zip(pooler._likelihood(hidden, following), whole, strict=True):
        assert torch.allclose(piece, one)
    table = torch.log_softmax(hidden @ head.T, -1)
    assert torch.allclose(whole[0], table[torch.arange(50), following], atol=1e-5)
    assert torch.allclose(whole[1], torch.distributions.Categorical(logits=table).entropy(), atol=1e-5)


async def test_the_output_head_is_used_where_it_is_needed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from vllm.config import VllmConfig, set_current_vllm_config

    from actors.engines.vllm.tails import LOGITS, WANTED, unpack
    from actors.engines.vllm.value_model import LikelihoodPooler

    torch.manual_seed(3)
    head, seen = torch.randn(97, 8), []

    def logits(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return rows @ head.T

    with set_current_vllm_config(VllmConfig()):
        pooler = LikelihoodPooler(logits, 97)
    lengths, starts = (20, 15, 12, 9), (0, 5, 0, 0)
    ids = [torch.randint(97, (length,)) for length in lengths]
    hidden = [torch.randn(length - start, 8) for length, start in zip(lengths, starts, strict=True)]
    asked: list[dict[str, Any] | None] = [
        {WANTED: [11, 19], LOGITS: [11, 20]},
        {WANTED: [7], LOGITS: [2, 14]},
        {WANTED: [11], LOGITS: [0, 0]},
        None,
    ]
    told = SimpleNamespace(
        prompt_lens=torch.tensor(lengths),
        pooling_params=[SimpleNamespace(extra_kwargs=extra) for extra in asked],
        get_prompt_token_ids_cpu=lambda: ids,
    )
    monkeypatch.setattr(pooler._all, "forward", lambda hidden, told: hidden)
    tails = [unpack(flat, 8) for flat in pooler(hidden, told)]
    assert sum(seen) == 9 + 9 + 0 + 9
    for tail, rows, following, start, (first, end) in zip(
        tails, hidden, ids, starts, ((11, 19), (5, 14), (0, 0), (0, 8)), strict=True
    ):
        table = torch.log_softmax(rows @ head.T, -1)
        whole = table[:-1].gather(-1, following[start + 1 :, None])[:, 0]
        places = torch.arange(start, start + len(whole))
        needed = (places >= first) & (places < end)
        assert torch.allclose(tail.logprobs, torch.where(needed, whole, 0.0), atol=1e-5)
        entropies = -(table.exp() * table).sum(-1)[:-1]
        assert torch.allclose(tail.entropies, torch.where(needed, entropies, 0.0), atol=1e-5)
    assert torch.allclose(tails[0].rows[:, -2], (hidden[0][[11, 19]] @ head.T).logsumexp(-1), atol=1e-5)
    assert torch.equal(tails[2].rows, torch.cat((hidden[2][11], torch.zeros(2)))[None])
