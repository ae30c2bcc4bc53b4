"""Folders of many kinds: greedy tokens are those of transformers' own generate, or one line says why not before compute.

Weights are random and small. To add a row, see tests/support/model_folders.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.engines.base import GenerateRequest
from actors.engines.local.policy import LocalEngine
from actors.engines.local.preview import check_folder
from actors.errors import UserError
from orchestration.problems import PromptFormat
from tests.support.model_folders import Folder, name_end

NEW = 10
QUESTION = "What is 2 + 3?"
KV = ("num_key_value_heads", 2)

FOLDERS = [
    Folder("llama"),
    Folder("qwen2", "Qwen2Config", (KV,)),
    Folder("qwen3", "Qwen3Config", (KV, ("head_dim", 16))),
    Folder("gpt-neox", "GPTNeoXConfig"),
    Folder("gpt2", "GPT2Config", (("n_positions", 128),)),
    Folder("gpt-j", "GPTJConfig", (("rotary_dim", 8), ("n_positions", 128)), refused="scaled_dot_product"),
    Folder("mistral", "MistralConfig", (KV, ("sliding_window", None))),
    Folder("mixtral", "MixtralConfig", (KV, ("num_local_experts", 4), ("sliding_window", None))),
    Folder("phi", "PhiConfig", (("num_key_value_heads", 4),)),
    Folder("phi3", "Phi3Config", (KV,)),
    Folder("opt", "OPTConfig", (("ffn_dim", 48), ("word_embed_proj_dim", 32))),
    Folder("olmo", "OlmoConfig", (KV,)),
    Folder("olmo2", "Olmo2Config", (KV,)),
    Folder("gemma", "GemmaConfig", (KV, ("head_dim", 8))),
    Folder("gemma2", "Gemma2Config", (KV, ("head_dim", 8)), refused="softcapping"),
    Folder("gemma3", "Gemma3TextConfig", (KV, ("head_dim", 8), ("sliding_window", 16)), refused="window"),
    Folder("starcoder2", "Starcoder2Config", (KV, ("sliding_window", None))),
    Folder("stablelm", "StableLmConfig", (KV,)),
    Folder("granite", "GraniteConfig", (KV, ("logits_scaling", 8.0))),
    Folder("falcon", "FalconConfig", (("new_decoder_architecture", False),)),
    Folder("bloom", "BloomConfig", (("n_head", 4), ("n_layer", 2)), refused="scaled_dot_product"),
    Folder("cohere", "CohereConfig", (KV,)),
    Folder("smollm3", "SmolLM3Config", (KV,)),
    Folder("metaspace", tokenizer="metaspace", bos=True),
    Folder("unigram", "Qwen2Config", (KV,), tokenizer="unigram"),
    Folder("wordpiece", tokenizer="wordpiece"),
    *(Folder(f"end-in-{where}", ends=(where,)) for where in ("config", "generation", "tokenizer")),
    Folder("end-in-all", "GPTNeoXConfig", ends=("config", "generation", "tokenizer")),
]


@torch.inference_mode()
def by_transformers(model: Any, prompt: list[int], ends: list[int]) -> list[int]:
    """What transformers itself writes, up to one of these tokens."""
    options: dict[str, Any] = {"eos_token_id": ends} if ends else {"min_new_tokens": NEW}
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, **options)
    return list(ids[0, len(prompt) :].tolist())


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
async def test_greedy_tokens_are_those_of_transformers_or_one_line_says_why_not(
    case: Folder, tmp_path: Path
) -> None:
    folder = case.save(tmp_path)
    if case.refused:
        for load in (LocalEngine.load, check_folder):
            with pytest.raises(UserError, match=case.refused) as refusal:
                load(folder)
            assert len(str(refusal.value).splitlines()) == 1
            assert "set engine=vllm" in str(refusal.value)
        return
    check_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = PromptFormat().prompt_ids(tokenizer, QUESTION)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ends: list[int] = []
    free = by_transformers(model, prompt, []) if case.ends else []
    known = [token for token in dict.fromkeys(free) if token < len(tokenizer)]
    for token, where in zip(known[1:], case.ends, strict=False):
        ends.append(token)
        name_end(folder, where, token, tokenizer.convert_ids_to_tokens(token))
    expected = by_transformers(model, prompt, [*ends, tokenizer.eos_token_id])
    engine = LocalEngine.load(folder, max_sequences=4)
    try:
        drawn = await engine.generate(GenerateRequest(tuple(prompt), NEW, seed=0, temperature=0))
    finally:
        await engine.close()
    assert list(drawn.token_ids) == expected
    assert drawn.finish == ("eos" if expected[-1] in [*ends, tokenizer.eos_token_id] else "length")
    assert set(ends) <= set(engine.info.eos_ids)
